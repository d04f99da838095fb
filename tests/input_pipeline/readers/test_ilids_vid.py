import pytest
import scipy.io

from input_pipeline.errors import DataError, FilesError
from input_pipeline.readers import ilids_vid, read_dataset
from tests import layouts

SPLITS = [[1, 2, 3, 4, 5, 6], [6, 5, 4, 3, 2, 1]]


def read(folder, spec="ilids_vid"):
    return layouts.without_warnings(read_dataset, spec, folder)


def numbers():
    """The people's numbers, in order, as the layout makes them."""
    return [10 * identity + 1 for identity in layouts.people("train") + layouts.people("query")]


@pytest.mark.parametrize(
    ("spec", "row"), [("ilids_vid", 0), ("ilids_vid:1", 0), ("ilids_vid:2", 1)]
)
def test_the_first_half_of_a_published_row_is_tested(spec, row, tmp_path):
    layouts.ilids_vid(tmp_path, splits=SPLITS)
    dataset = read(tmp_path, spec)
    tested = {sorted(numbers())[place - 1] for place in SPLITS[row][:3]}
    assert dataset.name == f"ilids_vid_{row + 1}"
    assert dataset.by_tracklet
    assert {s.identity for s in dataset.query} == {s.identity for s in dataset.gallery} == tested
    assert {s.identity for s in dataset.train} == set(numbers()) - tested


def test_a_folder_is_a_tracklet_and_cameras_are_query_and_gallery(tmp_path):
    layouts.ilids_vid(tmp_path, splits=SPLITS)
    dataset = read(tmp_path)
    assert {s.camera for s in dataset.query} == {1}
    assert {s.camera for s in dataset.gallery} == {2}
    assert {s.camera for s in dataset.train} == {1, 2}
    for sample in (*dataset.train, *dataset.query, *dataset.gallery):
        assert sample.tracklet == f"cam{sample.camera}/person{sample.identity:03d}"
        assert sample.path.parent.as_posix().endswith(sample.tracklet)


def test_people_are_drawn_where_the_splits_are_not_there(tmp_path):
    layouts.ilids_vid(tmp_path)
    first, again, other = read(tmp_path), read(tmp_path), read(tmp_path, "ilids_vid:3")
    assert first == again
    assert len({s.identity for s in first.query}) == 3
    assert {s.identity for s in first.query} != {s.identity for s in other.query}
    assert any("half of the people were drawn" in notice for notice in first.notices)


def test_numbers_of_tracklets_that_differ_from_the_published_ones_are_named(tmp_path):
    layouts.ilids_vid(tmp_path, splits=SPLITS)
    with pytest.warns(UserWarning, match="published") as caught:
        ilids_vid.read(tmp_path)
    assert "has 6 tracklets, published are 300" in str(caught[0].message)


def test_splits_of_other_people_are_refused(tmp_path):
    layouts.ilids_vid(tmp_path, splits=[[1, 2, 3, 4, 5, 7]])
    with pytest.raises(DataError, match="row 1 of ls_set is not of the 6 people here"):
        read(tmp_path)
    with pytest.raises(DataError, match="no row 2"):
        read(tmp_path, "ilids_vid:2")


def test_another_matlab_file_is_refused(tmp_path):
    layouts.ilids_vid(tmp_path, splits=SPLITS)
    path = tmp_path / "iLIDS-VID" / ilids_vid.SPLITS_FILE
    scipy.io.savemat(path, {"other": [1, 2]})
    with pytest.raises(DataError, match="train_test_splits_ilidsvid"):
        read(tmp_path)


def test_images_elsewhere_and_other_variants_are_refused(tmp_path):
    layouts.ilids_vid(tmp_path, splits=SPLITS)
    (tmp_path / "iLIDS-VID" / "i-LIDS-VID" / "sequences" / "cam1" / "1.png").touch()
    with pytest.raises(FilesError, match="not in a folder like cam1/person001"):
        read(tmp_path)
    with pytest.raises(DataError, match="write 1 to 10"):
        read(tmp_path, "ilids_vid:11")
