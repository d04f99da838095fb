import pathlib
from collections import Counter

import numpy as np
import pytest
import scipy.io

from input_pipeline.errors import DataError, FilesError
from input_pipeline.readers import mars, read_dataset
from tests import layouts


def tracklets(samples):
    """Identity, camera and number of images of each tracklet."""
    counts = Counter((s.tracklet, s.identity, s.camera) for s in samples)
    return sorted((identity, camera, count) for (_, identity, camera), count in counts.items())


def test_the_lists_of_the_protocol_say_which_tracklets_are_queries(tmp_path):
    dataset = layouts.read("mars", tmp_path)
    people = layouts.people("query")
    once = [(person, camera, 2) for person in people for camera in (1, 2)]
    assert dataset.by_tracklet
    assert tracklets(dataset.query) == once
    # Two other tracklets of each, the queries themselves, and a distractor.
    assert [found[0] for found in tracklets(dataset.gallery)].count(0) == 1
    assert tracklets(s for s in dataset.gallery if s.identity) == sorted(3 * once)
    # The queries are the third tracklets of each, and not the first ones.
    numbers = {s.path.name[6:11] for s in dataset.query}
    assert numbers == {"T0003", "T0006"}
    assert {s.tracklet for s in dataset.query} <= {s.tracklet for s in dataset.gallery}


def test_junk_is_left_out_and_every_image_has_a_tracklet(tmp_path):
    dataset = layouts.read("mars", tmp_path)
    samples = (*dataset.train, *dataset.query, *dataset.gallery)
    assert all(sample.tracklet and sample.identity >= 0 for sample in samples)
    assert (tmp_path / "MARS" / "bbox_test" / "00-1").is_dir()
    assert tracklets(dataset.train) == sorted(
        (shot.identity, shot.camera, 2) for shot in layouts.shots() if shot.split == "train"
    )


def test_queries_can_be_left_out_of_the_gallery(tmp_path):
    layouts.mars(tmp_path)
    dataset = layouts.without_warnings(read_dataset, "mars:without_queries", tmp_path)
    assert dataset.name == "mars_without_queries"
    assert not {s.tracklet for s in dataset.query} & {s.tracklet for s in dataset.gallery}
    assert len(dataset.gallery) == 18


def test_without_lists_the_first_tracklet_of_each_person_and_camera_is_a_query(tmp_path):
    layouts.mars(tmp_path)
    for path in (tmp_path / "MARS" / "info").iterdir():
        path.unlink()
    dataset = layouts.without_warnings(read_dataset, "mars", tmp_path)
    assert {s.tracklet for s in dataset.query} == {
        f"{person:04d}C{camera}T{number:04d}"
        for person in layouts.people("query")
        for camera, number in ((1, 1), (2, 4))
    }
    assert any("not comparable" in notice for notice in dataset.notices)
    assert any("junk" in notice for notice in dataset.notices)


def test_without_the_list_of_names_images_are_in_the_order_of_their_names(tmp_path):
    with_names = layouts.read("mars", tmp_path)
    (tmp_path / "MARS" / "info" / "test_name.txt").unlink()
    assert layouts.without_warnings(read_dataset, "mars", tmp_path) == with_names


def test_numbers_of_tracklets_that_differ_from_the_published_ones_are_named(tmp_path):
    layouts.mars(tmp_path)
    with pytest.warns(UserWarning, match="published") as caught:
        mars.read(tmp_path)
    messages = " ".join(str(warning.message) for warning in caught)
    assert "train split" in messages
    assert "has 16 tracklets, published are 8,298" in messages
    assert "has 13 tracklets, published are 11,310" in messages


def change(path, **matrix):
    scipy.io.savemat(path, matrix)


@pytest.mark.parametrize(
    ("rows", "queries", "message"),
    [
        ([[1, 2, 5, 1]], [1], r"row 1 is of person 5 and camera 1, not 00-1C1T0001F001.jpg"),
        ([[1, 2, -1, 1], [99, 99, 1, 1]], [1], "row 2: no such images are listed"),
        ([[1, 2, -1, 1]], [2], "rows count from 1 to 1 there"),
    ],
)
def test_lists_of_other_images_are_refused(rows, queries, message, tmp_path):
    layouts.mars(tmp_path)
    info = tmp_path / "MARS" / "info"
    change(info / "tracks_test_info.mat", track_test_info=np.array(rows))
    change(info / "query_IDX.mat", query_IDX=np.array([queries]))
    with pytest.raises(FilesError, match=message):
        mars.read(tmp_path)


def test_images_that_the_lists_name_and_that_are_gone_are_named(tmp_path):
    layouts.mars(tmp_path)
    lost = next(iter((tmp_path / "MARS" / "bbox_test" / "0000").iterdir()))
    lost.unlink()
    with pytest.raises(FilesError, match=f"row 2: {lost.name} is not in bbox_test"):
        mars.read(tmp_path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("tracks_test_info.mat", None, "tracks_test_info.mat is missing"),
        ("tracks_test_info.mat", b"no matrix", "tracks_test_info.mat"),
        ("query_IDX.mat", b"no matrix", "query_IDX.mat"),
    ],
)
def test_damaged_lists_are_refused(name, content, message, tmp_path):
    layouts.mars(tmp_path)
    path: pathlib.Path = tmp_path / "MARS" / "info" / name
    path.unlink()
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(DataError, match=message):
        mars.read(tmp_path)


def test_lists_of_another_form_are_refused(tmp_path):
    layouts.mars(tmp_path)
    path = tmp_path / "MARS" / "info" / "tracks_test_info.mat"
    change(path, track_test_info=np.ones((3, 5)))
    with pytest.raises(DataError, match=r"shape \[3, 5\], not \[N, 4\]"):
        mars.read(tmp_path)
    change(path, one=np.ones((1, 4)), two=np.ones((1, 4)))
    with pytest.raises(DataError, match="holds 2 variables"):
        mars.read(tmp_path)


def test_other_names_and_variants_are_refused(tmp_path):
    layouts.mars(tmp_path)
    (tmp_path / "MARS" / "bbox_train" / "0001" / "0001_c1s1_000001_00.jpg").parent.mkdir(
        exist_ok=True
    )
    (tmp_path / "MARS" / "bbox_train" / "0001" / "0001_c1s1_000001_00.jpg").touch()
    with pytest.raises(FilesError, match="not like 0001C1T0001F001"):
        mars.read(tmp_path)
    with pytest.raises(DataError, match="no variant 'v2': leave it out or write without_queries"):
        mars.read(tmp_path, variant="v2")
