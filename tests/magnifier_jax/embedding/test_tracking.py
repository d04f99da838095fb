"""The adapter in docs/tracking.md, as it stands there."""

import importlib
import pathlib
import re

import jax
import numpy as np
import pytest

from magnifier_jax.embedding.loading import load

PAGE = pathlib.Path(__file__).parents[3] / "docs" / "tracking.md"
RNG = np.random.default_rng(0)


@pytest.fixture(scope="module")
def adapter(tiny_run):
    (code,) = re.findall(r"```python\n(import numpy.*?)```", PAGE.read_text("utf-8"), re.DOTALL)
    names = {}
    exec(compile(code, str(PAGE), "exec"), names)
    return names["Magnifier"](load(tiny_run.workdir.path, devices=jax.devices()[:1]))


def test_the_adapter_embeds_the_crops_of_a_frame(adapter):
    frame = RNG.integers(0, 256, (120, 160, 3), np.uint8)
    boxes = [[10, 20, 40, 90], [-5.2, -3.1, 30.7, 60.2], [150, 100, 300, 300], [70, 70, 70, 70]]
    found = adapter.get_features(np.array(boxes), frame)
    crops = [frame[20:90, 10:40], frame[0:60, 0:31], frame[100:, 150:], frame[70:71, 70:71]]
    expected = adapter.model.embed([crop[..., ::-1] for crop in crops]).descriptors
    np.testing.assert_allclose(found, expected, atol=1e-4)
    outside = adapter.get_features(np.array([[-50, -60, -10, -20], [900, 5, 950, 60]]), frame)
    assert outside.shape == (2, adapter.model.dimension)
    assert np.isfinite(outside).all()
    none = adapter.get_features(np.zeros((0, 4)), frame)
    assert none.shape == (0, adapter.model.dimension)


def test_boxmot_tracks_with_the_adapter(adapter):
    pytest.importorskip("boxmot")
    boxmot = importlib.import_module("boxmot")
    tracker = boxmot.BotSort(reid_model=adapter)
    frame = RNG.integers(0, 256, (240, 320, 3), np.uint8)
    seen = []
    for step in range(5):
        moved = np.array([[20 + step, 30, 80 + step, 200, 0.9, 0], [180, 40, 250, 210, 0.9, 0]])
        seen.append({int(track[4]) for track in np.asarray(tracker.update(moved, frame))})
    assert len(seen[-1]) == 2
    assert seen[-1] == seen[-2]
