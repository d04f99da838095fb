import os
import pathlib
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import DataError, FilesError
from input_pipeline.part_labels import FORMATS, conversion, convert_tree
from input_pipeline.part_labels.commands import main
from input_pipeline.part_labels.label_maps import find_labels, read_labels, voc_palette


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
    found = sorted((tmp_path / "out").rglob("*.png"))
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
    os.utime(source / "b.npy", (1e9, 1e9))  # as from an archive: older than what was converted
    convert_tree(source, target, label_format=FORMATS["densepose14"], progress=False)
    assert (target / "a.png").stat().st_mtime_ns == before["a.png"]
    assert not opened(target / "b.png").any()


def test_another_format_is_converted_again(tmp_path, labels):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "a.npy", labels % 8)
    for name in ("densepose14", "parts", "densepose14"):
        convert_tree(source, target, label_format=FORMATS[name], progress=False)
        np.testing.assert_array_equal(opened(target / "a.png"), FORMATS[name].table[labels % 8])


def test_what_another_version_converted_is_converted_again(tmp_path, labels, monkeypatch):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "a.npy", labels)
    for version, again in ((1, True), (1, False), (2, True)):
        monkeypatch.setattr(conversion, "CONVERSION_VERSION", version)
        convert_tree(source, target, label_format=FORMATS["densepose14"], progress=False)
        assert opened(target / "a.png").any() == again
        Image.new("L", (6, 9)).save(target / "a.png")


def test_a_killed_conversion_leaves_no_old_origin_with_a_new_map(tmp_path, labels, monkeypatch):
    source, target = tmp_path / "in", tmp_path / "out"
    source.mkdir()
    np.save(source / "a.npy", labels % 8)
    convert_tree(source, target, label_format=FORMATS["densepose14"], progress=False)
    with monkeypatch.context() as patch:

        def killed(*_: object) -> None:
            raise KeyboardInterrupt

        written = iter([conversion.write_journal, killed, killed])
        patch.setattr(conversion, "write_journal", lambda *given: next(written)(*given))
        with pytest.raises(KeyboardInterrupt):
            convert_tree(source, target, label_format=FORMATS["parts"], progress=False)
    convert_tree(source, target, label_format=FORMATS["densepose14"], progress=False)
    np.testing.assert_array_equal(
        opened(target / "a.png"), FORMATS["densepose14"].table[labels % 8]
    )


@pytest.mark.parametrize("target", ["in", "in/out", "in/../in"])
def test_part_maps_do_not_go_where_the_label_maps_are(tmp_path, labels, target):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", labels)
    with pytest.raises(DataError, match="choose another folder for the part maps"):
        convert_tree(tmp_path / "in", tmp_path / target, label_format=FORMATS["densepose14"])
    assert [path.name for path in (tmp_path / "in").rglob("*")] == ["a.npy"]


def test_a_label_map_is_not_overwritten_by_another_ones_part_map(tmp_path, labels):
    source = tmp_path / "all" / "maps"
    for path in (source / "maps" / "a.png", source / "a.png"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(labels).save(path)
    before = (source / "a.png").read_bytes()
    with pytest.raises(FilesError, match=r"all/maps/a\.png: would be overwritten"):
        convert_tree(source, source.parent, label_format=FORMATS["densepose14"])
    assert (source / "a.png").read_bytes() == before


def test_two_label_maps_of_one_picture_are_refused(tmp_path, labels):
    source = tmp_path / "in"
    source.mkdir()
    for name in ("a.npy", "a.jpg.npy", "b.npy"):
        np.save(source / name, labels)
    with pytest.raises(FilesError, match=r"a\.npy: becomes a\.png, and so does a\.jpg\.npy"):
        convert_tree(source, tmp_path / "out", label_format=FORMATS["densepose14"])
    assert not (tmp_path / "out").exists()


def test_linked_folders_are_followed_and_loops_refused(tmp_path, labels):
    source, elsewhere = tmp_path / "in", tmp_path / "elsewhere"
    source.mkdir()
    elsewhere.mkdir()
    np.save(elsewhere / "a.npy", labels)
    (source / "query").symlink_to(elsewhere)
    count = convert_tree(
        source, tmp_path / "out", label_format=FORMATS["densepose14"], progress=False
    )
    assert count == 1
    assert (tmp_path / "out" / "query" / "a.png").is_file()
    (elsewhere / "again").symlink_to(source)
    with pytest.raises(DataError, match="query/again leads back to"):
        convert_tree(source, tmp_path / "out", label_format=FORMATS["densepose14"])


def test_folders_that_cannot_be_used_are_named(tmp_path, labels, monkeypatch):
    with pytest.raises(DataError, match=r"nowhere of label maps cannot be read: No such"):
        convert_tree(tmp_path / "nowhere", tmp_path / "out", label_format=FORMATS["parts"])
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "a.npy", labels)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"part maps cannot be written into .*file.*choose another"):
        convert_tree(source, tmp_path / "file" / "out", label_format=FORMATS["densepose14"])

    def refuse(self: pathlib.Path) -> None:
        raise PermissionError(13, "Permission denied", str(self))

    monkeypatch.setattr(pathlib.Path, "iterdir", refuse)
    with pytest.raises(DataError, match="in of label maps cannot be read: Permission denied"):
        convert_tree(source, tmp_path / "out", label_format=FORMATS["densepose14"])


