"""Market-style names, a folder per identity, and CSV tables."""

import random
import re
import shutil
import unicodedata
import uuid

import pytest
from PIL import Image

from input_pipeline.check import scan
from input_pipeline.errors import DataError, FilesError
from input_pipeline.identities import UNKNOWN_CAMERA, camera_in_name
from input_pipeline.readers import csv, folders, market_style
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


@pytest.mark.parametrize("junk", ["-1", "-0001", "−1"])
@pytest.mark.parametrize("split", ["train", "query", "gallery"])
@pytest.mark.parametrize("layout", ["market_style", "folders", "csv_table"])
def test_junk_is_left_out_by_every_reader(tmp_path, layout, split, junk):
    before = layouts.read(layout, tmp_path)
    shot = layouts.shots()[0]
    if layout == "market_style":
        layouts.save(shot, before.root / layouts.THREE_FOLDERS[split] / f"{junk}_c1_7.jpg")
        again = market_style.read(before.root)
    elif layout == "folders":
        layouts.save(shot, before.root / split / junk / "c1_7.jpg")
        again = folders.read(before.root)
    else:
        with (before.root / "dataset.csv").open("a", encoding="utf-8") as file:
            file.write(f"nowhere.png,{junk},door 1,{split}\n")
        again = csv.read(before.root)
    assert again == before
    assert again.notices[-1] == "1 image of identity −1 (junk) is left out"


@pytest.mark.parametrize("layout", ["market_style", "folders", "csv_table"])
@pytest.mark.parametrize("alone", ["train", "test"])
def test_a_set_alone_is_read(tmp_path, layout, alone):
    whole = layouts.read(layout, tmp_path)
    gone = ("query", "gallery") if alone == "train" else ("train",)
    if layout == "csv_table":
        lines = rows(tmp_path)
        text = "\n".join(line for line in lines if not line.endswith(gone))
        dataset = csv.read(table(tmp_path, text))
    else:
        for split in gone:
            name = layouts.THREE_FOLDERS[split] if layout == "market_style" else split
            shutil.rmtree(whole.root / name)
        dataset = (market_style if layout == "market_style" else folders).read(whole.root)
    for split in ("train", "query", "gallery"):
        expected = () if split in gone else getattr(whole, split)
        assert [s.path for s in getattr(dataset, split)] == [s.path for s in expected]
    assert dataset.notices[0].startswith("there is no")


@pytest.mark.parametrize("layout", ["market_style", "folders", "csv_table"])
def test_a_query_without_a_gallery_is_refused(tmp_path, layout):
    whole = layouts.read(layout, tmp_path)
    if layout == "csv_table":
        text = "\n".join(line for line in rows(tmp_path) if not line.endswith("gallery"))
        with pytest.raises(DataError, match="query images and no gallery images"):
            csv.read(table(tmp_path, text))
        return
    name = "bounding_box_test" if layout == "market_style" else "gallery"
    shutil.rmtree(whole.root / name)
    with pytest.raises(DataError, match=f"{name}: this folder of .* is missing"):
        (market_style if layout == "market_style" else folders).read(whole.root)


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


