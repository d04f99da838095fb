import pathlib

import pytest

from input_pipeline.identities.file_names import Who, camera_in_name, camera_of_folder, who_is_named
from input_pipeline.identities.unknown import JUNK


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
