import pytest
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.identities.file_names import Who
from input_pipeline.images.folder import list_folder


def fill(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (32, 64)).save(root / name)
    return root


def test_every_name_counts_for_itself(tmp_path):
    folder = list_folder(fill(tmp_path, "0002_c1_7.jpg", "a/-1_c1_7.jpg", "a/portrait.jpg"))
    assert folder.names == ("0002_c1_7.jpg", "a/portrait.jpg")
    assert folder.who == (Who(2, 1), None)
    assert folder.junk == 1
    junk, source, untold = folder.notices
    assert junk == "1 image of identity −1 (junk) is left out"
    assert source == (
        "identities are the numbers in file names, such as 2, camera 1 for 0002_c1_7.jpg"
    )
    assert untold.startswith("1 of 2 images tell no identity")
    assert untold.endswith("such as a/portrait.jpg")


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
        f"{inside}/{name}".lstrip("/"): who
        for name, who in zip(folder.names, folder.who, strict=True)
    }
    assert found == wanted
    assert folder.by_folder


@pytest.mark.parametrize("junk", ["-1", "-0001", "−1"])
def test_a_folder_of_junk(tmp_path, junk):
    folder = list_folder(fill(tmp_path, "gallery/alice/1.jpg", f"gallery/{junk}/2.jpg"))
    assert folder.names == ("gallery/alice/1.jpg",)
    assert folder.junk == 1
    assert "1 image of identity −1 (junk) is left out" in folder.notices


def test_a_folder_without_images_is_refused(tmp_path):
    (tmp_path / "readme.txt").touch()
    with pytest.raises(DataError, match="holds no images"):
        list_folder(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        list_folder(tmp_path / "none")
    fill(tmp_path, "-1_c1_1.jpg")
    with pytest.raises(DataError, match="holds no images"):
        list_folder(tmp_path)


def test_names_that_are_not_utf8_are_refused(tmp_path):
    fill(tmp_path, "good　name.jpg")
    assert list_folder(tmp_path).names == ("good　name.jpg",)
    (tmp_path / "bad\udcff.jpg").touch()
    with pytest.raises(DataError, match="not UTF-8"):
        list_folder(tmp_path)
