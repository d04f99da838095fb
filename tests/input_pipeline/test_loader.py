import io
import itertools
import subprocess
import sys
import threading

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import NUM_PARTS
from input_pipeline.errors import DataError
from input_pipeline.images.codec import decode_parts, nearest_indices
from input_pipeline.loader import decode_split, stream
from input_pipeline.sampler import IdentitySampler
from input_pipeline.store.splits import EncodedSample, prepare

# The pictures of the small dataset are 40 × 20 to 52 × 24: growing, shrinking, one of each, equal.
SIZES = [(96, 48), (32, 16), (64, 16), (46, 22)]


@pytest.mark.parametrize("image_size", SIZES)
def test_stream_and_resident_agree(small, image_size):
    resident = decode_split(small.train, image_size=image_size, progress=False)
    ids = np.random.default_rng(0).permutation(14)
    (batch,) = stream(small.train, iter([ids]), image_size=image_size)
    np.testing.assert_array_equal(batch.ids, ids, strict=True)
    assert batch.images.dtype == batch.parts.dtype == np.uint8
    assert batch.images.shape == (14, *image_size, 3)
    assert not batch.images.flags.writeable
    assert not batch.parts.flags.writeable
    np.testing.assert_array_equal(batch.parts, resident.parts[ids])
    difference = np.abs(batch.images.astype(int) - resident.images[ids])
    assert difference.max() <= 1
    assert difference.mean() < 0.25


def test_pictures_of_the_right_size_are_not_touched(make_dataset, tmp_path):
    train = prepare(make_dataset(), data_dir=tmp_path / "prepared", progress=False).train
    same_size = np.array([0, 2, 5, 9])  # the first picture of every identity, 40 × 20
    (batch,) = stream(train, iter([same_size]), image_size=(40, 20))
    resident = decode_split(train, image_size=(40, 20), progress=False)
    np.testing.assert_array_equal(batch.images, resident.images[same_size])


def test_order_is_that_of_the_ids_for_any_number_of_workers(small):
    sampler = IdentitySampler(small.train.identities, identities_per_batch=2, images_per_identity=2)
    wanted = [sampler.batch(n) for n in range(12)]
    runs = [
        list(stream(small.train, iter(wanted), image_size=(24, 16), workers=workers))
        for workers in (1, 7)
    ]
    for ids, one, many in zip(wanted, *runs, strict=True):
        np.testing.assert_array_equal(one.ids, ids)
        np.testing.assert_array_equal(many.ids, ids)
        np.testing.assert_array_equal(one.images, many.images)
        np.testing.assert_array_equal(one.parts, many.parts)


def test_endless_batches_are_read_only_a_little_ahead(small):
    asked = itertools.count()

    def endless():
        for n in asked:
            yield np.array([n % 14, (n + 1) % 14])

    batches = stream(small.train, endless(), image_size=(24, 16))
    for n in range(30):
        assert next(batches).ids.tolist() == [n % 14, (n + 1) % 14]
    assert next(asked) < 60
    before = threading.active_count()
    batches.close()
    assert threading.active_count() <= before


def test_the_last_batch_may_be_shorter(small):
    ids = [np.arange(0, 5), np.arange(5, 10), np.arange(10, 14)]
    batches = list(stream(small.train, iter(ids), image_size=(24, 16)))
    assert [len(batch.ids) for batch in batches] == [5, 5, 4]
    np.testing.assert_array_equal(np.concatenate([b.ids for b in batches]), np.arange(14))
    with pytest.raises(ValueError, match="only the last batch"):
        list(stream(small.train, iter([ids[2], ids[0]]), image_size=(24, 16)))
    with pytest.raises(ValueError, match="only the last batch"):
        list(stream(small.train, iter([ids[0], ids[2], ids[2]]), image_size=(24, 16)))


def test_no_batches_give_no_batches(small):
    assert list(stream(small.train, iter([]), image_size=(24, 16))) == []


def test_streamed_part_maps_are_decoded_only_when_asked_for(make_dataset, tmp_path):
    bare = prepare(make_dataset(parts=False), data_dir=tmp_path / "prepared", progress=False).train
    (batch,) = stream(bare, iter([np.arange(3)]), image_size=(24, 16), parts=False)
    assert batch.parts is None
    assert batch.images.shape == (3, 24, 16, 3)
    with pytest.raises(DataError, match="14 of 14 images have no part map"):
        stream(bare, iter([np.arange(3)]), image_size=(24, 16))


