"""The body-part taxonomy of the part maps: eight classes, left and right are one."""

from __future__ import annotations

import numpy as np

PART_NAMES: tuple[str, ...] = (
    "background",
    "head",
    "torso",
    "upper arm",
    "lower arm",
    "upper leg",
    "lower leg",
    "foot",
)
NUM_PARTS = len(PART_NAMES)
BACKGROUND, HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG, FOOT = range(NUM_PARTS)
UPPER_BODY: tuple[int, ...] = (HEAD, TORSO, UPPER_ARM, LOWER_ARM)
LOWER_BODY: tuple[int, ...] = (UPPER_LEG, LOWER_LEG, FOOT)

PALETTE: np.ndarray = np.array(
    [
        (24, 24, 32),
        (240, 196, 64),
        (72, 136, 232),
        (232, 96, 64),
        (248, 160, 176),
        (56, 176, 112),
        (152, 216, 88),
        (160, 96, 208),
    ],
    np.uint8,
)
"""RGB colour of each class in pictures of part maps, `[8, 3]`."""
