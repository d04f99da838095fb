import concurrent.futures
import dataclasses

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.store.mixing import concatenate
from input_pipeline.store.splits import Records, prepare
from tests.input_pipeline.store.prepared_files import files_under, with_tracklets


def test_a_prepared_split_repeats_the_samples(make_dataset, tmp_path):
    dataset = make_dataset()
    prepared = prepare(dataset, data_dir=tmp_path / "prepared", progress=False)
    assert prepared.name == "small"
    for split, samples in (
        (prepared.train, dataset.train),
        (prepared.query, dataset.query),
        (prepared.gallery, dataset.gallery),
    ):
        assert len(split) == len(samples)
        np.testing.assert_array_equal(split.identities, [s.identity for s in samples])
        np.testing.assert_array_equal(split.cameras, [s.camera for s in samples])
        assert split.identities.dtype == split.cameras.dtype == np.int32
        assert split.labeled.all()
        for sample, name, stored in zip(
            samples, split.names, split.read(range(len(split))), strict=True
        ):
            assert dataset.root / name == sample.path
            assert stored.image == sample.path.read_bytes()
            assert stored.part_map == sample.part_map.read_bytes()


def test_reading_is_in_the_order_of_the_ids(small):
    everything = small.train.read(np.arange(len(small.train)))
    assert small.train.read([5, 0, 5, 13]) == [everything[i] for i in (5, 0, 5, 13)]
    assert small.train.read([]) == []
    for wrong in (-1, len(small.train)):
        with pytest.raises(IndexError, match="ids must be 0 to 13"):
            small.train.read([0, wrong])


def test_some_images_are_a_split_of_their_own(small):
    chosen = small.train.take([5, 0, 13])
    assert chosen.names == tuple(small.train.names[i] for i in (5, 0, 13))
    assert chosen.read([2, 0]) == small.train.read([13, 5])
    assert chosen.take([1]).read([0]) == small.train.read([0])
    np.testing.assert_array_equal(chosen.identities, small.train.identities[[5, 0, 13]])
    np.testing.assert_array_equal(chosen.checksums, small.train.checksums[[5, 0, 13]])
    with pytest.raises(IndexError):
        chosen.read([3])


def test_tracklets_are_stored_and_everything_else_stays_as_it_was(make_dataset, tmp_path):
    dataset, folder = make_dataset(), tmp_path / "prepared"
    before = prepare(dataset, data_dir=folder, progress=False)
    files = files_under(folder)
    assert before.query.tracklets is None
    assert not before.by_tracklet
    prepared = prepare(with_tracklets(dataset), data_dir=folder, progress=False)
    wanted = [sample.tracklet or "" for sample in with_tracklets(dataset).query]
    assert prepared.query.tracklets.tolist() == wanted
    assert prepared.by_tracklet
    assert prepared.train.tracklets is None
    # Splits without tracklets are in the folders in which they always were.
    new = [path.relative_to(folder).parts[1] for path in files_under(folder) if path not in files]
    assert new
    assert all(place.startswith("query-") for place in new)
    again = prepare(with_tracklets(dataset), data_dir=folder, progress=False)
    assert again.query.tracklets.tolist() == wanted
    assert again.query.read([0]) == before.query.read([0])


def test_many_threads_read_the_same(small):
    everything = small.train.read(range(14))
    rng = np.random.default_rng(0)
    wanted = [rng.integers(0, 14, 20) for _ in range(60)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        for ids, found in zip(wanted, pool.map(small.train.read, wanted), strict=True):
            assert found == [everything[i] for i in ids]


def test_records_that_are_damaged_later_are_named(small, tmp_path):
    class Damaged:
        def __len__(self) -> int:
            return 14

        def __getitems__(self, positions):
            raise RuntimeError("chunk header hash mismatch\nat byte 7")

    train = dataclasses.replace(small.train, sources=(Records(tmp_path, Damaged()),))
    with pytest.raises(DataError) as caught:
        train.read([3])
    assert str(caught.value) == (
        f"the prepared images in {tmp_path} are damaged or incomplete: delete this folder so "
        "that they are made again (chunk header hash mismatch)"
    )


def test_part_classes_are_compared_with_the_networks(make_dataset, tmp_path):
    dataset, data_dir = make_dataset(), tmp_path / "prepared"
    largest = dataset.train[6]
    with Image.open(largest.part_map) as image:
        classes = np.asarray(image)
    for sample in dataset.train:
        with Image.open(sample.part_map) as image:
            Image.fromarray(np.asarray(image) % 5).save(sample.part_map)
    Image.fromarray(classes + 3).save(largest.part_map)
    with pytest.raises(DataError, match="classes must be 0 to 7, found 3 to 10"):
        prepare(dataset, data_dir=data_dir, progress=False)
    train = prepare(dataset, data_dir=data_dir, num_parts=11, progress=False).train
    assert train.num_parts.tolist() == [5] * 6 + [11] + [5] * 7
    train.require_parts()
    train.require_parts(num_parts=11)
    both = concatenate([train, train], ["one", "two"])
    for split, name in ((train, ""), (both, "one/")):
        with pytest.raises(
            DataError, match=r"classes up to 10 .* 8 parts, .*num_parts=11"
        ) as caught:
            split.require_parts(num_parts=8)
        assert f"that of {name}{train.names[6]}" in str(caught.value)


def test_part_maps_may_be_missing(make_dataset, tmp_path):
    dataset = make_dataset()
    bare = dataclasses.replace(dataset.train[2], part_map=None)
    dataset = dataclasses.replace(dataset, train=(*dataset.train[:2], bare, *dataset.train[3:]))
    train = prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train
    assert train.read([2])[0].part_map is None
    assert np.flatnonzero(~train.labeled).tolist() == [2]
    with pytest.raises(DataError, match="1 of 14 images have no part map"):
        train.require_parts()


def test_an_empty_split_has_no_pictures(make_dataset, tmp_path):
    dataset = dataclasses.replace(make_dataset(), train=())
    train = prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train
    assert len(train) == 0
    assert train.read([]) == []
    assert train.identities.shape == (0,)


def test_an_unknown_camera_stays_unknown(make_dataset, tmp_path):
    dataset = make_dataset()
    train = tuple(
        dataclasses.replace(s, camera=UNKNOWN_CAMERA if i % 2 else s.camera)
        for i, s in enumerate(dataset.train)
    )
    query = tuple(dataclasses.replace(s, camera=UNKNOWN_CAMERA) for s in dataset.query)
    unknown = dataclasses.replace(dataset, train=train, query=query)
    options = {"data_dir": tmp_path / "prepared", "progress": False}
    prepared, known = prepare(unknown, **options), prepare(dataset, **options)
    assert prepared.train.cameras.tolist() == [sample.camera for sample in train]
    assert prepared.query.cameras.tolist() == [-1, -1]
    both = concatenate([prepared.query, prepared.train, known.train], ["a", "b", "c"])
    shifted = [-1 if s.camera == -1 else s.camera for s in (*query, *train)]
    past = max(s.camera for s in train) + 1
    assert both.cameras.tolist() == [*shifted, *(s.camera + past for s in dataset.train)]
    with pytest.raises(DataError, match="camera -2"):
        prepare(
            dataclasses.replace(dataset, query=(dataclasses.replace(query[0], camera=-2),)),
            **options,
        )
