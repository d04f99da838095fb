"""What makes part maps of images: a pose network, a parser of our own, or yours."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Protocol, runtime_checkable

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class LabeledImage:
    """What a labeler makes of one image.

    Attributes:
        part_map: Part classes, uint8 `[H, W]`, as large as the image; None where nobody was found.
            A map that is all background would teach that there is no person.
        score: How sure the labeler is that it sees a person, 0 to 1.
        agreement: Mean IoU of the parts in two views of the image, such as itself and its mirror
            image, 0 to 1; 1 where there is only one view.
    """

    part_map: np.ndarray | None
    score: float
    agreement: float = 1.0


class PartLabeler(Protocol):
    """Makes part maps. It is pickled to be used in several processes."""

    @property
    def made_by(self) -> Mapping[str, str | int]:
        """What decides the maps: `labeler` (its name), digests and versions of what it uses.

        Kept labels are used again only where all of this is the same.
        """
        ...

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of libraries, which are recorded but decide nothing."""
        ...

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        """Labels images.

        Args:
            images: RGB, uint8 `[H, W, 3]` each, of any sizes.

        Returns:
            What was found in each, in their order.
        """
        ...


@runtime_checkable
class NamedLabeler(PartLabeler, Protocol):
    """One that knows something of each image by its name, such as key points from a file."""

    def check(self, names: Sequence[str]) -> None:
        """Makes sure that what it knows is of these images, before any of them is labeled.

        Raises:
            DataError: It is not; the message says what is missing.
        """
        ...

    def label_named(self, images: Sequence[np.ndarray], names: Sequence[str]) -> list[LabeledImage]:
        """As `label`; `names` are relative to the dataset."""
        ...


def agreement_of(one: np.ndarray, other: np.ndarray) -> float:
    """Mean intersection over union of the parts that either map shows.

    Args:
        one: Part classes, uint8 `[H, W]`, background 0.
        other: The same.

    Returns:
        0 to 1; 0 where neither shows a part.
    """
    size = 1 + max(int(one.max()), int(other.max()))
    together = np.bincount(
        one.reshape(-1).astype(np.int64) * size + other.reshape(-1), minlength=size * size
    ).reshape(size, size)
    union = together.sum(0) + together.sum(1) - together.diagonal()
    shown = union[1:] > 0
    if not shown.any():
        return 0.0
    return float((together.diagonal()[1:][shown] / union[1:][shown]).mean())
