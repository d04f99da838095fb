"""Market-style names, a folder per identity, and CSV tables."""

import random
import shutil
import unicodedata
import uuid

import pytest
from PIL import Image

from input_pipeline.check import scan
from input_pipeline.errors import DataError, FilesError
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


def test_market_style_without_any_camera_is_camera_0(tmp_path):
    for folder in layouts.THREE_FOLDERS.values():
        for number in (0, 1):
            identity = 1 if folder == "bounding_box_train" else 2
            layouts.save(layouts.shots()[0], tmp_path / folder / f"{identity}_{number}.jpg")
    dataset = market_style.read(tmp_path)
    assert {sample.camera for sample in (*dataset.train, *dataset.gallery)} == {0}


def test_market_style_refuses_a_camera_in_some_names_only(tmp_path):
    layouts.market_style(tmp_path)
    odd = tmp_path / "My shop" / "query" / "5_9.jpg"
    layouts.save(layouts.shots()[0], odd)
    with pytest.raises(FilesError, match="no camera, the others have") as caught:
        market_style.read(tmp_path / "My shop")
    assert [problem.path for problem in caught.value.problems] == [odd]


def test_folder_names_are_the_identities(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    people = {sample.path.parent.name: sample.identity for sample in dataset.gallery}
    assert len(people) == len(set(people.values())) == 2
    for sample in dataset.query:
        assert people[sample.path.parent.name] == sample.identity
    assert {sample.camera for sample in dataset.train} == {1, 2}


def test_folders_refuse_loose_pictures_and_missing_cameras_at_once(tmp_path):
    root = layouts.read("folders", tmp_path).root
    loose = layouts.save(layouts.shots()[0], root / "query" / "c1_9.jpg")
    without = layouts.save(layouts.shots()[0], root / "train" / "Zoë 1" / "door.jpg")
    with pytest.raises(FilesError) as caught:
        folders.read(root)
    assert {(problem.path, problem.what) for problem in caught.value.problems} == {
        (loose, "it is not in a person's folder, move it into one"),
        (without, "its name has no camera, the others have"),
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
        ("c1234567.jpg", 0),
        ("door-c3.jpg", 0),
    ],
)
def test_cameras_of_folders(tmp_path, name, camera):
    dataset = with_names(tmp_path, [name])
    assert {sample.camera for sample in (*dataset.train, *dataset.gallery)} == {camera}


def test_random_names_have_no_cameras():
    source = random.Random(0)
    names = [f"{uuid.UUID(int=source.getrandbits(128))}.jpg" for _ in range(5000)]
    assert any("-c1" in name for name in names)
    assert not any(folders.CAMERA.search(name) for name in names)


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
    with pytest.warns(
        UserWarning, match=r"1 picture is in folders under .*query .* first is day 1"
    ):
        market_style.read(root)
    shutil.rmtree(root / "query" / "day 1")
    (root / "query" / "5_c1_9.HEIC").touch()
    (root / "query" / "5_c1_9.gif").touch()
    with pytest.warns(UserWarning, match=r"2 pictures are of kinds that are not read in .*query"):
        market_style.read(root)
    root = layouts.read("folders", tmp_path).root
    person = sorted((root / "query").iterdir())[0]
    (person / "c1_9.heic").touch()
    with pytest.warns(UserWarning, match=rf"1 picture is of kinds .* first is {person.name}/c1_9"):
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
    with pytest.raises(DataError, match="no query pictures"):
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
    assert {sample.camera for sample in dataset.query} == {0}
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
    assert [what.partition(":")[0] for what in whats] == [f"line {n}" for n in range(3, 11)]
    for what, expected in zip(
        whats,
        [
            *("is missing", "not under", "not under", "before", "'training'"),
            *("no identity", "no camera", "cannot be read (File name too long)"),
        ],
        strict=True,
    ):
        assert expected in what


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "no column path, identity, split"),
        ("path,person,split\n", "no column identity"),
        ("path,identity,split\n", "no train pictures"),
    ],
)
def test_csv_without_what_it_needs_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        csv.read(table(tmp_path, text))


def test_csv_that_is_not_utf8_is_refused(tmp_path):
    path = table(tmp_path, "")
    path.write_bytes("path,identity,split\nä".encode("latin-1"))
    with pytest.raises(DataError, match="cannot be read as UTF-8"):
        csv.read(path)
