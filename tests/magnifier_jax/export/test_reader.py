"""Exports of weights that are read back alone."""

import dataclasses
import json

import jax
import numpy as np
import pytest
import safetensors

from input_pipeline.errors import DataError, MagnifierError
from magnifier_jax.export import choose_settings
from magnifier_jax.export.folder import write_folder
from magnifier_jax.export.formats import write_weights
from magnifier_jax.export.function import make_descriptor_function
from magnifier_jax.export.reader import read_exported
from magnifier_jax.interop import read_metadata, read_torch_file, write_safetensors
from tests.magnifier_jax.export.conftest import random_network

NAMES = {"safetensors": "m.safetensors", "torch": "m.pth", "folder": "m"}


@pytest.fixture(scope="module")
def network():
    return random_network("tiny")


def write(network, kind, folder, **options):
    function = make_descriptor_function(network, choose_settings(kind, **options))
    path = folder / NAMES[kind]
    (write_folder if kind == "folder" else write_weights)(function, path)
    return path


@pytest.mark.parametrize("kind", NAMES)
def test_everything_comes_back(network, tmp_path, kind):
    found = read_exported(write(network, kind, tmp_path))
    assert (found.config, found.identities, found.step) == (
        network.config,
        network.identities,
        network.step,
    )
    assert found.model == network.model
    jax.tree.map(np.testing.assert_array_equal, dict(found.variables), dict(network.variables))


@pytest.mark.parametrize("kind", NAMES)
def test_half_precision_without_classifiers(network, tmp_path, kind):
    """What is handed on: kernels in float16, norms in float32, and no training identities."""
    data = dataclasses.replace(network.config.data, root="/private", prepared="/private")
    own = dataclasses.replace(network, config=dataclasses.replace(network.config, data=data))
    path = write(own, kind, tmp_path, precision="fp16", classifiers=False)
    state = read_torch_file(path / "model.safetensors" if kind == "folder" else path)
    assert not [name for name in state if name.startswith("classifier")]
    types = {array.ndim > 1: array.dtype for array in state.values() if array.dtype != np.int64}
    assert types == {True: np.float16, False: np.float32}
    found = read_exported(path)
    assert (found.config, found.identities) == (network.config, ())
    kept = {"backbone", "parsing"}
    for name in kept:
        pairs = zip(
            jax.tree.leaves(found.variables["params"][name]),
            jax.tree.leaves(network.variables["params"][name]),
            strict=True,
        )
        for half, whole in pairs:
            assert half.dtype == np.float32
            # Numbers of 11 binary digits.
            np.testing.assert_allclose(half, whole, rtol=2**-11, atol=2**-24)
    assert not found.variables["params"]["fusion"]["part_classifiers"]["kernel"].any()
    same = found.variables["batch_stats"], network.variables["batch_stats"]
    jax.tree.map(np.testing.assert_array_equal, *map(dict, same))


def test_weights_older_than_a_setting_have_its_default(network, tmp_path):
    path = write(network, "safetensors", tmp_path)
    texts = {"magnifier_jax": read_metadata(path)["magnifier_jax"]}
    whole = json.loads(texts["magnifier_jax"])
    del whole["network"]["stem_norm"], whole["training"]["config"]["model"]["stem_norm"]
    texts["magnifier_jax"] = json.dumps(whole)
    write_safetensors(path, read_torch_file(path), metadata=texts)
    assert read_exported(path).config.model.stem_norm == "batch"


@pytest.mark.parametrize("kind", NAMES)
def test_branches_that_were_left_out_are_off(network, tmp_path, kind):
    found = read_exported(write(network, kind, tmp_path, branches=("global",)))
    assert found.config.model.use_global
    assert not found.config.model.use_fusion
    assert not found.config.model.use_parsing
    assert set(found.variables["params"]) == {"backbone", "global_branch"}


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_a_file_says_how_to_feed_it(network, tmp_path, kind):
    texts = read_metadata(write(network, kind, tmp_path))
    assert json.loads(texts["image_size"]) == [64, 32]
    assert texts["color_order"] == "RGB"
    assert len(json.loads(texts["mean"])) == len(json.loads(texts["std"])) == 3
    assert texts["version"]
    assert json.loads(texts["dimension"]) == 256
    whole = json.loads(texts["magnifier_jax"])
    assert whole["input"]["normalise"] == "outside"
    assert whole["training"]["identities"] == list(network.identities)


def test_other_readers_see_the_header(network, tmp_path):
    path = write(network, "safetensors", tmp_path)
    with safetensors.safe_open(path, framework="np") as file:
        assert file.metadata()["format"] == "pt"
        assert file.get_tensor("base.model.conv1.weight").ndim == 4


def test_a_folder_is_ready_for_a_hub(network, tmp_path):
    folder = write(network, "folder", tmp_path)
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "config.json",
        "model.safetensors",
    ]
    page = (folder / "README.md").read_text()
    assert page.startswith("---\nlibrary_name: magnifier_jax\n")
    assert "64 × 32 pixels" in page
    content = json.loads((folder / "config.json").read_text())
    assert content["input"]["height"] == 64
    assert content["training"]["identities"] == list(network.identities)


def test_parts_of_different_exports_are_refused(network, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    folder = write(network, "folder", tmp_path / "a")
    other = write(dataclasses.replace(network, step=8), "folder", tmp_path / "b")
    (folder / "config.json").write_bytes((other / "config.json").read_bytes())
    with pytest.raises(DataError, match="say different things"):
        read_exported(folder)


def test_files_of_others_are_refused_with_advice(network, tmp_path):
    state = read_torch_file(write(network, "torch", tmp_path))
    write_safetensors(tmp_path / "x.safetensors", state)
    with pytest.raises(DataError, match=r"does not say which network.*init\.checkpoint"):
        read_exported(tmp_path / "x.safetensors")


@pytest.mark.parametrize("kind", ["safetensors", "torch"])
def test_every_damage_is_refused(network, tmp_path, kind):
    path = write(network, kind, tmp_path, branches=("global",))
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    undamaged = read_exported(path)
    refused = 0
    for place in rng.integers(0, len(data), 40):
        damaged = bytearray(data)
        damaged[place] ^= 1 << int(rng.integers(8))
        path.write_bytes(damaged)
        try:
            found = read_exported(path)
        except MagnifierError:
            refused += 1
        else:  # A byte that nothing depends on, such as a time in the archive's directory.
            jax.tree.map(
                np.testing.assert_array_equal, dict(found.variables), dict(undamaged.variables)
            )
            assert (found.config, found.identities) == (undamaged.config, undamaged.identities)
    assert refused >= 30
