import os
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError, FilesError, UserError
from input_pipeline.part_labels import choose_part_labels, label_once, write_labels
from input_pipeline.part_labels.drawn.examples.people import draw_plain
from input_pipeline.part_labels.drawn.measuring import iou_of_parts
from input_pipeline.part_labels.label_maps import read_labels
from input_pipeline.readers import market1501, market_style
from tests import layouts
from tests.input_pipeline.part_labels.labelers import BrightLabeler


def every(dataset: ReidDataset):
    return (*dataset.train, *dataset.query, *dataset.gallery)


def choose(dataset: ReidDataset, choice: str, tmp_path) -> ReidDataset:
    return choose_part_labels(dataset, choice, data_dir=tmp_path / "prepared", progress=False)


def test_required_keeps_labels_that_are_there(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    assert choose(dataset, "required", tmp_path) == dataset
    assert not (tmp_path / "prepared").exists()


def test_required_stops_without_labels_and_names_the_choices(tmp_path):
    dataset = layouts.read("occluded_duke", tmp_path)
    with pytest.raises(DataError, match=r"16 of 16 .*Occluded_Duke_ps_label.*'drawn'.*'none'"):
        choose(dataset, "required", tmp_path)


def test_required_stops_at_one_missing_label(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    for sample in dataset.train[1:]:
        target = tmp_path / "My shop_ps_label" / sample.path.relative_to(dataset.root)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(layouts.shots()[0].parts, target.with_suffix(".png"))
    dataset = market_style.read(dataset.root)
    name = dataset.train[0].path.name
    with pytest.raises(DataError, match=rf"1 of 16 .*the first is bounding_box_train/{name}"):
        choose(dataset, "required", tmp_path)


@pytest.mark.parametrize("place", ["in", "beside"])
@pytest.mark.parametrize("suffix", [".npy", ".jpg.npy"])
def test_the_originals_segmentation_folder_is_found(tmp_path, place, suffix):
    dataset = layouts.read("market_style", tmp_path)
    tree = (dataset.root if place == "in" else tmp_path) / "segmentation" / "bounding_box_train"
    tree.mkdir(parents=True)
    expected = []
    for number, sample in enumerate(dataset.train):
        parts = np.full((64, 32), number % 8, np.int32)
        np.save(tree / f"{sample.path.stem}{suffix}", parts)
        expected.append(parts)
    labelled = choose(dataset, "required", tmp_path)
    for sample, parts in zip(labelled.train, expected, strict=True):
        assert sample.part_map is not None
        assert sample.part_map.is_relative_to(tmp_path / "prepared")
        with Image.open(sample.part_map) as image:
            np.testing.assert_array_equal(np.asarray(image), parts)
    assert all(sample.part_map is None for sample in labelled.query)
    assert choose(dataset, "required", tmp_path) == labelled


def test_the_originals_folder_adds_to_the_label_tree(tmp_path):
    complete = layouts.read("market1501", tmp_path)
    lost = complete.train[3].part_map
    tree = tmp_path / "segmentation" / "bounding_box_train"
    tree.mkdir(parents=True)
    np.save(tree / f"{lost.stem}.npy", np.full((64, 32), 5))
    lost.unlink()
    dataset = layouts.without_warnings(market1501.read, tmp_path)
    assert dataset.train[3].part_map is None
    labelled = choose(dataset, "required", tmp_path)
    with Image.open(labelled.train[3].part_map) as image:
        assert (np.asarray(image) == 5).all()
    for before, after in zip(every(complete), every(labelled), strict=True):
        assert before.path == complete.train[3].path or before == after


def test_maps_replaced_by_older_files_are_converted_again(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    tree = tmp_path / "maps"
    for value, time in ((1, 2e9), (7, 1e9)):
        for sample in dataset.train:
            target = tree / sample.path.relative_to(dataset.root).with_suffix(".npy")
            target.parent.mkdir(parents=True, exist_ok=True)
            np.save(target, np.full((64, 32), value))
            os.utime(target, (time, time))
        labelled = choose(dataset, str(tree), tmp_path)
        for sample in labelled.train:
            with Image.open(sample.part_map) as image:
                assert (np.asarray(image) == value).all()


def test_none_takes_labels_away(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    stripped = choose(dataset, "none", tmp_path)
    assert [s.path for s in every(stripped)] == [s.path for s in every(dataset)]
    assert {sample.part_map for sample in every(stripped)} == {None}


def test_bands_replace_labels(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    with pytest.warns(UserWarning, match="stand-in"):
        banded = choose(dataset, "bands", tmp_path)
    assert {s.part_map for s in banded.train} == {tmp_path / "prepared/part_labels/bands/32x64.png"}


def test_a_folder_of_part_maps_is_used_in_place(tmp_path):
    expected = layouts.read("market1501", tmp_path)
    tree = tmp_path / "my labels"
    (tmp_path / "Market-1501-v15.09.15_ps_label").rename(tree)
    dataset = layouts.without_warnings(market1501.read, tmp_path)
    assert dataset.train[0].part_map is None
    labelled = choose(dataset, str(tree), tmp_path)
    for sample, before in zip(labelled.train, expected.train, strict=True):
        assert sample.part_map == tree / "bounding_box_train" / before.part_map.name


def test_another_parsers_folder_is_converted(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    tree = tmp_path / "a:b"
    for sample in dataset.train:
        target = tree / sample.path.relative_to(dataset.root).with_suffix(".png")
        target.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((64, 32), 14, np.uint8)).save(target)
    labelled = choose(dataset, f"densepose14:{tree}", tmp_path)
    with Image.open(labelled.train[0].part_map) as image:
        assert set(np.asarray(image).reshape(-1)) == {1}
    assert len({sample.part_map for sample in labelled.train}) == 16
    with pytest.raises(FilesError, match=r"16 files cannot be used: .*Is their format really"):
        choose(dataset, f"pascal7:{tree}", tmp_path)


@pytest.mark.parametrize(
    ("choice", "message"),
    [
        ("band", "'band' is not a folder of part labels: part labels are required, drawn, pose"),
        ("lip20:/nowhere", "'/nowhere' is not a folder of part labels"),
        ("lip:/nowhere", "did you mean lip20"),
    ],
)
def test_other_choices_are_refused(tmp_path, choice, message):
    dataset = layouts.read("market_style", tmp_path)
    with pytest.raises(DataError, match=message):
        choose(dataset, choice, tmp_path)


# --- Images without a map, and labels that a labeler makes ---------------------------------------


def label_beside(dataset: ReidDataset, *, dark: int) -> None:
    """Labels a dataset beside it; in its first `dark` training images nobody is seen."""
    for number, sample in enumerate(dataset.train):
        Image.new("RGB", (32, 64), (0,) * 3 if number < dark else (200,) * 3).save(sample.path)
    output = dataset.root.with_name(f"{dataset.root.name}_ps_label")
    write_labels(
        dataset.train,
        BrightLabeler(),
        root=dataset.root,
        output=output,
        processes=1,
        progress=False,
    )


def choose_gaps(dataset: ReidDataset, choice: str, tmp_path, without_map: str) -> ReidDataset:
    return choose_part_labels(
        dataset, choice, data_dir=tmp_path / "p", without_map=without_map, progress=False
    )


def test_images_that_a_labeler_lists_need_no_map(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    label_beside(dataset, dark=3)
    dataset = market_style.read(dataset.root)
    chosen = choose(dataset, "required", tmp_path)
    assert [s.part_map is None for s in chosen.train] == [True] * 3 + [False] * 13
    assert "3 of 16 training images have no part map and are kept" in chosen.notices[-1]
    dropped = choose_gaps(dataset, "required", tmp_path, "drop")
    assert "are left out" in dropped.notices[-1]
    # A map that somebody lost is another matter.
    dataset.train[7].part_map.unlink()
    dataset = market_style.read(dataset.root)
    with pytest.raises(
        DataError, match=rf"1 of 16 .*{dataset.train[7].path.name}.*'keep' or 'drop'"
    ):
        choose(dataset, "required", tmp_path)
    kept = choose_gaps(dataset, "required", tmp_path, "keep")
    assert sum(s.part_map is None for s in kept.train) == 4


def test_without_any_map_nothing_is_accepted(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    for without_map in ("listed", "keep", "drop"):
        with pytest.raises(DataError, match="16 of 16 training images"):
            choose_gaps(dataset, "required", tmp_path, without_map)
    with pytest.raises(DataError, match="'some' is nothing to do about images"):
        choose_gaps(dataset, "required", tmp_path, "some")


def test_a_labeler_works_once_and_again_where_it_is_another(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    label_beside(dataset, dark=2)
    options = {"cache_dir": tmp_path / "cache", "progress": False}
    labeled = label_once(dataset, BrightLabeler(), **options)
    assert [s.part_map is None for s in labeled.train] == [True] * 2 + [False] * 14
    assert "part maps of 14 of 16 images" in labeled.notices[-1]
    times = [s.part_map.stat().st_mtime_ns for s in labeled.train[2:]]
    again = label_once(dataset, BrightLabeler(), **options)
    assert again == labeled
    assert [s.part_map.stat().st_mtime_ns for s in again.train[2:]] == times
    other = label_once(dataset, BrightLabeler(threshold=100), **options)
    assert {s.part_map for s in other.train} & {s.part_map for s in labeled.train} == {None}
    with pytest.raises(DataError, match="bright finds nobody in the training images"):
        label_once(dataset, BrightLabeler(threshold=255), **options)


def test_the_parser_of_this_package_labels_on_first_use(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    people = draw_plain(len(dataset.train), seed=31, size=(64, 32), occluded=0.0)
    for sample, image in zip(dataset.train, people.images, strict=True):
        Image.fromarray(image).save(sample.path, quality=95)
    labeled = choose(dataset, "drawn", tmp_path)
    found = [read_labels(sample.part_map) for sample in labeled.train]
    # Twice as good as fixed bands, which come to about 0.2.
    assert iou_of_parts(list(people.parts), found)[1:].mean() > 0.4
    folder = tmp_path / "prepared/part_labels"
    assert all(folder in sample.part_map.parents for sample in labeled.train)
    before = [sample.part_map.stat().st_mtime_ns for sample in labeled.train]
    again = choose(dataset, "drawn", tmp_path)
    assert [sample.part_map.stat().st_mtime_ns for sample in again.train] == before


def test_pose_without_a_network_says_how_to_get_one(tmp_path):
    dataset = layouts.read("market_style", tmp_path)
    with pytest.raises(UserError, match=r"(?s)by pip: .*by npm: "):
        choose(dataset, "pose", tmp_path)
    damaged = tmp_path / "x.tflite"
    damaged.write_bytes(b"\x1c\0\0\0TFL3 and no more")
    with pytest.raises(DataError, match=r"x\.tflite is no pose network that can be used"):
        choose_part_labels(dataset, "pose", data_dir=tmp_path, model=str(damaged), progress=False)
