import pathlib
import unicodedata

import pytest

from input_pipeline.identities import (
    JUNK,
    Who,
    camera_in_name,
    camera_of_folder,
    identify,
    is_junk,
    is_unknown_camera,
    is_unknown_tracklet,
    near_spellings,
    number_names,
    who_is_named,
    who_is_on,
)


@pytest.mark.parametrize(
    ("name", "who"),
    [
        ("0002_c1s1_000451_03.jpg", Who(2, 1)),
        ("-1_c3_x.png", Who(JUNK, 3)),
        ("-0001_c3_x.png", Who(JUNK, 3)),
        ("-1_c3s1_000451_03.jpg", Who(JUNK, 3)),
        ("7_c2.jpg", Who(7, 2)),
        ("7_cam2.jpg", Who(7, 2)),
        ("7_CAM_12_x.jpg", Who(7, 12)),
        ("7_camera3s2_1.jpg", Who(7, 3)),
        ("0001_c2_f0046182.jpg", Who(1, 2)),
        ("0003_012_14_0303morning_0008_0.jpg", Who(3, 14)),
        ("0003_012_14_0303.jpg", None),
        ("0012C3T0004F005.jpg", Who(12, 3, "0012C3T0004")),
        ("0000C6T1234F001.png", Who(0, 6, "0000C6T1234")),
        ("00-1C1T0001F001.jpg", Who(JUNK, 1, "00-1C1T0001")),
        ("0012C3T0004.jpg", None),
        ("012C3T0004F005.jpg", None),
        ("-5_c3_x.png", None),
        (f"{2**63 - 1}_c1_1.jpg", Who(2**63 - 1, 1)),
        (f"{2**63}_c1_1.jpg", None),
        ("9" * 5000 + "_c1_1.jpg", None),
        (f"1_c{'9' * 5000}_1.jpg", None),
        ("٣_c1_1.jpg", None),
        ("portrait.jpg", None),
        ("17.jpg", None),
    ],
)
def test_names(name, who):
    assert who_is_named(pathlib.PurePath("a", name)) == who


def test_names_without_cameras_count_where_they_are_expected():
    assert who_is_named("17_x.jpg") is None
    assert who_is_named("17_x.jpg", camera_required=False) == Who(17, None)
    assert who_is_named("17.jpg", camera_required=False) == Who(17, None)
    assert who_is_named("-0001_x.jpg", camera_required=False) == Who(JUNK, None)


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        *(("c3_1.jpg", 3), ("door_c12.jpg", 12), ("x_C3s1_1.png", 3), ("cam4_1.jpg", 4)),
        *(("x-cam04-1.jpg", 4), ("p_camera_5.jpg", 5), ("c0_1.jpg", 0)),
        *(("a-c123-1.jpg", None), ("c1234_1.jpg", None), ("abc3_1.jpg", None), ("c3", None)),
    ],
)
def test_cameras_in_names(name, camera):
    assert camera_in_name(name) == camera


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        *(("cam1", 1), ("c02", 2), ("camera_3", 3), ("Cam-3", 3), ("CAMERA 4", 4), ("c0", 0)),
        *(("cam_a", 1), ("Camera-B", 2), ("c", None), ("cama", None), ("came", None)),
        *(("camille", None), ("carl2", None), ("c1234", None), ("cam1b", None), ("2", None)),
    ],
)
def test_cameras_of_folders(name, camera):
    assert camera_of_folder(name) == camera


@pytest.mark.parametrize("text", ["-1", "-0001", " -1 ", "-1.0", "−1", "-01.00", "－１", "-1,0"])
def test_junk_in_every_spelling(text):
    assert is_junk(text)
    assert is_junk(text.encode())


@pytest.mark.parametrize("text", ["1", "-10", "-1a", "", "-1.5", "--1", "- 1", "0", "-11", "a-1"])
def test_what_is_no_junk(text):
    assert not is_junk(text)


def test_cameras_that_a_table_does_not_know():
    assert all(map(is_unknown_camera, ("", " ", "-1", "-1.0", "NaN", "None", "unknown", "?")))
    assert not any(map(is_unknown_camera, ("0", "1", "north", "c1")))


def test_numbers_stay_and_words_count_from_0():
    assert number_names(["10", "9", "9"]) == {"9": 9, "10": 10}
    assert number_names(["1", "01"]) == {"01": 0, "1": 1}
    assert number_names(["b", "7", "a"]) == {"7": 0, "a": 1, "b": 2}
    assert number_names(["9", str(2**31)]) == {str(2**31): 0, "9": 1}
    assert number_names(["²", "1"]) == {"1": 0, "²": 1}
    assert number_names(["9" * 5000, "1"]) == {"1": 0, "9" * 5000: 1}


def test_junk_decides_nothing_about_the_other_names():
    assert number_names(["10", "-1", "9", "-0001"]) == {"9": 9, "10": 10, "-1": -1, "-0001": -1}
    assert number_names(["b", "-1", "a"]) == {"a": 0, "b": 1, "-1": -1}


def test_names_that_may_be_meant_as_one():
    names = [
        "0004",
        "4",
        "4.0",
        "5",
        "Ada",
        "ada",
        "A da",
        "Ann  B",
        "Ann B",
        "nan",
        "１２",
        "12",
        "1_2",
    ]
    assert near_spellings(names) == [
        ("0004", "4", "4.0"),
        ("12", "１２"),
        ("Ada", "ada"),
        ("Ann  B", "Ann B"),
    ]


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


@pytest.mark.parametrize("tracklet", ["", None, float("nan"), -1, "-1", "nan", "unknown", "?"])
def test_tracklets_that_are_not_known(tracklet):
    assert is_unknown_tracklet(tracklet)


@pytest.mark.parametrize("tracklet", ["0012C3T0004", "0", 0, 7, "cam1/person001"])
def test_tracklets_that_are_known(tracklet):
    assert not is_unknown_tracklet(tracklet)


def test_a_folder_of_tracklets_tells_them_with_people_and_cameras():
    names = ["bbox_test/0012/0012C3T0004F005.jpg", "bbox_test/00-1/00-1C1T0001F001.jpg"]
    found = identify(names)
    assert found.who == (Who(12, 3, "0012C3T0004"), Who(JUNK, 1, "00-1C1T0001"))
