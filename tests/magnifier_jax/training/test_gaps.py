"""Images without a part map, from the files to the training step."""

import dataclasses
import pathlib

import numpy as np
import pytest

from input_pipeline.dataset import NO_MAP
from input_pipeline.errors import DataError
from input_pipeline.readers import read_dataset
from magnifier_jax.config import Config
from magnifier_jax.datasets import open_images, open_training_set
from magnifier_jax.devices import make_mesh, put_replicated
from magnifier_jax.training import step
from magnifier_jax.training.step import build_model, initial_state, steps_from
from tests.magnifier_jax.conftest import tiny_config


@pytest.fixture
def gappy(tmp_path) -> tuple[Config, list[str]]:
    """Drawn people of whom every third image has lost its part map, and these images' names."""
    config = tiny_config(tmp_path)
    dataset = read_dataset("synthetic:tiny", tmp_path, progress=False)
    lost = dataset.train[::3]
    for sample in lost:
        pathlib.Path(sample.part_map).unlink()
    return config, [sample.path.relative_to(dataset.root).as_posix() for sample in lost]


def changed(config: Config, **data) -> Config:
    return dataclasses.replace(config, data=dataclasses.replace(config.data, **data))


@pytest.mark.parametrize("placement", ["stream", "device"])
def test_gaps_are_refused_kept_or_dropped(gappy, placement):
    config, lost = gappy
    config = changed(config, placement=placement)
    with pytest.raises(DataError, match=f"{len(lost)} of 32 training images of .* no part labels"):
        open_training_set(config, progress=False)
    kept = open_training_set(changed(config, images_without_map="keep"), progress=False)
    assert [kept.split.names[i] for i in np.flatnonzero(~kept.split.labeled)] == lost
    assert len(kept.learned) == 32
    images = open_images(kept.split, config.data, parts=True, progress=False)
    batch = next(iter(images.batches([np.arange(32)])))
    unlabeled = (batch.parts == NO_MAP).all((1, 2))
    np.testing.assert_array_equal(unlabeled, ~kept.split.labeled)
    assert batch.parts[~unlabeled].max() < 8
    dropped = open_training_set(changed(config, images_without_map="drop"), progress=False)
    np.testing.assert_array_equal(dropped.learned, np.flatnonzero(kept.split.labeled))
    assert dropped.identities == kept.identities


class FirstEight:
    """A sampler that draws the first eight images that are learned from, each time."""

    def batch(self, n: int) -> np.ndarray:
        return np.arange(8)


def test_a_step_learns_from_images_with_and_without_a_map(gappy):
    config, lost = gappy
    config = changed(config, images_without_map="keep")
    data = open_training_set(config, progress=False)
    model = build_model(config, num_identities=len(data.identities))
    mesh = make_mesh()
    steps = steps_from(
        0, config=config, model=model, data=data, sampler=FirstEight(), mesh=mesh, progress=False
    )
    state = initial_state(config, model, mesh)
    state, metrics = next(steps)(state, put_replicated(np.int32(0), mesh))
    assert np.isfinite(float(metrics["total"]))
    assert float(metrics["parsing"]) > 0
    assert set(data.split.names[:8]) & set(lost)


def test_dropped_images_are_in_no_batch(gappy, monkeypatch):
    config, lost = gappy
    seen = []
    monkeypatch.setattr(
        step, "make_resident_train_step", lambda *_: lambda state, split, ids, epoch: (split, ids)
    )
    for choice in ("keep", "drop"):
        config = changed(config, images_without_map=choice)
        data = open_training_set(config, progress=False)
        steps = steps_from(
            0,
            config=config,
            model=None,
            data=data,
            sampler=FirstEight(),
            mesh=make_mesh(),
            progress=False,
        )
        split, ids = next(steps)(None, None)
        seen.append({data.split.names[place] for place in np.asarray(ids)})
        assert (split.labeled is None) == (choice == "drop")
    kept, dropped = seen
    assert kept & set(lost)
    assert not dropped & set(lost)
