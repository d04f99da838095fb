"""What a scan says of a dataset: splits in numbers, and notices on what is odd but usable."""

import dataclasses
import pathlib
import shutil

import numpy as np
import pytest
from PIL import Image

from input_pipeline.check import scan
from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.findings import summarize
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.prepare import format_table
from tests import layouts


@pytest.fixture
def dataset(tmp_path) -> ReidDataset:
    return layouts.read("market1501", tmp_path)


def copy(dataset: ReidDataset, source: str, target: str, number: int = -1) -> None:
    shutil.copy(getattr(dataset, source)[0].path, getattr(dataset, target)[number].path)


def test_copies_are_accepted_and_named_by_what_they_do(dataset):
    # The distractor of this layout is itself a copy of a training picture.
    dataset = dataclasses.replace(dataset, gallery=dataset.gallery[1:])
    assert scan(dataset, progress=False).notices == ()
    copy(dataset, "train", "train", 1)
    copy(dataset, "train", "query")
    found = scan(dataset, progress=False)
    assert found.problems == ()
    first, again, query = dataset.train[0].path, dataset.train[1].path, dataset.query[-1].path
    assert found.notices == (
        "1 image is a copy in both training and test, which makes results too good: "
        f"bounding_box_train/{first.name} = query/{query.name}",
        "1 image is a copy in the same split: "
        f"bounding_box_train/{first.name} = bounding_box_train/{again.name}",
    )


def test_copies_between_query_and_gallery_are_told_apart_by_camera(dataset):
    dataset = dataclasses.replace(dataset, gallery=dataset.gallery[1:])
    query = dataset.query[0]
    own = [s for s in dataset.gallery if s.identity == query.identity]
    same = next(s for s in own if s.camera == query.camera)
    shutil.copy(query.path, same.path)
    assert "which the camera filter leaves out" in scan(dataset, progress=False).notices[0]
    other = next(s for s in own if s.camera != query.camera)
    shutil.copy(query.path, other.path)
    assert (
        "with another camera, which are found for certain"
        in scan(dataset, progress=False).notices[0]
    )
    stranger = next(s for s in dataset.gallery if s.identity != query.identity)
    shutil.copy(query.path, stranger.path)
    assert any("under another identity" in n for n in scan(dataset, progress=False).notices)


def test_the_camera_filter_does_not_leave_out_copies_of_unknown_cameras(dataset):
    gallery = dataset.gallery[1:]
    query = dataset.query[0]
    same = next(s for s in gallery if (s.identity, s.camera) == (query.identity, query.camera))
    shutil.copy(query.path, same.path)
    (known,) = scan(dataclasses.replace(dataset, gallery=gallery), progress=False).notices
    assert "the camera filter leaves out; without the filter they are found for certain" in known

    def unknown(samples):
        return tuple(dataclasses.replace(s, camera=UNKNOWN_CAMERA) for s in samples)

    for query_side, gallery_side in (
        (unknown(dataset.query), unknown(gallery)),
        (unknown(dataset.query), gallery),
        (dataset.query, unknown(gallery)),
    ):
        partly = dataclasses.replace(dataset, query=query_side, gallery=gallery_side)
        found = scan(partly, progress=False)
        assert "unknown cameras, which are found for certain" in found.notices[0]
        assert not any("switch the camera filter off" in notice for notice in found.notices)
    nowhere = dataclasses.replace(dataset, query=unknown(dataset.query), gallery=unknown(gallery))
    found = scan(nowhere, progress=False)
    assert any(notice.startswith("cameras are unknown") for notice in found.notices)
    assert found.splits["query"].cameras == found.splits["gallery"].cameras == 0


