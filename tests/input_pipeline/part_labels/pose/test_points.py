"""Points to parts, against a map that is drawn pixel by pixel from the definition."""

import numpy as np
import pytest

from input_pipeline.dataset import (
    FOOT,
    HEAD,
    LOWER_ARM,
    LOWER_LEG,
    TORSO,
    UPPER_ARM,
    UPPER_LEG,
)
from input_pipeline.part_labels.pose.points import draw_parts
from input_pipeline.part_labels.pose.skeletons import (
    CONVENTIONS,
    JOINT,
    JOINTS,
    MIRRORED,
    Skeleton,
    skeleton_of,
)

SIZE = (160, 80)
# A person from the front whose arms hang a little off the body; the trunk is 40 pixels long.
POINTS = {
    "nose": (40, 20), "left eye": (43, 17), "right eye": (37, 17),
    "left ear": (46, 19), "right ear": (34, 19),
    "left shoulder": (52, 36), "right shoulder": (28, 36),
    "left elbow": (62, 54), "right elbow": (18, 54),
    "left wrist": (66, 72), "right wrist": (14, 72),
    "left hip": (48, 76), "right hip": (32, 76),
    "left knee": (49, 105), "right knee": (31, 105),
    "left ankle": (50, 135), "right ankle": (30, 135),
}  # fmt: skip
FEET = {
    "left finger": (67, 80), "right finger": (13, 80),
    "left heel": (50, 139), "right heel": (30, 139),
    "left toe": (58, 142), "right toe": (22, 142),
}  # fmt: skip


def skeleton(points=None, *, hidden=()) -> Skeleton:
    given = {**POINTS, **FEET} if points is None else points
    places = np.array([given.get(name, (0, 0)) for name in JOINTS], np.float32)
    known = np.array([name in given for name in JOINTS])
    visible = np.array([float(name in given and name not in hidden) for name in JOINTS])
    return Skeleton(places, visible.astype(np.float32), known)


def at(parts: np.ndarray, *names: str) -> list[int]:
    """The class at each joint."""
    every = {**POINTS, **FEET}
    return [int(parts[every[name][1], every[name][0]]) for name in names]


def halfway(parts: np.ndarray, one: str, other: str) -> int:
    every = {**POINTS, **FEET}
    x, y = (np.array(every[one]) + np.array(every[other])) // 2
    return int(parts[y, x])


def test_each_limb_gets_its_class():
    parts = draw_parts(skeleton(), size=SIZE)
    assert parts.shape == SIZE
    assert parts.dtype == np.uint8
    assert at(parts, "nose") == [HEAD]
    assert parts[56, 40] == TORSO
    for side in ("left", "right"):
        assert halfway(parts, f"{side} shoulder", f"{side} elbow") == UPPER_ARM
        assert halfway(parts, f"{side} elbow", f"{side} wrist") == LOWER_ARM
        assert at(parts, f"{side} wrist", f"{side} finger") == [LOWER_ARM] * 2
        assert halfway(parts, f"{side} hip", f"{side} knee") == UPPER_LEG
        assert halfway(parts, f"{side} knee", f"{side} ankle") == LOWER_LEG
        assert at(parts, f"{side} toe") == [FOOT]
    assert parts[0, 0] == 0
    assert parts[120, 5] == 0
    assert set(np.unique(parts)) == set(range(8))


def test_the_nearest_limb_by_its_own_thickness_wins():
    """One pixel between knee and shin, computed by hand."""
    lone = {name: POINTS[name] for name in POINTS if "shoulder" in name or "hip" in name}
    points = {**lone, "left knee": (48, 116), "left ankle": (48, 156)}
    parts = draw_parts(skeleton(points), size=SIZE)
    # The trunk is 40 long: an upper leg is 0.22 · 40 = 8.8 thick, a lower one 0.17 · 40 = 6.8. Left
    # of the knee both are equally far, so the thicker one is nearer in its own thickness.
    assert parts[116, 43] == UPPER_LEG
    assert parts[125, 43] == LOWER_LEG
    # 7.5 pixels off the axis is beyond the shin (6.8), and within the thigh (8.8).
    assert parts[135, 40] == 0
    assert parts[96, 40] == UPPER_LEG


def test_the_mask_limits_the_person_and_fills_it():
    mask = np.zeros(SIZE, np.float32)
    mask[:, :40] = 1
    half = draw_parts(skeleton(), size=SIZE, mask=mask)
    assert (half[:, 40:] == 0).all()
    assert halfway(half, "right shoulder", "right elbow") == UPPER_ARM
    # What the mask shows beside a part belongs to it up to twice its thickness (0.22 · 40 here).
    whole = draw_parts(skeleton(), size=SIZE, mask=np.ones(SIZE, np.float32))
    bare = draw_parts(skeleton(), size=SIZE)
    assert bare[95, 61] == 0
    assert whole[95, 61] == UPPER_LEG
    assert whole[110, 79] == 0


def test_another_persons_piece_of_the_mask_is_left_out():
    mask = (draw_parts(skeleton(), size=SIZE) > 0).astype(np.float32)
    mask[90:130, 62:70] = 1  # stands beside, near enough to the leg but not joined to it
    parts = draw_parts(skeleton(), size=SIZE, mask=mask)
    assert (parts[90:130, 62:70] == 0).all()
    mask[100:104, 55:64] = 1  # a bridge makes it a piece of the person
    parts = draw_parts(skeleton(), size=SIZE, mask=mask)
    assert (parts[95:110, 63:66] == UPPER_LEG).any()


