import numpy as np
import pytest

from input_pipeline.dataset import NUM_PARTS, PART_NAMES
from magnifier_jax.evaluation.robustness.regions import Kind, standard_regions

REGIONS = {region.name: region for region in standard_regions()}


def person():
    """A map with every part, left of the image's middle."""
    part_map = np.zeros((90, 60), np.uint8)
    for part in range(1, NUM_PARTS):
        part_map[10 * part : 10 * part + 10, 10:30] = part
    return part_map


def test_every_part_but_the_background_is_hidden_in_turn():
    parts = [region.name for region in REGIONS.values() if region.kind is Kind.PART]
    assert parts == list(PART_NAMES[1:])
    mask = REGIONS["torso"].mask(person(), seed=(0,))
    np.testing.assert_array_equal(mask, person() == 2)
    assert not REGIONS["torso"].mask(np.zeros((4, 4), np.uint8), seed=(0,)).any()


def test_upper_and_lower_body_are_the_whole_person():
    masks = [REGIONS[f"{name} body"].mask(person(), seed=(0,)) for name in ("upper", "lower")]
    assert not (masks[0] & masks[1]).any()
    np.testing.assert_array_equal(masks[0] | masks[1], person() > 0)


def test_halves_are_those_of_the_person():
    left, right = (REGIONS[f"{name} half"].mask(person(), seed=(0,)) for name in ("left", "right"))
    np.testing.assert_array_equal(left, ~right)
    assert (left & (person() > 0)).sum() == (right & (person() > 0)).sum()
    nobody = np.zeros((8, 8), np.uint8)
    assert REGIONS["left half"].mask(nobody, seed=(0,)).mean() == 0.5
    assert REGIONS["bottom third"].mask(person(), seed=(0,))[60:].all()
    assert not REGIONS["bottom third"].mask(person(), seed=(0,))[:60].any()


@pytest.mark.parametrize("share", [10, 20, 30, 40, 50])
def test_boxes_have_the_share_that_they_are_named_after(share):
    region = REGIONS[f"box {share}%"]
    masks = [region.mask(np.zeros((256, 128), np.uint8), seed=(0, str(i))) for i in range(40)]
    for mask in masks:
        assert mask.mean() == pytest.approx(share / 100, abs=0.01)
        rows, columns = np.nonzero(mask)
        assert mask[rows.min() : rows.max() + 1, columns.min() : columns.max() + 1].all()
    assert len({mask.tobytes() for mask in masks}) > 30


def test_networks_of_other_parts_have_regions_too():
    names = [region.name for region in standard_regions(4)]
    assert names[:3] == ["part 1", "part 2", "part 3"]
    assert "upper body" not in names
