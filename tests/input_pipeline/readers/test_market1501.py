import shutil

import pytest

from input_pipeline.errors import DataError, FilesError
from input_pipeline.layouts import protocol
from input_pipeline.readers import market1501
from tests import layouts

FOLDER = "Market-1501-v15.09.15"


def test_the_folder_and_the_folder_above_are_found(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    with pytest.warns(UserWarning, match="published"):
        again = market1501.read(tmp_path / FOLDER)
    assert dataset == again
    assert dataset.root == tmp_path / FOLDER


def test_junk_is_dropped_and_distractors_stay(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    identities = [sample.identity for sample in dataset.gallery]
    assert identities.count(0) == 1
    assert -1 not in identities
    assert {sample.camera for sample in dataset.gallery} == {1, 2, 3}


def test_part_maps_come_from_the_tree_beside(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    sample = dataset.train[0]
    expected = tmp_path / f"{FOLDER}_ps_label" / "bounding_box_train" / f"{sample.path.stem}.png"
    assert sample.part_map == expected
    assert [s.part_map is None for s in dataset.gallery].count(True) == 1  # the distractor


def test_the_500k_distractors_are_nobody_whatever_their_names_say(tmp_path):
    dataset = layouts.read("market1501_500k", tmp_path)
    added = dataset.gallery[-2:]
    assert [(sample.identity, sample.camera) for sample in added] == [(0, -1), (0, 4)]


def test_fewer_distractors_than_published_are_named(tmp_path):
    layouts.market1501_500k(tmp_path)
    with pytest.warns(UserWarning, match="published") as caught:
        market1501.read(tmp_path, variant="500k")
    assert "images has 2 images of 1 identities, published are 500000" in str(caught[-1].message)


def test_distractors_do_not_hide_other_problems(tmp_path):
    layouts.market1501(tmp_path)
    (tmp_path / FOLDER / "query" / "me.jpg").touch()
    with pytest.raises(FilesError) as caught:
        market1501.read(tmp_path, variant="500k")
    assert [problem.path.name for problem in caught.value.problems] == ["me.jpg", "images"]
    assert caught.value.rest.name == "market1501_500k"


def test_missing_distractors_are_refused(tmp_path):
    layouts.market1501(tmp_path)
    with (
        pytest.warns(UserWarning, match="published"),
        pytest.raises(DataError, match=r"images: this folder of Market-1501 500k is missing"),
    ):
        market1501.read(tmp_path, variant="500k")


def test_every_split_that_differs_from_the_published_counts_is_named(tmp_path):
    layouts.market1501(tmp_path)
    with pytest.warns(UserWarning, match="published") as caught:
        market1501.read(tmp_path)
    messages = [str(warning.message) for warning in caught]
    assert len(messages) == 3
    assert "train split" in messages[0]
    assert "16 images of 4 identities" in messages[0]
    assert "12936 images of 751 identities" in messages[0]


def test_published_counts_do_not_warn(tmp_path, monkeypatch):
    layouts.market1501(tmp_path)
    counts = {
        "train": market1501.Count(16, 4),
        "query": market1501.Count(4, 2),
        "gallery": market1501.Count(9, 3),
    }
    monkeypatch.setattr(market1501, "PUBLISHED", counts)
    assert len(market1501.read(tmp_path).gallery) == 9


def test_a_missing_folder_names_what_was_looked_for(tmp_path):
    with pytest.raises(DataError, match=r"looked for bounding_box_train.*Market-1501-v15\.09\.15"):
        market1501.read(tmp_path)
    with pytest.raises(DataError, match="does not exist"):
        market1501.read(tmp_path / "nowhere")
    (tmp_path / "a file").touch()
    with pytest.raises(DataError, match="is not a folder"):
        market1501.read(tmp_path / "a file")


@pytest.mark.parametrize("folder", protocol.FOLDERS.values())
def test_a_missing_or_empty_split_is_refused(tmp_path, folder):
    layouts.market1501(tmp_path)
    split = tmp_path / FOLDER / folder
    shutil.rmtree(split)
    if folder != "bounding_box_train":
        with pytest.raises(DataError, match=f"{folder}: this folder of Market-1501 is missing"):
            market1501.read(tmp_path)
    split.mkdir()
    (split / "Thumbs.db").touch()
    (split / "._0001_c1s1_000001_01.jpg").touch()
    with pytest.raises(DataError, match=f"{folder}: this folder of Market-1501 holds no images"):
        market1501.read(tmp_path)


def test_a_split_of_junk_alone_is_empty(tmp_path):
    layouts.market1501(tmp_path)
    for path in (tmp_path / FOLDER / "query").glob("*.jpg"):
        path.rename(path.with_name(f"-1{path.name[4:]}"))
    with pytest.raises(DataError, match=r"the query images here \(2\) all have identity −1"):
        market1501.read(tmp_path)


def test_all_names_that_do_not_parse_are_reported_at_once(tmp_path):
    layouts.market1501(tmp_path)
    root = tmp_path / FOLDER
    bad = [root / "query" / "0001_c9s1_000001_01.jpg", root / "bounding_box_train" / "me.jpg"]
    for path in bad:
        path.touch()
    with pytest.raises(FilesError, match=r"2 files cannot be used: .*me.jpg.*c9s1") as caught:
        market1501.read(tmp_path)
    assert {problem.path for problem in caught.value.problems} == set(bad)
    assert caught.value.rest is not None
    assert len(caught.value.rest.train) == 16


def test_an_identity_on_both_sides_is_refused(tmp_path):
    layouts.market1501(tmp_path)
    root = tmp_path / FOLDER
    shutil.copy(
        root / "bounding_box_train" / "0001_c1s1_000000_01.jpg",
        root / "query" / "0001_c1s1_000000_01.jpg",
    )
    (root / "query" / "me.jpg").touch()
    with pytest.raises(FilesError, match="both training and test: 1; ") as caught:
        market1501.read(tmp_path)
    assert {problem.path for problem in caught.value.problems} == {root, root / "query" / "me.jpg"}
    assert caught.value.rest is not None


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    layouts.market1501(tmp_path)

    def refuse(path):
        raise PermissionError(13, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", refuse)
    with pytest.raises(FilesError, match=r"bounding_box_train: .* cannot be read \(Perm") as caught:
        market1501.read(tmp_path)
    assert len(caught.value.problems) == 3


def test_a_test_set_or_a_training_set_alone(tmp_path):
    whole = layouts.read("market1501", tmp_path)
    (whole.root / "bounding_box_train").rename(tmp_path / "away")
    with pytest.warns(UserWarning, match="published") as caught:
        test = market1501.read(tmp_path)
    assert not [each for each in caught if "the train split" in str(each.message)]
    assert (test.train, test.query, test.gallery) == ((), whole.query, whole.gallery)
    assert test.notices[0].startswith("there is no training set here")
    (tmp_path / "away").rename(whole.root / "bounding_box_train")
    for split in ("query", "bounding_box_test"):
        shutil.rmtree(whole.root / split)
    train = layouts.without_warnings(market1501.read, tmp_path)
    assert (train.train, train.query, train.gallery) == (whole.train, (), ())
    assert train.notices == ("there is no query and no gallery here, only a training set",)


@pytest.mark.parametrize("junk", ["-1", "-0001", "-01"])
@pytest.mark.parametrize("folder", protocol.FOLDERS.values())
def test_junk_is_left_out_of_every_split_and_counted(tmp_path, junk, folder):
    before = layouts.read("market1501", tmp_path)
    root = before.root
    layouts.save(layouts.shots()[0], root / folder / f"{junk}_c3s1_000019_00.jpg")
    dataset = layouts.without_warnings(market1501.read, tmp_path)
    assert dataset == before
    assert dataset.notices == ("2 images of identity −1 (junk) are left out",)
