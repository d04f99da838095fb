import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import NUM_PARTS
from input_pipeline.decode import decode_parts, nearest_indices
from input_pipeline.errors import DataError
from input_pipeline.prepared import prepare
from input_pipeline.resident import decode_split

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
    with pytest.raises(DataError, match="14 of 14 pictures have no part map"):
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
