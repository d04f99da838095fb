import dataclasses
import hashlib
import json
import os
import stat

import jax
import numpy as np
import pytest
import safetensors

from input_pipeline.errors import UserError
from input_pipeline.files import claim_output
from magnifier_jax.export import choose_settings, export_network, exporting
from magnifier_jax.export.function import expected_descriptors, make_descriptor_function
from magnifier_jax.export.verification import relative_difference, sample_images
from magnifier_jax.interop import read_torch_file


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


def right_answers(trained):
    """What an export of weights has to give for the images that it is checked with."""
    function = make_descriptor_function(trained, choose_settings("torch"))
    images = np.concatenate([sample_images(count, (64, 32)) for count in (1, 5)])
    expected = expected_descriptors(trained, function, images)
    return [expected[:1], expected[1:]]


@pytest.mark.parametrize("damage", ["undefined", "different"])
@pytest.mark.parametrize("kind", ["torch", "folder"])
def test_an_export_that_differs_leaves_nothing(trained, tmp_path, monkeypatch, kind, damage):
    if damage == "undefined":
        broken = jax.tree.map(lambda x: np.full(x.shape, np.nan, x.dtype), trained.variables)
        trained = dataclasses.replace(trained, variables=broken)
    else:

        def slightly_wrong(path, batches):
            return [1.0003 * found for found in right_answers(trained)]

        wrong = dataclasses.replace(exporting._KINDS[kind], run=slightly_wrong)
        monkeypatch.setattr(exporting, "_KINDS", {kind: wrong})
    with pytest.raises(UserError, match=r"undefined|differs from the network"):
        export_network(trained, choose_settings(kind), tmp_path / "m")
    assert list(tmp_path.iterdir()) == []


@pytest.fixture
def unchecked(monkeypatch):
    """Exports of weights that are not run again, which takes most of the time."""

    def agree(path, batches):
        return right_answers(unchecked.trained)

    def unchecked(trained):
        unchecked.trained = trained
        kinds = {name: dataclasses.replace(kind, run=agree) for name, kind in kinds_before.items()}
        monkeypatch.setattr(exporting, "_KINDS", kinds)

    kinds_before = exporting._KINDS
    return unchecked


def test_nothing_is_overwritten_unless_asked(trained, tmp_path, unchecked):
    unchecked(trained)
    output, card = tmp_path / "m.pth", tmp_path / "m.pth.json"
    card.write_text("mine")
    with pytest.raises(UserError, match=r"m\.pth\.json exists already.*--force"):
        export_network(trained, choose_settings("torch"), output)
    assert card.read_text() == "mine"
    export_network(trained, choose_settings("torch"), output, force=True)
    assert json.loads(card.read_text())["format"] == "torch"
    before = output.read_bytes()
    with pytest.raises(UserError, match=r"m\.pth exists already"):
        export_network(trained, choose_settings("torch"), output)
    assert output.read_bytes() == before


def test_a_folder_is_never_replaced(trained, tmp_path):
    (tmp_path / "m").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        export_network(trained, choose_settings("folder"), tmp_path / "m", force=True)


def test_devices_and_pipes_are_no_outputs(trained, tmp_path):
    os.mkfifo(tmp_path / "m.pth")
    with pytest.raises(UserError, match="is no file"):
        export_network(trained, choose_settings("torch"), tmp_path / "m.pth", force=True)
    assert [path.name for path in tmp_path.iterdir()] == ["m.pth"]


def test_links_are_written_through(trained, tmp_path, unchecked):
    unchecked(trained)
    (tmp_path / "disk").mkdir()
    real, link = tmp_path / "disk/real.pth", tmp_path / "m.pth"
    link.symlink_to(real)
    export_network(trained, choose_settings("torch"), link)
    assert link.is_symlink()
    assert read_torch_file(real)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk", "m.pth", "m.pth.json"]
    assert [path.name for path in (tmp_path / "disk").iterdir()] == ["real.pth"]


def test_what_a_killed_export_left_goes_with_the_next(trained, tmp_path, unchecked):
    unchecked(trained)
    leftover = tmp_path / ".m.pth.1-0.partial"
    leftover.mkdir()
    (leftover / "m.pth").write_text("half")
    export_network(trained, choose_settings("torch"), tmp_path / "m.pth")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.pth", "m.pth.json"]


@pytest.mark.parametrize("kind", ["torch", "safetensors", "folder"])
def test_files_have_the_permissions_of_the_umask(trained, tmp_path, unchecked, kind):
    unchecked(trained)
    before = os.umask(0o027)
    try:
        name = "m.safetensors" if kind == "safetensors" else "m"
        export_network(trained, choose_settings(kind), tmp_path / name)
    finally:
        os.umask(before)
    modes = {
        path.name: stat.S_IMODE(path.stat().st_mode)
        for path in tmp_path.rglob("*")
        if path.is_file()
    }
    assert set(modes.values()) == {0o640}, modes


def test_two_writers_of_one_output(trained, tmp_path):
    output = tmp_path / "m.pth"
    with claim_output(output), pytest.raises(UserError, match="in use"):
        export_network(trained, choose_settings("torch"), output)


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


def test_sample_images_are_varied():
    images = sample_images(5, (64, 32))
    assert (images.shape, images.dtype) == ((5, 64, 32, 3), np.uint8)
    assert images.reshape(5, -1).std(0).mean() > 30
