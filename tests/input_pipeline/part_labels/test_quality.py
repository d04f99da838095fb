import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import PALETTE
from input_pipeline.part_labels.label_maps import write_parts
from input_pipeline.part_labels.label_tree import LabelEntry, LabelTree, map_of
from input_pipeline.part_labels.quality import (
    brief,
    quality_of,
    quality_text,
    worst_first,
    worst_sheet,
    write_worst,
)


def entry(score: float, agreement: float, head: float | None = 0.5) -> LabelEntry:
    shares = None if head is None else (1 - head, head, 0, 0, 0, 0, 0, 0)
    return LabelEntry(1, 2, score, agreement, shares)


ENTRIES = {
    "a.png": entry(0.99, 0.8),
    "b.png": entry(0.7, 0.9, 0.25),
    "c.png": entry(0.95, 0.3),
    "d.png": entry(0.2, 0.0, None),
    "e.png": entry(0.6, 0.2),
}


@pytest.fixture
def tree(tmp_path) -> LabelTree:
    return LabelTree(tmp_path / "labels", {"labeler": "x"}, {}, ENTRIES)


def test_the_numbers(tree):
    quality = quality_of(tree)
    assert quality.images == 5
    assert quality.without_map == ("d.png",)
    assert quality.low_score == ("e.png", "b.png")
    assert quality.low_agreement == ("c.png",)
    assert quality.score == pytest.approx((0.99 + 0.7 + 0.95 + 0.6) / 4)
    assert quality.agreement == pytest.approx((0.8 + 0.9 + 0.3 + 0.2) / 4)
    assert quality.shares[:2] == pytest.approx((1 - 1.75 / 4, 1.75 / 4))
    assert quality.present == (1, 1, 0, 0, 0, 0, 0, 0)
    assert quality_of(tree, ["a.png", "nope"]).images == 1
    assert quality_of(tree, []).score == 0


def test_the_text_names_the_worst(tree):
    text = quality_text(quality_of(tree))
    assert "4 of 5 images have a part map" in text
    assert "1 without a map: d.png" in text
    assert "2 with a score below 0.9: e.png, b.png" in text
    assert "head            43.8%     100%" in text
    assert "4 of 5 images" in brief(quality_of(tree))


def test_the_worst_come_first(tree):
    assert worst_first(tree, list(ENTRIES)) == ["d.png", "e.png", "c.png", "b.png", "a.png"]


def test_the_sheet_shows_the_worst_first(tree, tmp_path):
    images: dict[str, pathlib.Path] = {}
    for number, name in enumerate(ENTRIES):
        images[name] = tmp_path / name
        Image.new("RGB", (32, 64), (50 * number, 0, 0)).save(images[name])
        if ENTRIES[name].has_map:
            write_parts(np.ones((64, 32), np.uint8), map_of(tree.folder, name))
    sheet = tmp_path / "sheets" / "worst.png"
    write_worst(tree, images, sheet, count=2)
    with Image.open(sheet) as opened:
        pixels = np.asarray(opened).astype(float)
    # A gap of 8 pixels, images 96 × 192 after a legend of 24.
    first, first_map = pixels[40, 20], pixels[40, 20 + 96]
    np.testing.assert_array_equal(first, (150, 0, 0))
    np.testing.assert_array_equal(first_map, (150, 0, 0))  # nobody is found, nothing is drawn
    second, second_map = pixels[40, 20 + 208], pixels[40, 20 + 208 + 96]
    np.testing.assert_array_equal(second, (200, 0, 0))
    expected = np.array((200, 0, 0)) * 0.45 + PALETTE[1] * 0.55
    np.testing.assert_allclose(second_map, expected, atol=1)


def test_a_trees_own_sheet_is_drawn_when_labels_are_new(tree, tmp_path):
    tree.folder.mkdir()
    (tree.folder / "labels.json").write_text("{}")
    Image.new("RGB", (16, 16)).save(tmp_path / "d.png")
    sheet = worst_sheet(tree, {"d.png": tmp_path / "d.png"})
    before = sheet.stat().st_mtime_ns
    assert worst_sheet(tree, {"d.png": tmp_path / "d.png"}) == sheet
    assert sheet.stat().st_mtime_ns == before
    with Image.open(sheet) as opened:
        assert opened.format == "JPEG"
