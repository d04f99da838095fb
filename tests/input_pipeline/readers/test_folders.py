"""A folder per identity."""

import random
import shutil
import unicodedata
import uuid

import pytest

from input_pipeline.errors import DataError, FilesError
from input_pipeline.identities.file_names import camera_in_name
from input_pipeline.readers import folders
from tests import layouts


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


def test_folders_of_cameras_with_names_that_tell_who(tmp_path):
    for shot in layouts.shots():
        name = f"cam{shot.camera}/{shot.identity:04d}_c{shot.camera}s1_{shot.index}.jpg"
        layouts.save(shot, tmp_path / "own" / shot.split / name)
    dataset = folders.read(tmp_path / "own")
    for split in ("train", "query", "gallery"):
        shots = sorted((s.camera, s.identity, s.index) for s in layouts.shots() if s.split == split)
        samples = getattr(dataset, split)
        assert [(s.camera, s.identity) for s in samples] == [(c, i) for c, i, _ in shots]
    assert dataset.notices[0].startswith("identities are the numbers in file names, and folders")


def test_folders_of_persons_stay_persons(tmp_path):
    """File names that begin with a number and a camera do not undo what the reader was told."""
    for split, person in (("train", "ada"), ("query", "ben"), ("gallery", "ben")):
        for number in (1, 2):
            path = tmp_path / split / person / f"{number:04d}_c{number}_1.jpg"
            layouts.save(layouts.shots()[0], path)
    dataset = folders.read(tmp_path)
    assert [(s.identity, s.camera) for s in dataset.gallery] == [(1, 1), (1, 2)]
    assert dataset.identity_names == {0: "ada", 1: "ben"}
    assert dataset.notices == (
        "identities are the names of folders, such as ben, camera 1 for query/ben/0001_c1_1.jpg",
    )


def test_a_split_of_junk_alone_is_called_that(tmp_path):
    root = layouts.read("folders", tmp_path).root
    for person in (root / "train").iterdir():
        shutil.rmtree(person)
    for number in range(2):
        layouts.save(layouts.shots()[0], root / "train" / "-1" / f"{number}.jpg")
    with pytest.raises(DataError, match=r"the training images here \(2\) all have identity −1"):
        folders.read(root)