def test_a_failure_to_read_arrives_as_itself(small):
    batches = stream(small.train, iter([np.arange(3), np.array([1, 2, 99])]), image_size=(24, 16))
    assert next(batches).ids.tolist() == [0, 1, 2]
    with pytest.raises(IndexError, match="ids must be 0 to 13"):
        next(batches)


def test_a_damaged_record_is_refused(small, monkeypatch):
    monkeypatch.setattr(
        type(small.train),
        "read",
        lambda self, ids: [EncodedSample(b"\xff\xd8\xff", None)] * len(ids),
    )
    with pytest.raises(DataError, match="delete the prepared dataset"):
        list(stream(small.train, iter([np.arange(3)]), image_size=(24, 16), parts=False))


@pytest.mark.parametrize("image_size", [(24, 16), (96, 48)])
def test_a_truncated_record_is_refused(small, monkeypatch, image_size):
    first, second = small.train.read(np.arange(2))
    cut = EncodedSample(second.image[: len(second.image) // 2], second.part_map)
    monkeypatch.setattr(type(small.train), "read", lambda self, ids: [first, cut])
    with pytest.raises(DataError, match="delete the prepared dataset"):
        list(stream(small.train, iter([np.arange(2)]), image_size=image_size))


def test_without_tensorflow_the_message_says_what_to_do():
    program = (
        "import sys; sys.modules['tensorflow'] = None\n"
        "from input_pipeline.errors import DataError\n"
        "from input_pipeline.loader import stream\n"
        "try: stream(None, iter([]), image_size=(8, 8))\n"
        "except DataError as error: print(error)\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    assert "use data.placement='device'" in done.stdout, done.stderr


SIZE = (48, 16)


def test_pictures_are_those_of_the_files(make_dataset, tmp_path):
    dataset = make_dataset()
    train = prepare(dataset, data_dir=tmp_path / "prepared", progress=False).train
    decoded = decode_split(train, image_size=SIZE, progress=False)
    assert decoded.images.dtype == decoded.parts.dtype == np.uint8
    assert decoded.images.shape == (14, *SIZE, 3)
    assert decoded.parts.shape == (14, *SIZE)
    for i, sample in enumerate(dataset.train):
        expected = Image.open(sample.path).resize(SIZE[::-1], Image.Resampling.BILINEAR)
        np.testing.assert_array_equal(decoded.images[i], np.asarray(expected))
        nearest = Image.open(sample.part_map).resize(SIZE[::-1], Image.Resampling.NEAREST)
        assert (decoded.parts[i] == np.asarray(nearest)).mean() > 0.99  # ties may round apart
        assert decoded.parts[i].max() < NUM_PARTS


def test_the_number_of_workers_changes_nothing(small):
    one = decode_split(small.train, image_size=SIZE, workers=1, progress=False)
    many = decode_split(small.train, image_size=SIZE, workers=8, progress=False)
    np.testing.assert_array_equal(one.images, many.images)
    np.testing.assert_array_equal(one.parts, many.parts)


def test_part_maps_are_decoded_only_when_asked_for(make_dataset, tmp_path):
    bare = prepare(make_dataset(parts=False), data_dir=tmp_path / "prepared", progress=False).train
    assert decode_split(bare, image_size=SIZE, parts=False, progress=False).parts is None
    with pytest.raises(DataError, match="14 of 14 images have no part map"):
        decode_split(bare, image_size=SIZE, progress=False)


def test_progress_is_shown(small, capsys):
    decode_split(small.query, image_size=SIZE)
    assert "Decoding: 100%" in capsys.readouterr().err


def nearest(source: int, target: int) -> np.ndarray:
    return nearest_indices(source, target, np.arange(target))


def test_nearest_is_the_pixel_under_the_centre():
    assert nearest(4, 2).tolist() == [1, 3]
    assert nearest(2, 4).tolist() == [0, 0, 1, 1]
    assert nearest(3, 5).tolist() == [0, 0, 1, 2, 2]
    assert nearest(1, 3).tolist() == [0, 0, 0]
    for source, target in ((128, 384), (64, 48), (385, 191)):
        exact = np.floor((np.arange(target) + 0.5) * source / target)
        np.testing.assert_array_equal(nearest(source, target), exact)


def test_no_class_is_invented():
    buffer = io.BytesIO()
    Image.fromarray(np.array([[0, 7], [7, 0]], np.uint8)).save(buffer, "PNG")
    assert set(np.unique(decode_parts(buffer.getvalue(), image_size=(33, 17)))) == {0, 7}
