"""From key points and a mask of the person to a part map.

Every pixel of the person goes to the nearest part. Distances are measured against each part's own
thickness, which is given in lengths of the trunk.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np

from input_pipeline.dataset import (
    BACKGROUND,
    FOOT,
    HEAD,
    LOWER_ARM,
    LOWER_LEG,
    TORSO,
    UPPER_ARM,
    UPPER_LEG,
)
from input_pipeline.part_labels.pose.skeletons import JOINT, Skeleton

POINTS_VERSION = 1
"""Raised whenever the same key points would become another part map."""

VISIBLE = 0.3
"""Below this, a joint counts as hidden."""
_PERSON, _CORE = 0.5, 0.4
"""Mask above which a pixel near some part is the person, and one in the core of a part."""
_NEAR = 2.0  # thicknesses from a part within which the mask is believed
_UPPER_ARM, _LOWER_ARM, _UPPER_LEG, _LOWER_LEG, _FOOT = 0.15, 0.12, 0.22, 0.17, 0.12
_HEAD, _TORSO = 0.23, 0.15
_NECK = 0.6  # of the way from the shoulders to the head, where the head begins
_HAND_BEYOND_WRIST = 0.35  # of the forearm's length, where no finger is given
_TRUNK_TO_SHOULDERS = (
    1.3  # length of the trunk over the width of the shoulders, seen from the front
)
_LARGEST = 512  # pixels; larger images get the map of a smaller one, for a mask has 256


@dataclasses.dataclass(frozen=True)
class _Piece:
    """A part's shape: the points within `thickness` of a segment or of a polygon.

    Attributes:
        part: Its class; background for a limb that is hidden, so that what hides it goes to no
            other part.
        corners: `[2, 2]` for a segment, `[n, 2]` for a polygon; x and y in pixels.
        thickness: In pixels.
    """

    part: int
    corners: np.ndarray
    thickness: float


def draw_parts(
    skeleton: Skeleton, *, size: tuple[int, int], mask: np.ndarray | None = None
) -> np.ndarray:
    """Draws the part map of a person.

    Arms, lower legs and feet of which no joint can be seen are left out. Without a mask, the
    person is what lies within each part's thickness.

    Args:
        skeleton: Where the joints are, in pixels of the image.
        size: Height and width of the image.
        mask: How sure it is that each pixel shows the person, 0 to 1, `[height, width]`; None if
            that is not known.

    Returns:
        uint8 `[height, width]`; all background where the joints do not make a person.
    """
    height, width = size
    step = max(1, -(-max(size) // _LARGEST))
    pieces = list(_pieces(skeleton))
    if not pieces:
        return np.zeros(size, np.uint8)
    rows = (np.arange(0, height, step, dtype=np.float32) + np.float32(step / 2))[:, None]
    columns = (np.arange(0, width, step, dtype=np.float32) + np.float32(step / 2))[None, :]
    away = np.stack([_distance(columns, rows, piece.corners) / piece.thickness for piece in pieces])
    nearest = away.argmin(0)
    least = np.take_along_axis(away, nearest[None], 0)[0]
    parts = np.array([piece.part for piece in pieces], np.uint8)[nearest]
    if mask is None:
        person = least <= 1
    else:
        small = mask[::step, ::step]
        sure = _connected(small > _PERSON, (least <= 1) & (parts != BACKGROUND))
        person = (sure & (least <= _NEAR)) | ((small > _CORE) & (least <= 1))
    parts[~person] = BACKGROUND
    return parts.repeat(step, 0).repeat(step, 1)[:height, :width]


def _connected(sure: np.ndarray, cores: np.ndarray) -> np.ndarray:
    """The pieces of the mask that hold some of the person's cores: others are other people's."""
    import scipy.ndimage

    pieces, count = scipy.ndimage.label(sure, np.ones((3, 3), int))
    if count < 2:
        return sure
    kept = np.zeros(count + 1, bool)
    kept[np.unique(pieces[cores & sure])] = True
    kept[0] = False
    return kept[pieces]


# --- The shapes -----------------------------------------------------------------------------------


def _pieces(skeleton: Skeleton) -> Iterator[_Piece]:
    """The shapes of a person's parts; none where there are too few joints to know the scale."""
    body = _Body(skeleton)
    unit = body.trunk()
    if unit is None:
        return
    head = body.head()
    if head is not None:
        yield _Piece(HEAD, head, _HEAD * unit)
    corners = body.torso(unit)
    if corners is not None:
        yield _Piece(TORSO, corners, _TORSO * unit)
    for side in ("left", "right"):
        yield from _arm(body, side, unit)
        yield from _leg(body, side, unit)


def _arm(body: _Body, side: str, unit: float) -> Iterator[_Piece]:
    shoulder, elbow, wrist, finger = body.limb(side, "shoulder", "elbow", "wrist", "finger")
    seen = body.can_see(side, "elbow", "wrist")
    if shoulder is not None and elbow is not None:
        yield _segment(UPPER_ARM if seen else BACKGROUND, shoulder, elbow, _UPPER_ARM * unit)
    if elbow is None or wrist is None:
        return
    part = LOWER_ARM if seen else BACKGROUND
    yield _segment(part, elbow, wrist, _LOWER_ARM * unit)
    if finger is None:
        finger = wrist + _HAND_BEYOND_WRIST * (wrist - elbow)
    yield _segment(part, wrist, finger, _LOWER_ARM * unit)