def test_all_bad_maps_are_reported_and_the_others_converted(tmp_path, labels):
    source = tmp_path / "in"
    source.mkdir()
    np.save(source / "good.npy", labels)
    np.save(source / "range.npy", labels + 20)
    np.save(source / "fraction.npy", labels + 0.5)
    np.save(source / "shape.npy", np.stack([labels, labels]))
    np.save(source / "objects.npy", np.array([None]), allow_pickle=True)
    Image.new("RGB", (4, 4), (7, 7, 7)).save(source / "colour.png")
    (source / "broken.png").write_bytes(b"\x89PNG")
    with pytest.raises(FilesError, match=r"Is their format really densepose14\?") as caught:
        convert_tree(source, tmp_path / "out", label_format=FORMATS["densepose14"], progress=False)
    problems = {problem.path.stem: problem.what for problem in caught.value.problems}
    assert set(problems) == {"range", "fraction", "shape", "objects", "colour", "broken"}
    assert "is not one of DensePose" in problems["range"]
    assert "whole numbers" in problems["fraction"]
    assert "[2, 9, 6]" in problems["shape"]
    assert [path.name for path in (tmp_path / "out").glob("*.png")] == ["good.png"]


def test_a_folder_without_maps_is_refused(tmp_path):
    (tmp_path / "in").mkdir()
    with pytest.raises(DataError, match="holds no label maps"):
        convert_tree(tmp_path / "in", tmp_path / "out", label_format=FORMATS["parts"])


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


def test_iuv_images_of_densepose_are_converted(tmp_path):
    """The patch is the blue channel as OpenCV writes it, the first one as others do."""
    rng = np.random.default_rng(0)
    patches = rng.integers(0, 25, (9, 6), np.uint8)
    u, v = rng.integers(30, 256, (2, 9, 6), np.uint8)
    source = tmp_path / "in"
    source.mkdir()
    Image.fromarray(np.stack([v, u, patches], -1)).save(source / "a_IUV.png")
    Image.fromarray(np.stack([patches, u, v], -1)).save(source / "b.png")
    np.save(source / "c.npy", np.stack([patches, u / 255, v / 255]).astype(np.float32))
    Image.fromarray(np.zeros((9, 6, 3), np.uint8)).save(source / "d_IUV.png")
    target = tmp_path / "out"
    convert_tree(source, target, label_format=FORMATS["densepose_iuv"], progress=False)
    expected = FORMATS["densepose24"].table[patches]
    for name in ("a", "b", "c"):
        np.testing.assert_array_equal(opened(target / f"{name}.png"), expected, err_msg=name)
    assert not opened(target / "d.png").any()
    Image.fromarray(np.stack([u, u, v], -1)).save(source / "e.png")
    with pytest.raises(FilesError, match=r"e\.png: no channel has the surface patches"):
        convert_tree(source, target, label_format=FORMATS["densepose_iuv"], progress=False)


def test_maps_drawn_in_the_usual_colors_are_read(tmp_path):
    """Self-Correction-Human-Parsing's palette, whose first colors its authors list."""
    listed = [(0, 0, 0), (128, 0, 0), (0, 128, 0), (128, 128, 0), (0, 0, 128), (128, 0, 128)]
    np.testing.assert_array_equal(voc_palette()[: len(listed)], listed)
    assert voc_palette()[255].tolist() == [224, 224, 192]
    assert len({tuple(color) for color in voc_palette().tolist()}) == 256
    classes = np.random.default_rng(0).choice([0, 2, 5, 13, 19, 255], (9, 6)).astype(np.uint8)
    path = tmp_path / "a.png"
    Image.fromarray(voc_palette()[classes]).save(path)
    np.testing.assert_array_equal(read_labels(path), classes)
    Image.fromarray(np.full((9, 6, 3), 7, np.uint8)).save(path)
    with pytest.raises(ValueError, match=r"\[7, 7, 7\] is no color of the usual palette"):
        read_labels(path)


def test_the_older_spelling_and_the_command_are_the_same(tmp_path, labels, capsys):
    (tmp_path / "in").mkdir()
    np.save(tmp_path / "in" / "a.npy", labels)
    for number, before in enumerate(([], ["convert"])):
        target = tmp_path / f"out{number}"
        assert main([*before, "densepose14", str(tmp_path / "in"), str(target)]) == 0
    np.testing.assert_array_equal(
        opened(tmp_path / "out0" / "a.png"), opened(tmp_path / "out1" / "a.png")
    )
    capsys.readouterr()
    assert main([]) == 2
    assert "magnifier labels COMMAND" in capsys.readouterr().out
    assert main(["poes", "--model=x"]) == 2
    assert "did you mean pose?" in capsys.readouterr().err
