"""Where a drawn person stands in a crop, how large, and how the body is deformed."""

from __future__ import annotations

import dataclasses

import numpy as np


@dataclasses.dataclass(frozen=True)
class Layer:
    """A person on the crop.

    Attributes:
        pixels: float32 `[H, W, 3]` in 0-255.
        parts: uint8 `[H, W]`.
        inside: bool `[H, W]`, where the drawn image reaches.
    """

    pixels: np.ndarray
    parts: np.ndarray
    inside: np.ndarray


@dataclasses.dataclass(frozen=True)
class Placement:
    """A mapping from the crop to a drawn image, in shares of their heights and widths.

    Attributes:
        center: Where the drawn image's middle comes to lie: down and right of the crop's middle.
        scale: Height and width of the drawn image as shares of the crop's.
        angle: Turn in radians.
        shear: Columns moved to the right for each row down.
        bend: Amplitude of a smooth deformation.
        phase: Of its waves, `[4]`.
        mirrored: Whether left and right are exchanged.
    """

    center: tuple[float, float]
    scale: tuple[float, float]
    angle: float
    shear: float
    bend: float
    phase: tuple[float, ...]
    mirrored: bool


def draw_placement(rng: np.random.Generator) -> Placement:
    """A crop as detectors make them: mostly tight, now and then too wide, too low or cut."""
    if rng.random() < 0.25:  # a bad crop
        scale = float(np.exp(rng.uniform(np.log(0.55), np.log(1.8))))
        center = (rng.normal(0, 0.16), rng.normal(0, 0.16))
        if scale > 1.15:  # the head or the feet are cut
            center = (float(rng.choice((-0.5, 0.5)) * (scale - 1) * 0.9), rng.normal(0, 0.08))
    else:
        scale = float(np.exp(rng.normal(0.07, 0.09)))
        center = (rng.normal(0, 0.03), rng.normal(0, 0.05))
    girth = float(np.exp(rng.normal(0.04, 0.14)))
    return Placement(
        center=(float(center[0]), float(center[1])),
        scale=(scale, scale * girth),
        angle=float(rng.normal(0, 0.05)),
        shear=float(rng.normal(0, 0.05)),
        bend=float(abs(rng.normal(0, 0.015))),
        phase=tuple(rng.uniform(0, 2 * np.pi, 4).tolist()),
        mirrored=bool(rng.random() < 0.5),
    )


def place(
    image: np.ndarray, parts: np.ndarray, placement: Placement, *, size: tuple[int, int]
) -> Layer:
    """The drawn person as it lies on a crop of this size.

    Args:
        image: uint8 `[h, w, 3]`.
        parts: uint8 `[h, w]`.
        placement: Where.
        size: Height and width of the crop, in pixels; of about the drawn image's proportions.
    """
    height, width = parts.shape
    # In units of the crop's height, so that turning keeps shapes.
    aspect = size[1] / size[0]
    down = ((np.arange(size[0], dtype=np.float32) + 0.5) / size[0] - 0.5)[:, None]
    right = ((np.arange(size[1], dtype=np.float32) + 0.5) / size[1] - 0.5)[None] * aspect
    down, right = down - placement.center[0], right - placement.center[1] * aspect
    cos, sin = np.float32(np.cos(placement.angle)), np.float32(np.sin(placement.angle))
    down, right = cos * down - sin * right, sin * down + cos * right
    right = right + np.float32(placement.shear) * down
    a, b, c, d = placement.phase
    bend = np.float32(placement.bend)
    down, right = (
        down + bend * (np.sin(9 * down + a) + 0.5 * np.sin(14 * right + b)),
        right + bend * (np.sin(7 * down + c) + 0.5 * np.sin(17 * down + d)),
    )
    row = (down / placement.scale[0] + 0.5) * height - 0.5
    column = (right / (placement.scale[1] * width / height) + 0.5) * width - 0.5
    if placement.mirrored:
        column = width - 1 - column
    inside = (row > -0.5) & (row < height - 0.5) & (column > -0.5) & (column < width - 0.5)
    nearest = np.rint(row).astype(np.int32).clip(0, height - 1) * width
    nearest += np.rint(column).astype(np.int32).clip(0, width - 1)
    placed = np.where(inside, parts.reshape(-1).take(nearest), 0).astype(np.uint8)
    return Layer(_bilinear(image, row, column), placed, inside)


def _bilinear(image: np.ndarray, row: np.ndarray, column: np.ndarray) -> np.ndarray:
    height, width, _ = image.shape
    row, column = row.clip(0, height - 1.001), column.clip(0, width - 1.001)
    top, left = row.astype(np.int32), column.astype(np.int32)
    down, right = (row - top)[..., None], (column - left)[..., None]
    flat = image.reshape(-1, 3)
    corner = top * width + left
    upper = flat.take(corner, axis=0) * (1 - right) + flat.take(corner + 1, axis=0) * right
    corner = corner + width
    lower = flat.take(corner, axis=0) * (1 - right) + flat.take(corner + 1, axis=0) * right
    return (upper * (1 - down) + lower * down).astype(np.float32)