def _leg(body: _Body, side: str, unit: float) -> Iterator[_Piece]:
    hip, knee, ankle, heel, toe = body.limb(side, "hip", "knee", "ankle", "heel", "toe")
    # Something in front hides lower legs first, and the mask says so of upper ones.
    seen = body.can_see(side, "knee", "ankle")
    if hip is not None and knee is not None:
        yield _segment(UPPER_LEG, hip, knee, _UPPER_LEG * unit)
    if knee is None or ankle is None:
        return
    lower = LOWER_LEG if seen else BACKGROUND
    yield _segment(lower, knee, ankle, _LOWER_LEG * unit)
    foot = FOOT if seen else BACKGROUND
    if heel is not None and toe is not None:
        yield _segment(foot, heel, toe, _FOOT * unit)
        yield _segment(foot, ankle, toe, _FOOT * unit)
    else:  # a little below the ankle, which way it points is unknown
        down = ankle - knee
        length = max(float(np.linalg.norm(down)), 1e-6)
        yield _segment(foot, ankle, ankle + down / length * np.float32(0.16 * unit), _FOOT * unit)


def _segment(part: int, start: np.ndarray, end: np.ndarray, thickness: float) -> _Piece:
    return _Piece(part, np.stack([start, end]), thickness)


class _Body:
    """A skeleton's joints by name."""

    def __init__(self, skeleton: Skeleton) -> None:
        self._skeleton = skeleton

    def joint(self, name: str) -> np.ndarray | None:
        place = JOINT[name]
        return self._skeleton.points[place] if self._skeleton.known[place] else None

    def limb(self, side: str, *names: str) -> list[np.ndarray | None]:
        return [self.joint(f"{side} {name}") for name in names]

    def can_see(self, side: str, *names: str) -> bool:
        """Whether any of these joints can be seen."""
        places = [JOINT[f"{side} {name}"] for name in names]
        return bool((self._skeleton.visible[places] >= VISIBLE).any())

    def middle(self, name: str) -> np.ndarray | None:
        """Between the left and the right one, or the one that is known."""
        found = [joint for joint in self.limb_pair(name) if joint is not None]
        return np.stack(found).mean(0) if found else None

    def limb_pair(self, name: str) -> list[np.ndarray | None]:
        return [self.joint(f"left {name}"), self.joint(f"right {name}")]

    def trunk(self) -> float | None:
        """Its length in pixels, from the shoulders' middle to the hips', or an estimate."""
        shoulders, hips = self.middle("shoulder"), self.middle("hip")
        lengths = []
        if shoulders is not None and hips is not None:
            lengths.append(float(np.linalg.norm(shoulders - hips)))
        left, right = self.limb_pair("shoulder")
        if left is not None and right is not None:
            # A trunk that points at the camera is seen shorter than it is.
            share = 0.5 if lengths else 1.0
            lengths.append(share * _TRUNK_TO_SHOULDERS * float(np.linalg.norm(left - right)))
        length = max(lengths, default=0.0)
        return length if length > 1 else None

    def head(self) -> np.ndarray | None:
        """A segment from the chin to the middle of the head, `[2, 2]`."""
        center = self.middle("ear")
        nose = self.joint("nose")
        if center is None:
            center = nose if nose is not None else self.middle("eye")
        shoulders = self.middle("shoulder")
        if center is None:
            return None
        if shoulders is None:
            return np.stack([center, center])
        return np.stack([shoulders + _NECK * (center - shoulders), center])

    def torso(self, unit: float) -> np.ndarray | None:
        """The polygon of shoulders and hips, `[n, 2]`; what is unknown is put where it may be."""
        shoulders = [joint for joint in self.limb_pair("shoulder") if joint is not None]
        hips = [joint for joint in reversed(self.limb_pair("hip")) if joint is not None]
        if not shoulders:
            return None
        if not hips:
            down = np.array([0, unit], np.float32)
            hips = [joint + down for joint in reversed(shoulders)]
        return np.stack([*shoulders, *hips])


# --- Distances ------------------------------------------------------------------------------------


def _distance(columns: np.ndarray, rows: np.ndarray, corners: np.ndarray) -> np.ndarray:
    """Pixels from a segment or polygon, 0 inside, float32 `[H, W]`.

    Args:
        columns: x of every column, `[1, W]`.
        rows: y of every row, `[H, 1]`.
        corners: `[n, 2]`.
    """
    if len(corners) == 2:
        return _from_segment(columns, rows, corners[0], corners[1])
    edges = list(zip(corners, np.roll(corners, -1, axis=0), strict=True))
    least = np.minimum.reduce([_from_segment(columns, rows, *edge) for edge in edges])
    return np.where(_inside(columns, rows, edges), 0, least)


def _from_segment(
    columns: np.ndarray, rows: np.ndarray, start: np.ndarray, end: np.ndarray
) -> np.ndarray:
    along = end - start
    square = float(along @ along)
    x, y = columns - start[0], rows - start[1]
    if square < 1e-9:
        return np.hypot(x, y)
    share = np.clip((x * along[0] + y * along[1]) / np.float32(square), 0, 1)
    return np.hypot(x - share * along[0], y - share * along[1])


def _inside(
    columns: np.ndarray, rows: np.ndarray, edges: list[tuple[np.ndarray, np.ndarray]]
) -> np.ndarray:
    """Which pixels lie in a polygon, by the number of its edges to their right (even-odd)."""
    inside = np.zeros((rows.size, columns.size), bool)
    for start, end in edges:
        crosses = (rows < start[1]) != (rows < end[1])
        height = end[1] - start[1]
        slope = (end[0] - start[0]) / (height if height else np.float32(1))
        inside ^= crosses & (columns < start[0] + (rows - start[1]) * slope)
    return inside
