"""Fitting a network to other cameras by their images."""

from __future__ import annotations

import pathlib

import jax
import numpy as np
import pytest
from PIL import Image

import magnifier_jax as mj
from input_pipeline.errors import FilesError, UserError
from magnifier_jax.commands.adapt import main
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.network import adapted_to
from magnifier_jax.model.statistics import statistics_of
from magnifier_jax.training.augmentation import normalize

PRIOR = 16


@pytest.fixture(scope="module")
def model(tiny_run):
    return load(tiny_run.workdir.path)


@pytest.fixture(scope="module")
def crops() -> list[np.ndarray]:
    """Crops of another camera: darker, and with a cast."""
    random = np.random.default_rng(0)
    cast = np.array([0.5, 0.3, 0.6])
    return [(random.uniform(0, 255, (64, 32, 3)) * cast).astype(np.uint8) for _ in range(48)]


def statistics(model) -> list[np.ndarray]:
    return [np.asarray(x) for x in jax.tree.leaves(model.trained.variables["batch_stats"])]


@pytest.mark.parametrize(("batch_size", "sizes"), [(48, [48]), (64, [48]), (20, [24, 24])])
def test_statistics_are_those_of_the_images_with_a_prior_of_sixteen(
    model, crops, batch_size, sizes
):
    adapted = model.adapt(crops, batch_size=batch_size, seed=3)
    trained = model.trained
    order = np.random.default_rng(3).permutation(48)
    find = jax.jit(lambda images: statistics_of(trained.model, trained.variables, images))
    ends = np.cumsum(sizes)
    parts = [
        find(normalize(np.stack([crops[i] for i in order[end - size : end]])))
        for size, end in zip(sizes, ends, strict=True)
    ]
    mean = jax.tree.map(lambda *x: np.mean(np.stack(x).astype(np.float64), 0), *parts)
    share = 48 / (48 + PRIOR)
    for before, found, after in zip(
        statistics(model), jax.tree.leaves(mean), statistics(adapted), strict=True
    ):
        expected = before + share * (found - before)
        np.testing.assert_allclose(after, expected, rtol=2e-4, atol=1e-5)
        assert after.dtype == before.dtype
    before, after = trained.variables["params"], adapted.trained.variables["params"]
    jax.tree.map(np.testing.assert_array_equal, before, after)


def test_another_network_for_galleries_and_the_old_one_stays(model, crops):
    before = model.embed(crops[:3]).descriptors
    adapted = model.adapt(crops)
    assert adapted.model_id != model.model_id
    assert adapted.flip == model.flip
    np.testing.assert_array_equal(model.embed(crops[:3]).descriptors, before)
    assert np.abs(adapted.embed(crops[:3]).descriptors - before).max() > 1e-3
    again = model.adapt(crops)
    assert again.model_id == adapted.model_id


def test_of_many_images_some_are_drawn(model, crops):
    said: list[str] = []
    model.adapt(crops, most=20, batch_size=16, say=said.append)
    assert said == ["Adapted to 20 of 48 images."]


def test_what_cannot_be_adapted_to_is_refused(model, crops, tmp_path):
    with pytest.raises(UserError, match=r"^15 images are too few .* 16 or more"):
        model.adapt(crops[:15])
    with pytest.raises(UserError, match="batch_size and most must be 16 or more"):
        model.adapt(crops, batch_size=8)
    with pytest.raises(UserError, match="batch_size and most must be 16 or more"):
        model.adapt(crops, most=8)
    paths = files(crops[:20], tmp_path)
    paths[4].write_bytes(b"no image")
    with pytest.raises(FilesError, match=r"04\.jpg"):
        model.adapt(paths)
    said: list[str] = []
    model.adapt(paths, skip_bad=True, say=said.append)
    assert said[0].startswith("left out: ")
    assert "04.jpg" in said[0]
    assert said[1:] == ["Adapted to 19 of 20 images."]
    for path in paths[:6]:
        path.write_bytes(b"no image")
    with pytest.raises(UserError, match=r"^14 images are too few"):
        model.adapt(paths, skip_bad=True)


def test_fewer_images_than_devices_say_nothing(model, crops):
    mesh = make_mesh()
    assert mesh.size > 1
    assert adapted_to(model.trained, [np.stack(crops[: mesh.size - 1])], mesh) is None


def files(crops: list[np.ndarray], folder: pathlib.Path) -> list[pathlib.Path]:
    folder.mkdir(exist_ok=True)
    paths = [folder / f"{number:02}.jpg" for number in range(len(crops))]
    for path, crop in zip(paths, crops, strict=True):
        Image.fromarray(crop).save(path)
    return paths


def test_the_command_writes_weights_that_every_command_takes(
    tiny_run, model, crops, tmp_path, capsys
):
    paths = files(crops, tmp_path / "shop")
    output = tmp_path / "shop.safetensors"
    given = ["--workdir", str(tiny_run.workdir.path), "--images", str(tmp_path / "shop")]
    assert main([*given, "--output", str(output)]) == 0
    assert "Adapted to 48 of 48 images." in capsys.readouterr().out
    written, expected = mj.load(output), model.adapt(paths)
    np.testing.assert_allclose(
        written.embed(paths[:4]).descriptors, expected.embed(paths[:4]).descriptors, atol=1e-5
    )
    # Nothing is replaced unasked, and nothing else than weights is written.
    before = output.read_bytes()
    assert main([*given, "--output", str(output)]) == 2
    assert output.read_bytes() == before
    assert main([*given, "--output", str(tmp_path / "shop.onnx")]) == 2
    assert main([*given, "--output", str(output), "--force", "--most", "5"]) == 2
    lines = capsys.readouterr().err.splitlines()
    errors = [line for line in lines if line.startswith("error: ")]
    assert len(errors) == 3
    for line, reason in zip(errors, ("already", "end its name in", "16 or more"), strict=True):
        assert reason in line
