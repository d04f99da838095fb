"""What is hidden to see how a network takes it: body parts, groups of them, halves, and boxes."""

from __future__ import annotations

import dataclasses
import enum
import math
import zlib

import numpy as np

from input_pipeline.dataset import BACKGROUND, LOWER_BODY, NUM_PARTS, PART_NAMES, UPPER_BODY

BOX_SHARES = (0.1, 0.2, 0.3, 0.4, 0.5)
"""Shares of an image that random boxes take."""


class Kind(enum.StrEnum):
    """What a region follows."""

    PART = "part"
    GROUP = "group"
    SIDE = "side"
    BOX = "box"


@dataclasses.dataclass(frozen=True)
class Region:
    """Something to hide.

    Attributes:
        name: What a table calls it.
        kind: What it follows.
        parts: The part classes of a part or a group.
        share: Share of the image that a box takes.
    """

    name: str
    kind: Kind
    parts: tuple[int, ...] = ()
    share: float = 0.0

    def mask(self, part_map: np.ndarray, *, seed: tuple[int | str, ...]) -> np.ndarray:
        """Where it is in an image.

        Args:
            part_map: Part classes `[H, W]`.
            seed: Numbers and words that decide where a box is.

        Returns:
            bool `[H, W]`; all False where the image does not show it.
        """
        if self.kind in (Kind.PART, Kind.GROUP):
            return np.isin(part_map, self.parts)
        if self.kind is Kind.BOX:
            return _box(part_map.shape, self.share, seed=seed)
        height, width = part_map.shape
        rows, columns = np.indices(part_map.shape)
        if self.name == "bottom third":
            return rows >= height - round(height / 3)
        # Halves of the person, or of the image where no person is seen.
        person = np.flatnonzero((part_map != BACKGROUND).any(0))
        middle = (person[0] + person[-1] + 1) / 2 if len(person) else width / 2
        left = columns + 0.5 < middle
        return left if self.name == "left half" else ~left


def _box(shape: tuple[int, ...], share: float, *, seed: tuple[int | str, ...]) -> np.ndarray:
    """A rectangle of this share of the image, of a random form at a random place."""
    rng = np.random.default_rng([zlib.crc32(str(part).encode()) for part in seed])
    height, width = shape
    # The height's share lies between the box's and 1, so that the width fits too.
    tall = math.exp(rng.uniform(math.log(max(share, 0.3 * math.sqrt(share))), 0.0))
    rows = min(height, max(1, round(tall * height)))
    columns = min(width, max(1, round(share * height * width / rows)))
    top = int(rng.integers(height - rows + 1))
    left = int(rng.integers(width - columns + 1))
    mask = np.zeros(shape, bool)
    mask[top : top + rows, left : left + columns] = True
    return mask


def standard_regions(num_parts: int = NUM_PARTS) -> tuple[Region, ...]:
    """Every part but the background, upper and lower body, halves, bottom third, and boxes.

    Args:
        num_parts: Number of part classes. Groups need the taxonomy of `input_pipeline.dataset`.
    """
    known = num_parts == NUM_PARTS
    names = PART_NAMES if known else tuple(f"part {part}" for part in range(num_parts))
    found = [Region(names[part], Kind.PART, (part,)) for part in range(1, num_parts)]
    if known:
        found += [
            Region("upper body", Kind.GROUP, UPPER_BODY),
            Region("lower body", Kind.GROUP, LOWER_BODY),
        ]
    found += [Region(name, Kind.SIDE) for name in ("left half", "right half", "bottom third")]
    found += [Region(f"box {share:.0%}", Kind.BOX, share=share) for share in BOX_SHARES]
    return tuple(found)
