import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.part_labels import FORMATS, convert_tree
from input_pipeline.part_labels.__main__ import main
from input_pipeline.part_labels.files import find_labels, read_labels
from input_pipeline.problems import FilesError


@pytest.fixture
def labels() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 15, (9, 6), np.uint8)


def opened(path) -> np.ndarray:
    with Image.open(path) as image:
        assert image.mode == "L"
        return np.asarray(image)


def test_a_tree_is_converted_file_by_file(tmp_path, labels):
    source = tmp_path / "densepose maps"
    (source / "query").mkdir(parents=True)
    Image.fromarray(labels).save(source / "a.png")
    palette = Image.fromarray(labels).convert("P")
    palette.putdata(labels.reshape(-1).tolist())
    palette.save(source / "query" / "b.png")
    np.save(source / "query" / "c.jpg.npy", labels[None].astype(np.int64))
    np.save(source / "d.npy", labels.astype(np.float32))
    (source / "notes.txt").write_text("not a map")
    (source / "._a.png").write_text("not a map")
    count = convert_tree(
        source, tmp_path / "out", label_format=FORMATS["densepose14"], progress=False
    )
    assert count == 4
    expected = FORMATS["densepose14"].table[labels]
    found = sorted(path for path in (tmp_path / "out").rglob("*") if path.is_file())
    names = ["a.png", "d.png", "query/b.png", "query/c.png"]
    assert [path.relative_to(tmp_path / "out").as_posix() for path in found] == names
    for path in found:
        np.testing.assert_array_equal(opened(path), expected)


def test_what_is_converted_is_kept_until_its_source_changes(tmp_path, labels):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    for name in ("a", "b"):
        np.save(source / f"{name}.npy", labels)
    convert_tree(source, target, label_format=FORMATS["densepose14"], progress=False)
    before = {path.name: path.stat().st_mtime_ns for path in target.iterdir()}
    np.save(source / "b.npy", np.zeros_like(labels))
    convert_tree(source, target, label_format=FORMATS["densepose14"], progress=False)
    assert (target / "a.png").stat().st_mtime_ns == before["a.png"]
    assert not opened(target / "b.png").any()


def test_all_bad_maps_are_reported_and_the_others_converted(tmp_path, labels):
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "good.npy", labels)
    np.save(source / "range.npy", labels + 20)
    np.save(source / "fraction.npy", labels + 0.5)
    np.save(source / "shape.npy", np.stack([labels, labels]))
    np.save(source / "objects.npy", np.array([None]), allow_pickle=True)
    Image.new("RGB", (4, 4)).save(source / "colour.png")
    (source / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(FilesError, match=r"Is their format really densepose14\?") as caught:
        convert_tree(source, tmp_path / "out", label_format=FORMATS["densepose14"], progress=False)
    problems = {problem.path.stem: problem.what for problem in caught.value.problems}
    assert set(problems) == {"range", "fraction", "shape", "objects", "colour", "broken"}
    assert "is not one of DensePose" in problems["range"]
    assert "whole numbers" in problems["fraction"]
    assert "[2, 9, 6]" in problems["shape"]
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["good.png"]


def test_a_folder_without_maps_is_refused(tmp_path):
    with pytest.raises(DataError, match="holds no label maps"):
        convert_tree(tmp_path, tmp_path / "out", label_format=FORMATS["parts"])


@pytest.mark.parametrize("name", ["b.png", "b.npy", "b.jpg.png", "b.jpg.npy"])
def test_labels_are_found_under_every_usual_name(tmp_path, name):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / name).touch()
    picture = tmp_path.relative_to(tmp_path) / "a" / "b.jpg"
    assert find_labels(tmp_path, picture) == tmp_path / "a" / name
    assert find_labels(tmp_path, picture.with_name("c.jpg")) is None


def test_reading_says_what_is_wrong(tmp_path):
    with pytest.raises(ValueError, match="not a label map"):
        read_labels(tmp_path / "missing.npy")


def test_the_command_converts(tmp_path, labels, capsys):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", labels)
    assert main(["densepose14", str(tmp_path / "in"), str(tmp_path / "out")]) == 0
    assert "1 part maps are in" in capsys.readouterr().out
    assert main(["densepose", str(tmp_path / "in"), str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert error.startswith("error: no part label format")
    assert error.count("\n") == 1


def test_the_command_has_help():
    done = subprocess.run(
        [sys.executable, "-m", "input_pipeline.part_labels", "--help"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert "lip20" in done.stdout
