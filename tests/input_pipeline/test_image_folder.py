import pathlib

import pytest
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.image_folder import Who, list_folder, who_is_named, whose_folder


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 64)).save(root / name)
    return root


def test_names_in_the_manner_of_market1501():
    for name, who in {
        "0002_c1s1_000451_03.jpg": Who(2, 1),
        "-1_c3_x.png": Who(-1, 3),
        "7_c2.jpg": Who(7, 2),
        "portrait.jpg": None,
    }.items():
        assert who_is_named(pathlib.PurePath("a", name)) == who


def test_every_name_counts_for_itself(tmp_path):
    folder = list_folder(fill(tmp_path, "0002_c1_7.jpg", "a/-1_c1_7.jpg", "a/portrait.jpg"))
    assert folder.names == ("0002_c1_7.jpg", "a/portrait.jpg")
    assert folder.who == (Who(2, 1), None)
    assert folder.junk == 1


@pytest.mark.parametrize("inside", ["", "query", "gallery"])
def test_folders_of_persons(tmp_path, inside):
    root = fill(
        tmp_path / "mine",
        "gallery/alice/1.jpg",
        "gallery/bob/0002_c3_1.jpg",
        "query/alice/door_c2.jpg",
        "query/carol/monday/c4_1.jpg",
        "query/lost.jpg",
    )
    folder = list_folder(root / inside)
    whole = {
        "gallery/alice/1.jpg": Who("alice", None),
        "gallery/bob/0002_c3_1.jpg": Who("bob", 3),
        "query/alice/door_c2.jpg": Who("alice", 2),
        "query/carol/monday/c4_1.jpg": Who("carol", 4),
        "query/lost.jpg": None,
    }
    wanted = {name: who for name, who in whole.items() if name.startswith(inside)}
    found = {
        (pathlib.PurePath(inside) / name).as_posix(): who
        for name, who in zip(folder.names, folder.who, strict=True)
    }
    assert found == wanted
    assert whose_folder(root / "query/alice/door_c2.jpg") == Who("alice", 2)
    assert whose_folder(root / "query/lost.jpg") is None


def test_folders_that_lead_there_are_no_persons(tmp_path):
    root = fill(tmp_path / "train" / "monday", "1.jpg", "door/2.jpg")
    assert list_folder(root).who == (None, None)


def test_only_bad_detections_are_no_pictures(tmp_path):
    with pytest.raises(DataError, match="holds no pictures"):
        list_folder(fill(tmp_path, "-1_c1.jpg"))
