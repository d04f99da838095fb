import dataclasses

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import PALETTE
from input_pipeline.errors import DataError
from input_pipeline.part_labels.sheet import overlay, write_sheet
from tests import layouts


def test_overlay_colours_parts_and_keeps_the_background():
    picture = Image.new("RGB", (2, 1), (100, 100, 100))
    drawn = np.asarray(overlay(picture, np.array([[0, 3]], np.uint8)))
    assert drawn[0, 0].tolist() == [100, 100, 100]
    np.testing.assert_allclose(drawn[0, 1], 0.45 * 100 + 0.55 * PALETTE[3], atol=0.51)


def test_a_sheet_shows_pictures_beside_their_parts(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    write_sheet(dataset, tmp_path / "new" / "sheet.png", count=10, columns=4)
    with Image.open(tmp_path / "new" / "sheet.png") as sheet:
        assert sheet.size == (4 * 208 + 8, 3 * 200 + 8 + 24)
        pixels = np.asarray(sheet).astype(int)
    picture, drawn = pixels[32:224, 8:104], pixels[32:224, 104:200]
    assert picture.std() > 5
    assert np.abs(picture - drawn).mean() > 5
    assert (pixels[32 + 400 : 32 + 592, 8 + 2 * 208 :] == 255).all()  # ten of twelve places


def test_a_sheet_without_labels_is_refused(tmp_path):
    dataset = layouts.read("folders", tmp_path)
    with pytest.raises(DataError, match="has no part maps to look at"):
        write_sheet(dataset, tmp_path / "sheet.png")


def test_a_sheet_that_cannot_be_written_is_refused(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    (tmp_path / "file").touch()
    with pytest.raises(DataError, match=r"sheet\.png cannot be written"):
        write_sheet(dataset, tmp_path / "file" / "sheet.png")


def test_a_part_map_of_another_size_is_refused(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    wrong = tmp_path / "wrong.png"
    Image.new("L", (3, 3)).save(wrong)
    first = dataclasses.replace(dataset.train[0], part_map=wrong)
    dataset = dataclasses.replace(dataset, train=(first,))
    with pytest.raises(DataError, match=r"wrong\.png: the part map is 3 × 3 but its image is"):
        write_sheet(dataset, tmp_path / "sheet.png")


def test_sixteen_bit_pictures_and_palette_maps_are_shown_as_they_are_used(tmp_path):
    dataset = layouts.read("market1501", tmp_path)
    picture, parts = tmp_path / "gray.png", tmp_path / "palette.png"
    Image.fromarray(np.full((64, 32), 100 * 257, np.uint16)).save(picture)
    palette = Image.fromarray(np.full((64, 32), 3, np.uint8)).convert("P")
    palette.putpalette(bytes(range(24)))
    palette.putdata([3] * 64 * 32)
    palette.save(parts)
    first = dataclasses.replace(dataset.train[0], path=picture, part_map=parts)
    write_sheet(
        dataclasses.replace(dataset, train=(first,), query=(), gallery=()), tmp_path / "s.png"
    )
    with Image.open(tmp_path / "s.png") as sheet:
        pixels = np.asarray(sheet)
    assert pixels[100, 50].tolist() == [100, 100, 100]
    np.testing.assert_allclose(pixels[100, 150], 0.45 * 100 + 0.55 * PALETTE[3], atol=1)
