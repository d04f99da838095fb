"""Your own data in the form of Market-1501."""

import re

import pytest

from input_pipeline.errors import DataError, FilesError
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.readers import market_style
from tests import layouts


@pytest.mark.parametrize(
    ("name", "identity", "camera"),
    [
        ("7_c12.jpg", 7, 12),
        ("0007_c3s2_000123_01.JPG", 7, 3),
        ("7_c3-front door.png", 7, 3),
    ],
)
def test_market_style_names(tmp_path, name, identity, camera):
    layouts.market_style(tmp_path)
    root = tmp_path / "My shop"
    layouts.save(layouts.shots()[0], root / "bounding_box_test" / name)
    sample = next(s for s in market_style.read(root).gallery if s.path.name == name)
    assert (sample.identity, sample.camera) == (identity, camera)


def test_market_style_without_any_camera_knows_none(tmp_path):
    for folder in layouts.THREE_FOLDERS.values():
        for number in (0, 1):
            identity = 1 if folder == "bounding_box_train" else 2
            layouts.save(layouts.shots()[0], tmp_path / folder / f"{identity}_{number}.jpg")
    dataset = market_style.read(tmp_path)
    assert {sample.camera for sample in (*dataset.train, *dataset.gallery)} == {UNKNOWN_CAMERA}


def test_market_style_takes_cameras_from_names_folders_or_nowhere(tmp_path):
    layouts.market_style(tmp_path)
    query = tmp_path / "My shop" / "query"
    cameras = {
        "5_9.jpg": UNKNOWN_CAMERA,
        "5_cam3_9.jpg": 3,
        "5_7_c4.jpg": 4,
        "cam7/5_9.jpg": 7,
        "c08/5_c2_9.jpg": 2,
    }
    for name in cameras:
        layouts.save(layouts.shots()[0], query / name)
    dataset = market_style.read(tmp_path / "My shop")
    found = {s.path.relative_to(query).as_posix(): (s.identity, s.camera) for s in dataset.query}
    assert {name: found[name] for name in cameras} == {n: (5, c) for n, c in cameras.items()}


def test_market_style_says_what_the_identities_are(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    (notice,) = dataset.notices
    assert re.fullmatch(
        r"identities are the numbers that file names begin with, such as \d+, camera \d+ for "
        r"query/\d+_c\d_\d.jpg",
        notice,
    )


def test_market_style_with_short_folder_names(tmp_path):
    whole = layouts.read("market_style", tmp_path)
    (whole.root / "bounding_box_train").rename(whole.root / "train")
    (whole.root / "bounding_box_test").rename(whole.root / "gallery")
    again = market_style.read(whole.root)
    assert [(s.path.name, s.identity, s.camera) for s in again.gallery] == [
        (s.path.name, s.identity, s.camera) for s in whole.gallery
    ]
    assert len(again.train) == len(whole.train)


def test_market_style_with_people_numbered_twice(tmp_path):
    whole = layouts.read("market_style", tmp_path)
    first = whole.train[0]
    for split in ("query", "bounding_box_test"):
        for path in (whole.root / split).iterdir():
            path.rename(path.with_name(f"{first.identity}_{path.name.partition('_')[2]}"))
    with pytest.raises(DataError, match="both training and test"):
        market_style.read(whole.root)
    dataset = market_style.read(whole.root, variant="separate")
    assert {s.identity for s in dataset.query} == {first.identity}


def test_numbers_that_are_too_large(tmp_path):
    shot = layouts.shots()[0]
    root = layouts.read("market_style", tmp_path).root
    large = layouts.save(shot, root / "query" / f"{2**31}_c1_1.jpg")
    with pytest.raises(
        FilesError, match=r"numbers go up to 2147483647, number people anew"
    ) as caught:
        market_style.read(root)
    assert [problem.path for problem in caught.value.problems] == [large]
