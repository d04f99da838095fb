import numpy as np
import pytest

from input_pipeline.errors import DataError
from input_pipeline.part_labels.mappings import FORMATS, UNKNOWN, find_format
from input_pipeline.parts import NUM_PARTS

SIZES = {
    "parts": 8,
    "densepose14": 15,
    "densepose24": 25,
    "lip20": 20,
    "atr18": 18,
    "pascal7": 7,
}


@pytest.mark.parametrize("name", FORMATS)
def test_every_class_of_a_source_has_one_of_ours_and_no_other_value_has(name):
    table = FORMATS[name].table
    assert len(FORMATS[name].classes) == SIZES[name]
    assert (table[: SIZES[name]] < NUM_PARTS).all()
    assert (table[SIZES[name] : 255] == UNKNOWN).all()
    assert table[0] == table[255] == 0
    assert len({title for title, _ in FORMATS[name].classes}) == SIZES[name]


@pytest.mark.parametrize("name", FORMATS)
def test_all_our_classes_can_be_reached(name):
    reached = set(FORMATS[name].table[: SIZES[name]].tolist())
    for split in FORMATS[name].splits:
        reached |= {split.near, split.far}
        assert max(split.classes) < SIZES[name]
        assert 0 < split.share < 1
    assert reached == set(range(NUM_PARTS))


def test_densepose_of_both_kinds():
    coarse = [0, 2, 4, 4, 7, 7, 5, 5, 6, 6, 3, 3, 4, 4, 1]
    fine = [0, 2, 2, 4, 4, 7, 7, 5, 5, 5, 5, 6, 6, 6, 6, 3, 3, 3, 3, 4, 4, 4, 4, 1, 1]
    np.testing.assert_array_equal(FORMATS["densepose14"].table[:15], coarse)
    np.testing.assert_array_equal(FORMATS["densepose24"].table[:25], fine)


@pytest.mark.parametrize(("name", "near"), [("lip", "lip20"), ("densepose", "densepose")])
def test_an_unknown_format_suggests_the_nearest(name, near):
    with pytest.raises(DataError, match=rf"did you mean {near}.*known: parts, densepose14"):
        find_format(name)
