"""Encoded pictures and part maps to resized arrays, with Pillow."""

from __future__ import annotations

import io

import numpy as np
from PIL import Image


def decode_image(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Decodes an RGB picture and resizes it bilinearly, antialiased when it shrinks.

    Args:
        data: JPEG or PNG of 8-bit RGB, as a prepared split stores it.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    height, width = image_size
    with Image.open(io.BytesIO(data)) as image:
        return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def decode_parts(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Decodes a part map and resizes it by true nearest neighbour, so that no class is invented.

    Args:
        data: Single-channel 8-bit PNG, as a prepared split stores it.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W]`.
    """
    with Image.open(io.BytesIO(data)) as image:
        classes = np.asarray(image)
    rows = nearest_indices(classes.shape[0], image_size[0])
    columns = nearest_indices(classes.shape[1], image_size[1])
    return classes[rows[:, None], columns]


def nearest_indices(source: int, target: int) -> np.ndarray:
    """Index of the source pixel under the centre of each target pixel, int64 `[target]`.

    floor((i + 1/2) · source / target), in whole numbers, so that every loader picks the same one.
    """
    return (2 * np.arange(target, dtype=np.int64) + 1) * source // (2 * target)
