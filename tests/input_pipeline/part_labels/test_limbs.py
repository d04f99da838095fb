import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import FOOT, HEAD, LOWER_ARM, LOWER_LEG, TORSO, UPPER_ARM, UPPER_LEG
from input_pipeline.part_labels.formats import FORMATS
from input_pipeline.part_labels.limbs import to_parts
from tests import layouts

# What each of our classes is called by parsers that do not cut limbs.
UNCUT = {
    "lip20": [0, 13, 5, 14, 14, 9, 9, 18],
    "atr18": [0, 11, 4, 14, 14, 6, 6, 9],
    "pascal7": [0, 1, 2, 3, 4, 5, 6, 6],
}


def standing(arm: int, leg: int, head: int, torso: int) -> np.ndarray:
    """A figure of 60 × 30 with a hanging arm of 20 × 3 and a leg of 24 × 5."""
    labels = np.zeros((60, 30), int)
    labels[2:10, 12:18] = head
    labels[10:32, 10:20] = torso
    labels[12:32, 22:25] = arm
    labels[32:56, 12:17] = leg
    return labels


def test_hanging_limbs_are_cut_in_the_middle():
    parts = to_parts(standing(arm=14, leg=9, head=13, torso=5), FORMATS["lip20"])
    assert set(np.unique(parts)) == {0, HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG}
    assert (parts[12:22, 22:25] == UPPER_ARM).all()
    assert (parts[25:32, 22:25] == LOWER_ARM).all()
    assert (parts[32:43, 12:17] == UPPER_LEG).all()
    assert (parts[45:56, 12:17] == LOWER_LEG).all()


def test_a_raised_arm_is_cut_the_other_way_round():
    labels = np.zeros((60, 30), int)
    labels[12:20, 12:18] = 11
    labels[20:40, 10:20] = 4
    labels[0:20, 22:25] = 15
    parts = to_parts(labels, FORMATS["atr18"])
    assert (parts[0:8, 22:25] == LOWER_ARM).all()
    assert (parts[11:20, 22:25] == UPPER_ARM).all()


def test_a_stretched_arm_is_cut_across():
    labels = np.zeros((40, 60), int)
    labels[0:8, 26:34] = 13
    labels[8:30, 24:36] = 5
    labels[10:13, 0:24] = 14
    parts = to_parts(labels, FORMATS["lip20"])
    assert (parts[10:13, 0:11] == LOWER_ARM).all()
    assert (parts[10:13, 13:24] == UPPER_ARM).all()


def test_a_hand_below_a_sleeve_is_lower_arm():
    labels = np.zeros((60, 30), int)
    labels[10:32, 10:20] = 5
    labels[28:32, 22:26] = 14
    labels[1, 1] = 15
    parts = to_parts(labels, FORMATS["lip20"])
    assert (parts[labels == 14] == LOWER_ARM).all()
    assert (parts[labels == 15] == LOWER_ARM).all()


def test_shorts_and_bare_legs_are_one_limb():
    labels = standing(arm=0, leg=16, head=13, torso=5)
    labels[32:38, 12:17] = 9
    parts = to_parts(labels, FORMATS["lip20"])
    assert (parts[32:43, 12:17] == UPPER_LEG).all()
    assert (parts[45:56, 12:17] == LOWER_LEG).all()


def test_each_leg_is_cut_for_itself():
    labels = np.zeros((60, 30), int)
    labels[10:32, 10:20] = 2
    labels[32:52, 10:13] = 6
    labels[36:56, 16:19] = 6
    parts = to_parts(labels, FORMATS["pascal7"])
    assert (parts[48:52, 10:13] == FOOT).all()
    assert (parts[52:56, 16:19] == FOOT).all()
    assert (parts[36:51, 16:19] == LOWER_LEG).all()


@pytest.mark.parametrize(
    ("name", "limb", "head", "torso", "classes"),
    [
        ("lip20", 12, 13, 5, (UPPER_LEG, LOWER_LEG)),  # a skirt
        ("lip20", 9, 13, 5, (UPPER_LEG, LOWER_LEG)),  # trousers that the picture cuts off
        ("atr18", 6, 11, 4, (UPPER_LEG, LOWER_LEG)),
        ("pascal7", 6, 1, 2, (LOWER_LEG, FOOT)),  # lower legs that touch
    ],
)
def test_legs_that_are_wider_than_long_are_cut_from_top_to_bottom(name, limb, head, torso, classes):
    labels = np.zeros((40, 30), int)
    labels[2:10, 12:18] = head
    labels[10:32, 10:20] = torso
    labels[32:40, 6:24] = limb
    parts = to_parts(labels, FORMATS[name])
    near, far = classes
    assert (parts[32:34, 6:24] == near).all()
    assert (parts[39, 6:24] == far).all()
    np.testing.assert_array_equal(parts, parts[:, ::-1])
    assert (np.diff((parts[32:, 6:24] == far).astype(int), axis=0) >= 0).all()


def test_limbs_without_a_body_are_cut_from_the_top():
    labels = np.zeros((40, 20), int)
    labels[4:36, 8:11] = 9
    parts = to_parts(labels, FORMATS["lip20"])
    assert (parts[4:19, 8:11] == UPPER_LEG).all()
    assert (parts[21:36, 8:11] == LOWER_LEG).all()


@pytest.mark.parametrize(("name", "least"), [("lip20", 0.7), ("atr18", 0.7), ("pascal7", 0.7)])
def test_cut_limbs_agree_with_exact_part_maps(name, least):
    """Intersection over union with the rendered truth, after limbs were joined and cut again."""
    shown = np.zeros((8, 8), int)
    for shot in layouts.shots():
        with Image.open(shot.parts) as image:
            truth = np.asarray(image)
        labels = np.array(UNCUT[name])[truth]
        np.add.at(shown, (truth, to_parts(labels, FORMATS[name])), 1)
    both = np.diag(shown)
    overlap = both / (shown.sum(0) + shown.sum(1) - both)
    assert overlap.min() > least


def test_255_is_background():
    labels = np.array([[255, 1], [2, 0]])
    np.testing.assert_array_equal(to_parts(labels, FORMATS["pascal7"]), [[0, 1], [2, 0]])


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ([[0, 8]], r"class 8 is not one of the eight classes .* \(0 to 7\)"),
        ([[0, 9, 200]], "class 9, 200 is not one of"),
        ([[-1, 3]], "-1 to 3, more than 0 to 255"),
        ([[0, 300]], "0 to 300"),
    ],
)
def test_classes_that_the_source_does_not_have_are_refused(values, message):
    with pytest.raises(ValueError, match=message):
        to_parts(np.array(values), FORMATS["parts"])
