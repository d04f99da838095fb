import pathlib
import unicodedata

import pytest

from input_pipeline.identities.file_names import Who
from input_pipeline.identities.identification import identify, who_is_on
from input_pipeline.identities.unknown import JUNK


def who(names, folder="", **options):
    told = identify(names, folder=folder, **options)
    return told, dict(zip(names, told.who, strict=True))


@pytest.mark.parametrize("between", ["cam2/", "c02/", "Cam-2/", "entrance/", "monday/cam_2/", ""])
@pytest.mark.parametrize("split", ["gallery", "query", "train", "stuff"])
def test_a_name_wins_over_a_folder(split, between):
    path = f"{split}/{between}0002_c1s1_000451_03.jpg"
    told, found = who([path, f"{split}/{between}0003_c1_1.jpg"])
    assert found[path] == Who(2, 1)
    assert not told.by_folder
    person = between.partition("/")[0] if between.startswith(("entrance", "monday")) else ""
    used = f" (rather than folders such as {person})" if person and split != "stuff" else ""
    assert told.notices[0] == (
        f"identities are the numbers in file names{used}, such as 2, camera 1 for {path}"
    )


def test_a_camera_folder_tells_the_camera_that_names_do_not():
    names = ["gallery/cam2/0002_7.jpg", "gallery/cam1/0003_8.jpg", "query/camera_3/-1_8.jpg"]
    told, found = who(names)
    assert list(found.values()) == [Who(2, 2), Who(3, 1), Who(JUNK, 3)]
    assert not told.by_folder
    assert "1 image of identity −1 (junk) is left out" in told.notices
    _, found = who(["0002_7.jpg", "0003_8.jpg"], folder="cam4")
    assert list(found.values()) == [Who(2, 4), Who(3, 4)]


def test_dates_and_frame_numbers_are_nobody():
    told, found = who(["cam2/20240301_120000.jpg", "cam1/20240301_120001.jpg"])
    assert list(found.values()) == [Who(None, 2), Who(None, 1)]
    assert told.notices[0].startswith("2 of 2 images tell no identity")
    _, found = who(["cam2/0002_7.jpg", "cam2/portrait.jpg"])
    assert list(found.values()) == [Who(None, 2), Who(None, 2)]


def test_images_without_a_name_beside_names_in_a_camera_folder_are_nobody():
    told, found = who(["gallery/cam2/0002_c2_1.jpg", "gallery/cam2/portrait.jpg"])
    assert list(found.values()) == [Who(2, 2), Who(None, 2)]
    assert told.notices[1].startswith("1 of 2 images tell no identity")


def test_a_folder_like_a_camera_is_a_person_where_nothing_else_tells():
    told, found = who(["gallery/c02/a.jpg", "query/c03/b.jpg"])
    assert list(found.values()) == [Who("c02"), Who("c03")]
    assert told.by_folder
    assert "if c02 is a camera rather than a person" in told.notices[0]


def test_a_person_above_a_camera_and_below_one():
    _, found = who(["gallery/alice/cam2/1.jpg", "query/bob/c3_1.jpg"])
    assert list(found.values()) == [Who("alice", 2), Who("bob", 3)]
    _, found = who(["gallery/cam2/alice/1.jpg", "query/cam1/alice/1.jpg"])
    assert list(found.values()) == [Who("alice", 2), Who("alice", 1)]


def test_names_in_folders_of_persons_that_disagree_with_them():
    """`alice` and `bob` hold each two people by name: the folders are no persons."""
    names = [f"gallery/{f}/000{i}_c1_1.jpg" for f in ("alice", "bob") for i in (1, 2)]
    told, found = who([*names, "gallery/alice/portrait.jpg"])
    assert not told.by_folder
    assert list(found.values()) == [Who(1, 1), Who(2, 1), Who(1, 1), Who(2, 1), None]
    told, found = who(names, folders_are_people=True)
    assert told.by_folder
    assert [each.identity for each in found.values()] == ["alice", "alice", "bob", "bob"]


def test_a_single_image_in_a_folder_does_not_undo_all_names():
    told, found = who(["query/0002_c1_1.jpg", "gallery/0002_c2_1.jpg", "gallery/new/a.jpg"])
    assert not told.by_folder
    assert list(found.values()) == [Who(2, 1), Who(2, 2), None]


def test_a_name_that_says_junk_is_junk_in_any_folder():
    told, found = who(["gallery/alice/1.jpg", "gallery/alice/-1_c1_2.jpg"])
    assert told.by_folder
    assert list(found.values()) == [Who("alice"), Who(JUNK, 1)]


def test_a_name_has_one_spelling():
    composed, split = (unicodedata.normalize(form, "Zoë") for form in ("NFC", "NFD"))
    assert composed != split
    _, found = who([f"query/{split}/1.jpg", f"gallery/{composed}/1.jpg"])
    assert [each.identity for each in found.values()] == [composed, composed]
    query = pathlib.Path("/data/query") / split / "1.jpg"
    assert who_is_on(query, by_folder=True) == Who(composed)


def test_folders_with_almost_the_same_name_are_said():
    told, _ = who(["query/0004/1.jpg", "gallery/4/1.jpg"])
    assert told.notices[1].startswith("different identities with almost the same name: '0004', '4'")


def test_a_contradiction_between_name_and_folder_is_said():
    told, found = who(["cam2/0002_c1_1.jpg", "cam2/0002_c2_1.jpg"])
    assert list(found.values()) == [Who(2, 1), Who(2, 2)]
    assert told.notices[-1].startswith("1 of 2 images lie in a folder of another camera")


def test_one_image_is_told_as_its_gallery_is():
    path = pathlib.Path("/data/query/alice/0002_c1_7.jpg")
    assert who_is_on(path, by_folder=True) == Who("alice", 1)
    assert who_is_on(path, by_folder=False) == Who(2, 1)
    path = pathlib.Path("/data/query/lost.jpg")
    assert who_is_on(path, by_folder=True) is None
    assert who_is_on(path, by_folder=False) is None
    path = pathlib.Path("/data/query/cam2/0002_7.jpg")
    assert who_is_on(path, by_folder=False) == Who(2, 2)
    path = pathlib.Path("/data/query/alice/cam2/7.jpg")
    assert who_is_on(path, by_folder=True) == Who("alice", 2)


def test_a_folder_of_tracklets_tells_them_with_people_and_cameras():
    names = ["bbox_test/0012/0012C3T0004F005.jpg", "bbox_test/00-1/00-1C1T0001F001.jpg"]
    found = identify(names)
    assert found.who == (Who(12, 3, "0012C3T0004"), Who(JUNK, 1, "00-1C1T0001"))
