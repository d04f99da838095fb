import re

import numpy as np
import pytest

from input_pipeline.dataset import LOWER_LEG, NUM_PARTS, UPPER_ARM, UPPER_LEG
from input_pipeline.errors import DataError
from input_pipeline.part_labels.formats import FORMATS, UNKNOWN, find_format

SIZES = {
    "parts": 8,
    "densepose14": 15,
    "densepose24": 25,
    "densepose_iuv": 25,
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


# The classes in the order in which the authors publish them, and what each becomes.
LIP = """
    Background 0, Hat 1, Hair 1, Glove 4, Sunglasses 1, UpperClothes 2, Dress 2, Coat 2, Socks 7,
    Pants 5, Jumpsuits 2, Scarf 2, Skirt 5, Face 1, Left-arm 4, Right-arm 4, Left-leg 6,
    Right-leg 6, Left-shoe 7, Right-shoe 7
"""
ATR = """
    Background 0, Hat 1, Hair 1, Sunglasses 1, Upper-clothes 2, Skirt 5, Pants 5, Dress 2, Belt 2,
    Left-shoe 7, Right-shoe 7, Face 1, Left-leg 6, Right-leg 6, Left-arm 4, Right-arm 4, Bag 0,
    Scarf 2
"""
PASCAL = """
    Background 0, Head 1, Torso 2, Upper Arms 3, Lower Arms 4, Upper Legs 5, Lower Legs 6
"""
OURS = {"pants": "trousers", "jumpsuits": "jumpsuit"}


@pytest.mark.parametrize(
    ("name", "published"), [("lip20", LIP), ("atr18", ATR), ("pascal7", PASCAL)]
)
def test_every_row_has_its_published_name_and_place(name, published):
    rows = [row.strip().rpartition(" ") for row in published.split(",")]
    assert len(rows) == SIZES[name]
    for number, (title, _, part) in enumerate(rows):
        spaced = re.sub(r"(?<=[a-z])(?=[A-Z])|-", " ", title).lower()
        assert FORMATS[name].classes[number] == (OURS.get(spaced, spaced), int(part))


def test_limbs_that_are_cut_are_the_published_ones():
    cut = {
        name: [
            (tuple(FORMATS[name].classes[number][0] for number in split.classes), split.near)
            for split in FORMATS[name].splits
        ]
        for name in ("lip20", "atr18", "pascal7")
    }
    arms = [(("left arm",), UPPER_ARM), (("right arm",), UPPER_ARM)]
    assert cut == {
        "lip20": [*arms, (("trousers", "skirt", "left leg", "right leg"), UPPER_LEG)],
        "atr18": [*arms, (("skirt", "trousers", "left leg", "right leg"), UPPER_LEG)],
        "pascal7": [(("lower legs",), LOWER_LEG)],
    }


@pytest.mark.parametrize(("name", "near"), [("lip", "lip20"), ("densepose", "densepose")])
def test_an_unknown_format_suggests_the_nearest(name, near):
    with pytest.raises(DataError, match=rf"did you mean {near}.*known: parts, densepose14"):
        find_format(name)
