"""What may not be read is one line that names it, whichever file it is."""

import shutil

import pytest

from input_pipeline.check import scan
from input_pipeline.errors import DataError, FilesError
from input_pipeline.readers import read_dataset, read_each
from tests import layouts, permissions


@pytest.fixture
def folder():
    with permissions.public_folder() as folder:
        yield folder


def test_a_root_that_may_not_be_entered(folder):
    root = layouts.read("market1501", folder).root
    for locked, spec in ((root, f"market1501@{root}"), (folder, "market1501")):
        with permissions.locked(locked):
            (reading,) = read_each(spec, folder)
        assert isinstance(reading.error, DataError)
        assert "cannot be used: Permission denied; check its permissions" in str(reading.error)
        assert str(root if locked is root else folder) in str(reading.error)


def test_folders_that_may_not_be_read_do_not_hide_other_problems(folder):
    root = layouts.read("market1501", folder).root
    (root / "query" / "me.jpg").touch()
    train, gallery = root / "bounding_box_train", root / "bounding_box_test"
    with permissions.locked(train, gallery), pytest.raises(FilesError) as caught:
        read_dataset("market1501", folder)
    paths = {problem.path for problem in caught.value.problems}
    assert paths == {train, gallery, root / "query" / "me.jpg"}
    assert len(caught.value.rest.query) == 4


def test_persons_that_may_not_be_read(folder):
    root = layouts.read("folders", folder).root
    persons = sorted((root / "train").iterdir())[:2]
    with permissions.locked(*persons), pytest.raises(FilesError) as caught:
        read_dataset("folders@büro", folder)
    assert [problem.path for problem in caught.value.problems] == persons
    assert len(caught.value.rest.train) == 8


def test_part_maps_that_may_not_be_read_are_found_by_the_scan(folder):
    dataset = layouts.read("market1501", folder)
    scan(dataset, progress=False)  # what it imports late, the superuser alone may be able to read
    labels = folder / "Market-1501-v15.09.15_ps_label" / "bounding_box_train"
    with permissions.locked(labels):
        again = layouts.without_warnings(read_dataset, "market1501", folder)
        found = scan(again, progress=False)
    assert again == dataset
    assert {problem.path for problem in found.problems} == {s.part_map for s in dataset.train}
    assert {problem.what for problem in found.problems} == {"Permission denied"}


def test_pictures_and_lists_of_msmt17_that_may_not_be_read(folder):
    root = layouts.read("msmt17_v1", folder).root
    person = root / "train" / "0002"
    with (
        permissions.locked(person, root / "list_query.txt"),
        pytest.raises(FilesError) as caught,
    ):
        read_dataset("msmt17:trainval", folder)
    whats = {problem.path: problem.what for problem in caught.value.problems}
    assert whats.pop(root / "list_query.txt") == "Permission denied, check its permissions"
    assert len(whats) == 4
    assert all(path.parent == person for path in whats)
    assert all("cannot be read (Permission denied)" in what for what in whats.values())


def test_a_protocol_file_that_may_not_be_read(folder):
    layouts.cuhk03_matlab(folder)
    protocol = folder / "cuhk03" / "cuhk03_new_protocol_config_labeled.mat"
    shutil.copy(protocol, protocol.with_name("copy.mat"))
    with permissions.locked(protocol):
        (reading,) = read_each("cuhk03:labeled", folder, progress=False)
    assert "labeled.mat cannot be read: Permission denied" in str(reading.error)