def test_folder_names_are_the_identities(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    people = {sample.path.parent.name: sample.identity for sample in dataset.gallery}
    assert len(people) == len(set(people.values())) == 2
    for sample in dataset.query:
        assert people[sample.path.parent.name] == sample.identity
    assert {sample.camera for sample in dataset.train} == {1, 2}


def test_folders_refuse_loose_images(tmp_path):
    root = layouts.read("folders", tmp_path).root
    loose = layouts.save(layouts.shots()[0], root / "query" / "c1_9.jpg")
    layouts.save(layouts.shots()[0], root / "train" / "Zoë 1" / "door.jpg")
    with pytest.raises(FilesError) as caught:
        folders.read(root)
    assert {(problem.path, problem.what) for problem in caught.value.problems} == {
        (loose, "it is not in a person's folder, move it into one"),
    }


def test_folders_refuse_a_person_on_both_sides_by_name(tmp_path):
    root = layouts.read("folders", tmp_path).root
    shutil.copytree(root / "train" / "Zoë 1", root / "gallery" / "Zoë 1")
    with pytest.raises(DataError, match="both training and test: Zoë 1;"):
        folders.read(root)


def with_names(root, names: list[str]):
    """A folder per identity whose files have these names."""
    for split in ("train", "query", "gallery"):
        for name in names:
            person = "a" if split == "train" else "b"
            layouts.save(layouts.shots()[0], root / split / person / name)
    return folders.read(root)


@pytest.mark.parametrize(
    ("name", "camera"),
    [
        ("c3_0001.jpg", 3),
        ("C12.jpg", 12),
        ("c3-0001.jpg", 3),
        ("c3s1_0001.jpg", 3),
        ("door_c3.jpg", 3),
        ("door_c3_2024-c5-1.jpg", 3),
        ("c1234567.jpg", -1),
        ("door-c3.jpg", -1),
        ("door-cam3.jpg", 3),
        ("cam_4/door.jpg", 4),
    ],
)
def test_cameras_of_folders(tmp_path, name, camera):
    dataset = with_names(tmp_path, [name])
    assert {sample.camera for sample in (*dataset.train, *dataset.gallery)} == {camera}


def test_random_names_have_no_cameras():
    source = random.Random(0)
    names = [f"{uuid.UUID(int=source.getrandbits(128))}.jpg" for _ in range(5000)]
    assert any("-c1" in name for name in names)
    assert not any(camera_in_name(name) for name in names)


def test_one_person_written_in_two_ways_is_one(tmp_path):
    layouts.folders(tmp_path)
    root = tmp_path / "büro"
    for split in ("query", "gallery"):
        person = sorted((root / split).iterdir())[0]
        person.rename(
            person.with_name(unicodedata.normalize("NFD" if split == "query" else "NFC", "Zoë 5"))
        )
    dataset = folders.read(root)
    assert {s.identity for s in dataset.query} <= {s.identity for s in dataset.gallery}
    assert len({s.identity for s in dataset.gallery}) == 2


def test_layouts_that_are_mistaken_for_each_other_are_told_apart(tmp_path):
    layouts.market_style(tmp_path)
    layouts.folders(tmp_path)
    with pytest.raises(DataError, match=r"holds bounding_box_train.* read it as market_style"):
        folders.read(tmp_path / "My shop")
    with pytest.raises(DataError, match=r"holds train instead of .* read it as folders"):
        market_style.read(tmp_path / "büro")


@pytest.mark.parametrize("suffix", [".bmp", ".webp", ".tif", ".TIFF"])
def test_pictures_of_other_kinds_are_read(tmp_path, suffix):
    for layout in ("folders", "market_style"):
        root = layouts.read(layout, tmp_path).root
        old = next(path for path in (root / "query").rglob("*.jpg"))
        with Image.open(old) as picture:
            picture.save(old.with_suffix(suffix))
        old.unlink()
        dataset = (folders if layout == "folders" else market_style).read(root)
        assert len(dataset.query) == 4
        assert scan(dataset, progress=False).problems == ()


def test_pictures_that_are_not_read_are_counted(tmp_path):
    root = layouts.read("market_style", tmp_path).root
    layouts.save(layouts.shots()[0], root / "query" / "day 1" / "more" / "5_c1_9.jpg")
    with pytest.warns(UserWarning, match=r"1 image is in folders under .*query .* first is day 1"):
        market_style.read(root)
    shutil.rmtree(root / "query" / "day 1")
    (root / "query" / "5_c1_9.HEIC").touch()
    (root / "query" / "5_c1_9.gif").touch()
    with pytest.warns(UserWarning, match=r"2 images are of kinds that are not read in .*query"):
        market_style.read(root)
    root = layouts.read("folders", tmp_path).root
    person = sorted((root / "query").iterdir())[0]
    (person / "c1_9.heic").touch()
    with pytest.warns(UserWarning, match=rf"1 image is of kinds .* first is {person.name}/c1_9"):
        folders.read(root)


def test_numbers_that_are_too_large(tmp_path):
    shot = layouts.shots()[0]
    root = layouts.read("market_style", tmp_path).root
    large = layouts.save(shot, root / "query" / f"{2**31}_c1_1.jpg")
    with pytest.raises(
        FilesError, match=r"numbers go up to 2147483647, number people anew"
    ) as caught:
        market_style.read(root)
    assert [problem.path for problem in caught.value.problems] == [large]


def test_folders_follow_links_and_refuse_loops(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    person = dataset.root / "train" / "Zoë 1"
    person.rename(tmp_path / "elsewhere")
    person.symlink_to(tmp_path / "elsewhere")
    assert folders.read(dataset.root) == dataset
    (tmp_path / "elsewhere" / "again").symlink_to(dataset.root / "train")
    (person / "self").symlink_to("self")
    with pytest.raises(FilesError) as caught:
        folders.read(dataset.root)
    again, self = caught.value.problems
    assert (again.path, self.path) == (person / "again", person / "self")
    assert "symbolic link leads back to" in again.what
    assert "cannot be read" in self.what
    assert caught.value.rest == dataset


def test_folders_refuse_an_empty_split(tmp_path):
    root = layouts.read("folders", tmp_path).root
    shutil.rmtree(root / "query")
    with pytest.raises(DataError, match=r"query: this folder of .* is missing"):
        folders.read(root)
    (root / "query" / "Zoë 5").mkdir(parents=True)
    with pytest.raises(DataError, match="no query images"):
        folders.read(root)


def test_people_keep_their_names(tmp_path):
    for name in ("zoe", "ben"):
        picture = tmp_path / "train" / name / "c1_1.jpg"
        picture.parent.mkdir(parents=True)
        shutil.copyfile(layouts.shots()[0].picture, picture)
    for split in ("query", "gallery"):
        shutil.copytree(tmp_path / "train" / "zoe", tmp_path / split / "anna")
    dataset = folders.read(tmp_path)
    assert [dataset.name_of(sample.identity) for sample in dataset.train] == ["ben", "zoe"]
    assert {dataset.name_of(sample.identity) for sample in dataset.query} == {"anna"}
    text = "\n".join(rows(tmp_path)).replace(",person 1,", ",zoe,")
    names = csv.read(table(tmp_path, text)).identity_names
    assert list(names.values()) == [
        "person 2",
        "person 3",
        "person 4",
        "person 5",
        "person 6",
        "zoe",
    ]


def table(tmp_path, text: str):
    layouts.csv_table(tmp_path)
    path = tmp_path / "table" / "dataset.csv"
    path.write_text(text, "utf-8")
    return path


def rows(tmp_path) -> list[str]:
    layouts.csv_table(tmp_path)
    return (tmp_path / "table" / "dataset.csv").read_text("utf-8").splitlines()


def test_csv_is_found_by_folder_or_by_file(tmp_path):
    dataset = layouts.read("csv_table", tmp_path)
    assert csv.read(tmp_path / "table" / "dataset.csv") == dataset
    (tmp_path / "table" / "dataset.csv").rename(tmp_path / "table" / "people.csv")
    assert csv.read(tmp_path / "table") == dataset
    (tmp_path / "table" / "other.csv").touch()
    with pytest.raises(DataError, match="holds 2 CSV files"):
        csv.read(tmp_path / "table")
    with pytest.raises(DataError, match="does not exist"):
        csv.read(tmp_path / "nowhere")


def test_csv_as_spreadsheets_write_it(tmp_path):
    expected = layouts.read("csv_table", tmp_path)
    lines = rows(tmp_path)
    text = "\ufeff" + "\r\n".join(line.replace(",", ";") for line in lines).replace("path", "Path")
    assert csv.read(table(tmp_path, text)) == expected


def test_csv_may_name_part_maps_and_leave_cameras_out(tmp_path):
    lines = rows(tmp_path)
    header, *body = [line.split(",") for line in lines]
    shot = layouts.shots()[0]
    shutil.copy(shot.parts, tmp_path / "table" / "map.png")
    text = "\n".join(
        [f"{header[0]},{header[1]},split,part_map"]
        + [f"{row[0]},{row[1]},{row[3]},map.png" for row in body]
    )
    dataset = csv.read(table(tmp_path, text))
    assert {sample.camera for sample in dataset.query} == {UNKNOWN_CAMERA}
    assert {sample.part_map for sample in dataset.train} == {tmp_path / "table" / "map.png"}


def test_csv_reports_all_bad_lines_at_once(tmp_path):
    lines = rows(tmp_path)
    bad = [
        "pictures/none.png,person 1,door 1,train",
        "../secret.png,person 1,door 1,train",
        "/etc/passwd,person 1,door 1,train",
        lines[1],
        lines[2].replace("train", "training"),
        lines[3].replace("person 1", ""),
        lines[4].replace("door 2", ""),
        f"{'a' * 300}.png,person 1,door 1,train",
    ]
    text = "\n".join([*lines[:2], *bad, *lines[6:]])
    with pytest.raises(FilesError) as caught:
        csv.read(table(tmp_path, text))
    whats = [problem.what for problem in caught.value.problems]
    assert [what.partition(":")[0] for what in whats] == [
        f"line {n}" for n in (3, 4, 5, 6, 7, 8, 10)
    ]
    for what, expected in zip(
        whats,
        [
            *("is missing", "not under", "not under", "before", "'training'"),
            *("no identity", "cannot be read (File name too long)"),
        ],
        strict=True,
    ):
        assert expected in what


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path, identity, split"),
        ("path,person,split\n", "no column identity"),
        ("path,identity,split\n", "no images here"),
    ],
)
def test_csv_without_what_it_needs_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        csv.read(table(tmp_path, text))


def test_csv_that_is_not_utf8_is_refused(tmp_path):
    path = table(tmp_path, "")
    path.write_bytes("path,identity,split\nä".encode("latin-1"))
    with pytest.raises(DataError, match="save it as UTF-8"):
        csv.read(path)
