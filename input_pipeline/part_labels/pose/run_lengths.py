"""Masks of people as COCO's files have them: run lengths, plain or packed into text.

A mask is read column by column. Its runs are of background and of the person in turn, beginning
with background. Packed, a run from the fourth on is its difference to the one two before; every
number becomes groups of five bits, lowest first, each a character from `0` (48) on. The sixth bit
of a character says that another one follows, the fifth of the last one is the sign.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping
from typing import Any

import numpy as np

_FIRST = 48  # character of the group 0
_BITS = 5
_MORE, _SIGN, _GROUP = 0x20, 0x10, 0x1F
_LONGEST = 8  # characters of a number, far more than any image needs


@dataclasses.dataclass(frozen=True, eq=False)
class RunLengths:
    """A mask.

    Attributes:
        height: In pixels.
        width: In pixels.
        runs: Pixels of background and of the person in turn, int64 `[n]`; they cover the image.
    """

    height: int
    width: int
    runs: np.ndarray

    def mask(self) -> np.ndarray:
        """1 where the person is, float32 `[height, width]`."""
        person = np.arange(len(self.runs)) % 2
        flat = np.repeat(person.astype(np.float32), self.runs)
        return flat.reshape(self.width, self.height).T


def read_run_lengths(fields: Mapping[str, Any]) -> RunLengths:
    """Reads a `segmentation` that is no list of polygons: `size`, and `counts` as list or text.

    Raises:
        ValueError: The runs cannot be read, or do not cover an image of that size.
    """
    height, width = (int(length) for length in fields["size"])
    counts = fields["counts"]
    numbers = unpack(counts) if isinstance(counts, str) else [int(count) for count in counts]
    if height < 1 or width < 1 or min(numbers, default=0) < 0:
        raise ValueError(f"a mask of {height} × {width} with negative lengths")
    if sum(numbers) != height * width:
        raise ValueError(
            f"the runs of its mask come to {sum(numbers)} pixels, not to {height} × {width}"
        )
    return RunLengths(height, width, np.array(numbers, np.int64))


def unpack(text: str) -> list[int]:
    """The run lengths that a text holds.

    Raises:
        ValueError: It has a character that means nothing, or ends within a number.
    """
    runs: list[int] = []
    number = length = 0
    for character in text:
        group = ord(character) - _FIRST
        if not 0 <= group < 2 * _MORE:
            raise ValueError(f"{character!r} is no character of a packed mask")
        number |= (group & _GROUP) << _BITS * length
        length += 1
        if length > _LONGEST:
            raise ValueError("a number of its packed mask never ends")
        if group & _MORE:
            continue
        if group & _SIGN:
            number -= 1 << _BITS * length
        runs.append(number + (runs[-2] if len(runs) > 2 else 0))
        number = length = 0
    if length:
        raise ValueError("its packed mask is cut off")
    return runs
