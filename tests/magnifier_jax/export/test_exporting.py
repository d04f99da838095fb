import dataclasses
import hashlib
import json

import jax
import numpy as np
import pytest
import safetensors

from input_pipeline.errors import UserError
from magnifier_jax.export import choose_settings, export_network, exporting
from magnifier_jax.export.verification import relative_difference, sample_pictures


def test_the_card_says_how_to_use_it(trained, tmp_path):
    output = tmp_path / "m.safetensors"
    card = export_network(
        trained, choose_settings("safetensors", branches=("global", "fusion")), output
    )
    written = json.loads((tmp_path / "m.safetensors.json").read_text())
    assert written == json.loads(json.dumps(dataclasses.asdict(card)))
    assert written["sha256"] == {"m.safetensors": hashlib.sha256(output.read_bytes()).hexdigest()}
    given, found = written["input"], written["output"]
    assert (given["height"], given["width"], given["colour_order"]) == (64, 32, "RGB")
    assert (given["layout"], given["normalise"]) == ("NCHW", "outside")
    assert found["branches"] == ["global", "fusion"]
    assert [(p["start"], p["stop"]) for p in found["pieces"]] == [(0, 128), (128, 192)]
    assert found["dimension"] == 192
    assert written["versions"]["jax"] == jax.__version__
    assert written["versions"]["safetensors"] == safetensors.__version__
    assert written["verified"]["runtime"] == f"jax {jax.__version__}"
    assert written["opset"] is None
    assert sorted(p.name for p in tmp_path.iterdir()) == ["m.safetensors", "m.safetensors.json"]


@pytest.mark.parametrize("damage", ["undefined", "different"])
def test_an_export_that_differs_leaves_nothing(trained, tmp_path, monkeypatch, damage):
    if damage == "undefined":
        broken = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), trained.variables)
        trained = dataclasses.replace(trained, variables=broken)
    else:
        kind = exporting._KINDS["torch"]

        def slightly_wrong(*arguments):
            return [1.0003 * found for found in kind.run(*arguments)]

        monkeypatch.setattr(
            exporting, "_KINDS", {"torch": dataclasses.replace(kind, run=slightly_wrong)}
        )
    with pytest.raises(UserError, match="differs from the network"):
        export_network(trained, choose_settings("torch"), tmp_path / "m.pth")
    assert list(tmp_path.iterdir()) == []


def test_nothing_is_overwritten(trained, tmp_path):
    (tmp_path / "m.pth.json").write_text("mine")
    with pytest.raises(UserError, match=r"m\.pth\.json exists already"):
        export_network(trained, choose_settings("torch"), tmp_path / "m.pth")
    assert (tmp_path / "m.pth.json").read_text() == "mine"


def test_a_full_disk_leaves_nothing(trained, tmp_path, file_size_limit):
    file_size_limit(10_000)
    try:
        with pytest.raises(UserError, match="Cannot write"):
            export_network(trained, choose_settings("torch"), tmp_path / "m.pth")
    finally:
        file_size_limit(None)
    assert list(tmp_path.iterdir()) == []


def test_relative_difference():
    expected = np.array([[3.0, -4.0], [1.0, 0.0]])
    assert relative_difference(expected, expected) == 0
    assert relative_difference(expected + np.array([[0, 0], [0, 0.1]]), expected) == pytest.approx(
        0.1
    )
    assert relative_difference(expected[:1], expected) == np.inf
    assert relative_difference(expected * np.nan, expected) == np.inf


def test_sample_pictures_are_varied():
    pictures = sample_pictures(5, (64, 32))
    assert (pictures.shape, pictures.dtype) == ((5, 64, 32, 3), np.uint8)
    assert pictures.reshape(5, -1).std(0).mean() > 30