def test_sixteen_bits_that_use_little_of_their_range_are_named(dataset):
    dataset = dataclasses.replace(dataset, gallery=dataset.gallery[1:])
    ramp = np.linspace(0, 1, 64 * 32).reshape(64, 32)

    def save(sample, low: int, high: int, power: float = 1) -> None:
        path = sample.path.with_suffix(".png")
        pixels = low + ramp**power * (high - low)
        Image.fromarray(pixels.round().astype(np.uint16)).save(path)
        path.replace(sample.path)  # The name says nothing of the format.

    save(dataset.query[0], 0, 65_535)
    assert scan(dataset, progress=False).notices == ()
    save(dataset.query[1], 0, 4_095, 1.1)
    save(dataset.query[2], 0, 4_000, 1.2)
    save(dataset.query[3], 29_000, 31_000, 1.3)
    (notice,) = scan(dataset, progress=False).notices
    assert "0 to 4,095 in 2 (such as query/" in notice
    assert "29,000 to 31,000 in 1 (such as query/" in notice
    assert "all 16 bits in 1" in notice
    assert "cannot be compared" in notice


def test_oddities_are_named(dataset):
    bodiless = dataset.train[0].part_map
    Image.new("L", (32, 64)).save(bodiless)
    odd = dataclasses.replace(
        dataset,
        train=dataset.train[:2],
        query=tuple(dataclasses.replace(s, camera=0) for s in dataset.query),
        gallery=tuple(
            dataclasses.replace(s, camera=0)
            for s in dataset.gallery[1:]
            if s.identity != dataset.query[0].identity
        ),
    )
    notices = "\n".join(scan(odd, progress=False).notices)
    name = odd.train[0].path.name
    assert (
        f"1 part maps show no body at all, the first is that of bounding_box_train/{name}"
        in notices
    )
    assert "switch the camera filter off" in notices
    assert "2 queries have no gallery image of their identity" in notices
    assert "the first is query/" in notices
    assert str(dataset.root.parent) not in notices
    assert "training has one identity" in notices


def test_a_split_in_numbers():
    samples = [
        Sample(pathlib.Path(f"{n}.jpg"), identity, camera)
        for n, (identity, camera) in enumerate([(1, 1), (1, 2), (1, 2), (5, 1), (9, 1), (9, 4)])
    ]
    histograms = np.array([[8, 2, 0, 0, 0, 0, 0, 0], [4, 0, 6, 0, 0, 0, 0, 0]])
    split = summarize(samples, histograms)
    assert (split.images, split.identities, split.cameras) == (6, 3, 3)
    assert (split.fewest, split.median, split.most) == (1, 2.0, 3)
    assert split.labelled == 2
    assert split.pixels == pytest.approx((0.6, 0.1, 0.3, 0, 0, 0, 0, 0))
    assert split.present == pytest.approx((1, 0.5, 0.5, 0, 0, 0, 0, 0))
    table = format_table({"train": split})
    assert "train             6           3        3               1 / 2 / 3          2" in table
    assert "torso                    30.0%       50%" in table


def test_a_split_without_pictures_or_labels():
    split = summarize([], np.zeros((0, 8), np.int64))
    assert (split.images, split.fewest, split.labelled) == (0, 0, 0)
    assert "part  " not in format_table({"train": split})


def cameras(dataset, camera, *, of=lambda sample: True):
    """The dataset with another camera on those samples."""
    return dataclasses.replace(
        dataset,
        **{
            split: tuple(
                dataclasses.replace(s, camera=camera) if of(s) else s
                for s in getattr(dataset, split)
            )
            for split in ("train", "query", "gallery")
        },
    )


def test_cameras_that_some_images_lack_are_said(dataset):
    unknown = scan(cameras(dataset, UNKNOWN_CAMERA), progress=False)
    assert not [notice for notice in unknown.notices if "no known camera" in notice]
    assert unknown.splits["query"].cameras == 0
    one = dataset.query[0]
    some = scan(cameras(dataset, UNKNOWN_CAMERA, of=lambda s: s == one), progress=False)
    people = {sample.identity for sample in dataset.query}
    total = len(dataset.query) + sum(s.identity in people for s in dataset.gallery)
    (notice,) = [notice for notice in some.notices if "no known camera" in notice]
    assert notice.startswith(f"1 of {total} images of queried people have no known camera")
    assert notice.endswith(f"the first is query/{one.path.name}")
