"""What a network says of images, on the host."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import Problem

VISIBLE_SHARE = 0.005
"""Share of an image's cells from which a part counts as visible."""


@dataclasses.dataclass(frozen=True, eq=False)
class Embeddings:
    """What a network computes for N images, in the order in which they were given.

    Attributes:
        descriptors: float32 `[N, D]` of unit length.
        parts: float32 `[N, P, E]`, an embedding of unit length for each body part; None where the
            network or the exported file has none.
        visible: bool `[N, P]`, whether the part is seen, never true of part 0, the background;
            None where it is not known, and where `parts` were left out, as a rule.
        part_maps: uint8 `[N, h, w]`, the part that each cell of the image shows; None where the
            network does not predict them.
        names: What each image is called: a file's path, or its place among what was given.
        positions: int64 `[N]`, the place of each image among what was given, which differs from
            0, 1, … only where images were left out.
        problems: The images that were left out, and why.
        unflipped: The descriptors of the images alone, where `descriptors` are means over images
            and their mirror images and both were asked for.
    """

    descriptors: NDArray[np.float32]
    parts: NDArray[np.float32] | None = None
    visible: NDArray[np.bool_] | None = None
    part_maps: NDArray[np.uint8] | None = None
    names: tuple[str, ...] = ()
    positions: NDArray[np.int64] | None = None
    problems: tuple[Problem, ...] = ()
    unflipped: NDArray[np.float32] | None = None

    def __len__(self) -> int:
        """Number of images."""
        return len(self.descriptors)

    def __repr__(self) -> str:
        """Shapes instead of numbers."""
        shapes = [
            f"{name} {list(array.shape)}"
            for name in ("descriptors", "parts", "visible", "part_maps")
            if (array := getattr(self, name)) is not None
        ]
        left_out = f", {len(self.problems)} left out" if self.problems else ""
        return f"Embeddings({', '.join(shapes)}{left_out})"


def visible_parts(part_shares: NDArray[np.floating]) -> NDArray[np.bool_]:
    """Which parts images show, bool `[N, P]`; never the background, which is no part of anybody.

    Args:
        part_shares: Share of the cells of each part, `[N, P]`.
    """
    visible = part_shares >= VISIBLE_SHARE
    visible[:, 0] = False
    return visible
