"""Pictures on their way from a prepared split to the devices, by either placement."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from typing import Protocol

import numpy as np

from input_pipeline.batch import Batch
from input_pipeline.prepared import PreparedSplit
from input_pipeline.resident import decode_split
from magnifier_jax.config import DataConfig


class Pictures(Protocol):
    """Decoded pictures of one split, by their positions in it."""

    def __len__(self) -> int: ...

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
    """Pictures that are decoded each time they are asked for, ahead of their use."""

    split: PreparedSplit
    image_size: tuple[int, int]
    parts: bool
    workers: int | None

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        from input_pipeline.stream import stream

        return stream(
            self.split,
            iter(ids),
            image_size=self.image_size,
            parts=self.parts,
            workers=self.workers,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Resident:
    """Pictures that were decoded once and stay in memory.

    Attributes:
        images: uint8 RGB `[n, H, W, 3]`.
        parts: uint8 part classes `[n, H, W]`, or None.
    """

    images: np.ndarray
    parts: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        for chosen in ids:
            parts = None if self.parts is None else self.parts[chosen]
            yield Batch(self.images[chosen], parts, chosen)


def open_pictures(
    split: PreparedSplit, data: DataConfig, *, parts: bool, progress: bool = True
) -> Streamed | Resident:
    """Makes a split's pictures available as `data.placement` says."""
    workers = data.workers or None
    if data.placement == "stream":
        return Streamed(split, data.image_size, parts, workers)
    decoded = decode_split(
        split, image_size=data.image_size, parts=parts, workers=workers, progress=progress
    )
    return Resident(decoded.images, decoded.parts)
