"""Encoded pictures and part maps to resized arrays, with Pillow."""

from __future__ import annotations

import io
from typing import Any

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
    with Image.open(io.BytesIO(data)) as image:
        return resize_image(image, image_size=image_size)


def resize_image(image: Image.Image, *, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes an opened RGB picture bilinearly, antialiased when it shrinks.

    Args:
        image: 8-bit RGB.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    height, width = image_size
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
    rows, columns = (
        nearest_indices(source, target, np.arange(target))
        for source, target in zip(classes.shape, image_size, strict=True)
    )
    # Two gathers are several times as fast as one over both axes.
    return classes.take(rows, axis=0).take(columns, axis=1)


def nearest_indices(source: Any, target: int, pixels: Any) -> Any:
    """Index of the source pixel under the centre of each target pixel.

    floor((i + 1/2) · source / target), in whole numbers, so that every loader picks the same one.

    Args:
        source: Length of the source, in pixels.
        target: Length of the target, in pixels.
        pixels: 0, 1, … target − 1 as NumPy array or tensor, `[target]`.

    Returns:
        Like `pixels`.
    """
    return (2 * pixels + 1) * source // (2 * target)
