import pathlib
import sys

import pytest
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.readers import synthetic as reader
from input_pipeline.synthetic import __main__ as command
from input_pipeline.synthetic.sheet import contact_sheet


def run(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int:
    monkeypatch.setattr(sys, "argv", ["synthetic", *arguments])
    return command.main()


def test_command_renders_draws_a_sheet_and_the_reader_reads_it(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root, sheet = tmp_path / "set", tmp_path / "docs" / "sheet.jpg"
    status = run(
        monkeypatch, "--preset", "tiny", "--root", str(root), "--contact-sheet", str(sheet)
    )
    assert status == 0
    with Image.open(sheet) as image:
        assert image.height == 8 * 128 + 7 * 4
        assert image.width == 4 * 2 * 64 + 3 * 4
    dataset = reader.read(root)
    assert (len(dataset.train), len(dataset.query), len(dataset.gallery)) == (32, 8, 20)
    assert all(s.part_map and s.part_map.is_file() for s in dataset.train + dataset.gallery)
    assert {s.camera for s in dataset.train} == {1, 2}


def test_reader_renders_a_preset_below_the_data_folder(tmp_path: pathlib.Path) -> None:
    dataset = reader.read(tmp_path, variant="tiny")
    assert dataset.root == tmp_path / "synthetic_tiny"
    assert dataset.name == "synthetic_tiny"
    with pytest.raises(DataError, match="choose tiny"):
        reader.read(tmp_path, variant="tinny")


def test_problems_are_one_line_and_status_two(
    tmp_path: pathlib.Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mine.txt").write_text("keep")
    assert run(monkeypatch, "--preset", "tiny", "--root", str(tmp_path)) == 2
    assert capsys.readouterr().err.startswith("error: ")
    with pytest.raises(DataError, match=r"end it in \.png or \.jpg"):
        contact_sheet(tmp_path, tmp_path / "sheet.gif")
    with pytest.raises(DataError, match="render the dataset first"):
        contact_sheet(tmp_path, tmp_path / "sheet.png")
