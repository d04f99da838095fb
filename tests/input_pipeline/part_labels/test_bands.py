import dataclasses

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import FOOT, HEAD, NUM_PARTS
from input_pipeline.errors import DataError
from input_pipeline.part_labels import draw_bands, with_bands
from tests import layouts


@pytest.mark.parametrize("size", [(128, 64), (384, 192), (61, 29)])
def test_bands_show_every_part_from_head_to_foot(size):
    bands = draw_bands(*size)
    assert bands.shape == size
    assert bands.dtype == np.uint8
    assert set(np.unique(bands)) == set(range(NUM_PARTS))
    centre = bands[:, size[1] // 2]
    assert (np.diff(centre.astype(int)) >= 0).all()
    assert (centre[0], centre[-1]) == (HEAD, FOOT)


def test_bands_are_symmetric():
    bands = draw_bands(128, 100)
    np.testing.assert_array_equal(bands, bands[:, ::-1])


def test_every_training_picture_gets_bands_of_its_size_and_a_warning_says_so(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    first = dataset.train[0].path
    with Image.open(first) as image:
        exif = Image.Exif()
        exif[0x0112] = 6  # a quarter turn: width and height change places
        image.resize((40, 70)).save(first, exif=exif)
    broken = dataset.train[1].path
    broken.write_bytes(b"not a picture")
    with pytest.warns(UserWarning, match="fixed body bands instead of part labels: a stand-in"):
        banded = with_bands(dataset, cache_dir=tmp_path / "bands")
    assert banded.train[1].part_map is None
    sizes = set()
    for sample in (banded.train[0], *banded.train[2:]):
        assert sample.part_map is not None
        with Image.open(sample.part_map) as parts:
            sizes.add(parts.size)
    assert sizes == {(70, 40), (32, 64)}
    assert sorted(path.name for path in (tmp_path / "bands").iterdir()) == [
        "32x64.png",
        "70x40.png",
    ]
    assert all(sample.part_map is None for sample in (*banded.query, *banded.gallery))
    stripped = [dataclasses.replace(sample, part_map=None) for sample in banded.train]
    assert stripped == list(dataset.train)


def test_a_folder_that_cannot_be_written_is_refused(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    (tmp_path / "file").touch()
    with (
        pytest.warns(UserWarning, match="stand-in"),
        pytest.raises(DataError, match=r"part maps cannot be written into .*choose another folder"),
    ):
        with_bands(dataset, cache_dir=tmp_path / "file" / "bands")
