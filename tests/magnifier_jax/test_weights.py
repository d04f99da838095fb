"""Networks that come with the package."""

from __future__ import annotations

import hashlib
import json
import pathlib

import numpy as np
import pytest

import magnifier_jax as mj
from magnifier_jax import weights

FOLDER = pathlib.Path(weights.__file__).parent


@pytest.fixture
def one(tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch) -> pathlib.Path:
    """A package with one network, and a user in another folder."""
    package = tmp_path / "package"
    package.mkdir()
    (package / "one.safetensors").write_bytes(b"")
    (package / "one.md").write_text("")
    monkeypatch.setattr(weights, "_HERE", package)
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    return package


def test_a_name_finds_the_network_of_the_package(one: pathlib.Path) -> None:
    assert weights.names() == ["one"]
    assert weights.find("one") == one / "one.safetensors"
    assert weights.find(pathlib.Path("one")) == one / "one.safetensors"
    assert weights.find("two") == pathlib.Path("two")


def test_what_the_user_has_comes_first(one: pathlib.Path) -> None:
    pathlib.Path("one").mkdir()
    assert weights.find("one") == pathlib.Path("one")


def test_a_network_of_the_package_is_found_again_by_its_name(one: pathlib.Path) -> None:
    assert weights.lasting_name(weights.find("one")) == "one"
    assert weights.lasting_name(pathlib.Path("run")) == str(pathlib.Path("run").absolute())


@pytest.mark.parametrize("name", weights.names())
def test_every_network_has_its_card_and_is_small(name: str) -> None:
    assert (FOLDER / f"{name}.safetensors").stat().st_size <= 12_000_000
    card = (FOLDER / f"{name}.md").read_text(encoding="utf-8")
    for said in ("Apache-2.0", "never shown a real person", f"configs/{name}.py"):
        assert said in card
    facts = json.loads((FOLDER / f"{name}.safetensors.json").read_text(encoding="utf-8"))
    file = FOLDER / f"{name}.safetensors"
    assert facts["sha256"] == {file.name: hashlib.sha256(file.read_bytes()).hexdigest()}


def test_the_drawn_network_embeds_and_says_where_it_is_from(tmp_path: pathlib.Path) -> None:
    model = mj.load("drawn")
    assert model.notes["workdir"] == "drawn"
    assert model.notes["flip"] is True
    rng = np.random.default_rng(0)
    image = rng.integers(0, 256, (100, 40, 3), dtype=np.uint8)
    found = model.embed([image, image[:, ::-1]])
    assert found.descriptors.shape == (2, model.dimension)
    # An image and its mirror image are the same person.
    np.testing.assert_allclose(*found.descriptors, atol=1e-4)
    training = model.trained.config.data
    assert training.train.startswith("synthetic:")
    assert (training.root, training.prepared) == ("", "")
