"""Key points of people in the orders of common pose estimators, brought to one skeleton."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping
from types import MappingProxyType

import numpy as np

JOINTS: tuple[str, ...] = (
    "nose",
    *(
        f"{side} {joint}"
        for joint in (
            *("eye", "ear", "shoulder", "elbow", "wrist", "finger"),
            *("hip", "knee", "ankle", "heel", "toe"),
        )
        for side in ("left", "right")
    ),
)
"""The points that part maps are drawn from; sides are those of the person."""
JOINT: Mapping[str, int] = MappingProxyType({name: i for i, name in enumerate(JOINTS)})

MIRRORED: np.ndarray = np.array(
    [
        JOINT[name.replace("left", "?").replace("right", "left").replace("?", "right")]
        for name in JOINTS
    ]
)
"""Which joint each becomes when the image is mirrored, int `[J]`."""


@dataclasses.dataclass(frozen=True, eq=False)
class Skeleton:
    """One person's joints, in the order of `JOINTS`.

    Attributes:
        points: x and y in pixels of the image, where 0 is the left or upper edge of the first
            pixel and its center is 0.5; float32 `[J, 2]`.
        visible: How sure it is that each joint can be seen, 0 to 1; 0 where its place is unknown.
            float32 `[J]`.
        known: Whether a place is given at all, even of a joint that cannot be seen; bool `[J]`.
    """

    points: np.ndarray
    visible: np.ndarray
    known: np.ndarray

    def mirrored(self, width: float) -> Skeleton:
        """The skeleton in the mirror image, of an image that is `width` pixels wide."""
        points = self.points[MIRRORED] * [[-1, 1]] + [[width, 0]]
        return Skeleton(points.astype(np.float32), self.visible[MIRRORED], self.known[MIRRORED])

    def mean(self, other: Skeleton) -> Skeleton:
        """The middle of two skeletons, of which both know the same joints."""
        return Skeleton(
            (self.points + other.points) / 2,
            (self.visible + other.visible) / 2,
            self.known & other.known,
        )


def _pairs(*names: str) -> tuple[str, ...]:
    """Each name for the left and the right side."""
    return tuple(f"{side} {name}" for name in names for side in ("left", "right"))


def _sided(side: str, *names: str) -> tuple[str, ...]:
    return tuple(f"{side} {name}" for name in names)


_OPENPOSE = (
    "nose",
    "",  # neck
    *_sided("right", "shoulder", "elbow", "wrist"),
    *_sided("left", "shoulder", "elbow", "wrist"),
)
_LEGS = (
    *_sided("right", "hip", "knee", "ankle"),
    *_sided("left", "hip", "knee", "ankle"),
)
_FACE = ("right eye", "left eye", "right ear", "left ear")

CONVENTIONS: Mapping[str, tuple[str, ...]] = MappingProxyType(
    {
        "coco17": (
            "nose",
            *_pairs("eye", "ear", "shoulder", "elbow", "wrist", "hip", "knee", "ankle"),
        ),
        "openpose18": (*_OPENPOSE, *_LEGS, *_FACE),
        "openpose25": (
            *_OPENPOSE,
            "",  # middle of the hips
            *_LEGS,
            *_FACE,
            *("left toe", "", "left heel", "right toe", "", "right heel"),
        ),
        # The eyes' and the mouth's corners, little fingers and thumbs are left out.
        "blazepose33": (
            "nose",
            *("", "left eye", "", "", "right eye", ""),
            *_pairs("ear"),
            *("", ""),
            *_pairs("shoulder", "elbow", "wrist"),
            *("", ""),
            *_pairs("finger"),
            *("", ""),
            *_pairs("hip", "knee", "ankle", "heel", "toe"),
        ),
    }
)
"""The joint that each point of a convention is, by the convention's name; '' is none of ours."""


def skeleton_of(points: np.ndarray, visible: np.ndarray, *, convention: str) -> Skeleton:
    """Brings key points to our order.

    Args:
        points: x and y in pixels of the image, `[K, 2]`.
        visible: How sure it is that each can be seen, 0 to 1, `[K]`; 0 where its place is unknown,
            as in files of COCO and OpenPose.
        convention: One of `CONVENTIONS`; `blazepose33` gives a place of every point.

    Raises:
        ValueError: There are more or fewer points, or a number is not finite.
    """
    names = CONVENTIONS[convention]
    points, visible = np.asarray(points, np.float32), np.asarray(visible, np.float32)
    if points.shape != (len(names), 2) or visible.shape != (len(names),):
        raise ValueError(
            f"{convention} has {len(names)} points, got {list(points.shape)} and "
            f"{list(visible.shape)}"
        )
    if not (np.isfinite(points).all() and np.isfinite(visible).all()):
        raise ValueError("a key point is not a finite number")
    places = np.zeros((len(JOINTS), 2), np.float32)
    seen = np.zeros(len(JOINTS), np.float32)
    known = np.zeros(len(JOINTS), bool)
    for name, point, certainty in zip(names, points, visible, strict=True):
        if name:
            places[JOINT[name]], seen[JOINT[name]] = point, np.clip(certainty, 0, 1)
            known[JOINT[name]] = convention == "blazepose33" or certainty > 0
    return Skeleton(places, seen, known)


assert all(
    name == "" or name in JOINT for name in itertools.chain.from_iterable(CONVENTIONS.values())
)