def test_hidden_lower_legs_are_not_drawn_onto_what_hides_them():
    hidden = [n for n in JOINTS if n.split()[-1] in ("knee", "ankle", "heel", "toe")]
    everywhere = np.ones(SIZE, np.float32)
    seen = draw_parts(skeleton(), size=SIZE, mask=everywhere)
    behind = draw_parts(skeleton(hidden=hidden), size=SIZE, mask=everywhere)
    assert {LOWER_LEG, FOOT} <= set(np.unique(seen))
    assert not {LOWER_LEG, FOOT} & set(np.unique(behind))
    assert halfway(behind, "left knee", "left ankle") == 0
    one_knee = draw_parts(skeleton(hidden=[n for n in hidden if n != "left knee"]), size=SIZE)
    assert halfway(one_knee, "left knee", "left ankle") == LOWER_LEG
    assert halfway(one_knee, "right knee", "right ankle") == 0


def test_hidden_arms_are_left_out():
    hidden = ["left elbow", "left wrist", "left finger"]
    parts = draw_parts(skeleton(hidden=hidden), size=SIZE)
    assert halfway(parts, "left shoulder", "left elbow") == 0
    assert halfway(parts, "right shoulder", "right elbow") == UPPER_ARM


@pytest.mark.parametrize(
    "points",
    [
        {},
        {"nose": (40, 20)},
        {"left wrist": (40, 20), "left ankle": (3, 4)},
        dict.fromkeys(POINTS, (40, 80)),  # all in one place
    ],
)
def test_too_few_joints_make_no_person(points):
    parts = draw_parts(skeleton(points), size=SIZE, mask=np.ones(SIZE, np.float32))
    assert not parts.any()


def test_some_joints_suffice():
    upper = {n: POINTS[n] for n in ("nose", "left shoulder", "right shoulder", "left elbow")}
    parts = draw_parts(skeleton(upper), size=SIZE)
    assert {HEAD, TORSO, UPPER_ARM} <= set(np.unique(parts))
    assert not {UPPER_LEG, LOWER_LEG, FOOT} & set(np.unique(parts))


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (8, 8)])
def test_joints_far_outside_tiny_images_are_no_trouble(size):
    parts = draw_parts(skeleton(), size=size, mask=np.ones(size, np.float32))
    assert parts.shape == size


def test_large_images_get_the_map_of_smaller_ones():
    large = skeleton()
    large = Skeleton(large.points * 8, large.visible, large.known)
    parts = draw_parts(large, size=(SIZE[0] * 8 - 3, SIZE[1] * 8 - 3))
    small = draw_parts(skeleton(), size=SIZE)
    assert parts.shape == (SIZE[0] * 8 - 3, SIZE[1] * 8 - 3)
    assert (parts[4::8, 4::8] == small).mean() > 0.98


def test_a_mirrored_skeleton_draws_the_mirrored_map():
    person = skeleton()
    parts = draw_parts(person, size=SIZE)
    mirrored = draw_parts(person.mirrored(SIZE[1]), size=SIZE)
    # Pixel centers are mirrored exactly; ties between parts may fall the other way.
    assert (mirrored[:, ::-1] == parts).mean() > 0.995
    np.testing.assert_array_equal(MIRRORED[MIRRORED], np.arange(len(JOINTS)))


@pytest.mark.parametrize("convention", sorted(CONVENTIONS))
def test_every_convention_puts_points_where_its_names_say(convention):
    """The orders of the conventions as their authors number them."""
    known = {
        "coco17": {0: "nose", 5: "left shoulder", 10: "right wrist", 15: "left ankle"},
        "openpose18": {0: "nose", 2: "right shoulder", 7: "left wrist", 8: "right hip",
                       13: "left ankle", 14: "right eye", 17: "left ear"},
        "openpose25": {2: "right shoulder", 7: "left wrist", 9: "right hip", 14: "left ankle",
                       15: "right eye", 18: "left ear", 19: "left toe", 21: "left heel",
                       22: "right toe", 24: "right heel"},
        "blazepose33": {0: "nose", 2: "left eye", 7: "left ear", 11: "left shoulder",
                        16: "right wrist", 19: "left finger", 24: "right hip", 25: "left knee",
                        28: "right ankle", 29: "left heel", 32: "right toe"},
    }[convention]  # fmt: skip
    count = int(convention[-2:])
    points = np.stack([np.arange(count), np.arange(count) + 100], 1).astype(np.float32)
    visible = np.full(count, 0.7)
    found = skeleton_of(points, visible, convention=convention)
    for place, name in known.items():
        assert found.points[JOINT[name]].tolist() == [place, place + 100]
        assert found.known[JOINT[name]]
    has_feet = convention in ("openpose25", "blazepose33")
    assert found.known[JOINT["left heel"]] == has_feet
    with pytest.raises(ValueError, match=f"{convention} has {count} points"):
        skeleton_of(points[1:], visible[1:], convention=convention)
    points[3, 0] = np.nan
    with pytest.raises(ValueError, match="not a finite number"):
        skeleton_of(points, visible, convention=convention)


def test_coco_points_without_a_place_are_unknown():
    visible = np.ones(17)
    visible[9] = 0
    found = skeleton_of(np.ones((17, 2)), visible, convention="coco17")
    assert not found.known[JOINT["left wrist"]]
    assert found.known[JOINT["right wrist"]]
