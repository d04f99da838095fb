"""What a loader hands to the devices."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True, eq=False)
class Batch:
    """Decoded pictures of one batch, on the host.

    Attributes:
        images: RGB, uint8 `[N, H, W, 3]`.
        parts: Part class of every pixel, uint8 `[N, H, W]`, or None when not asked for.
        ids: Position of each picture in its split, int64 `[N]`.
    """

    images: np.ndarray
    parts: np.ndarray | None
    ids: np.ndarray
