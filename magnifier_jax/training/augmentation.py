"""Augmentation on the device: flip, pad and crop, change colors, normalize, erase.

Images and part maps move alike; colors and erasing touch the image only. What changes colors is in
`colors`.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

from magnifier_jax.settings import setting
from magnifier_jax.training.colors import ColorSettings, vary_colors

MEAN = (0.485, 0.456, 0.406)
STD = (0.229, 0.224, 0.225)
"""Of ImageNet's RGB images, in 0…1."""

# Random erasing draws a rectangle until one fits; after this many it gives up.
_ERASING_ATTEMPTS = 10


# Number of the key of what varies colors, apart from those that `augment` splits off.
_COLORS = 7


@dataclasses.dataclass(frozen=True)
class AugmentSettings(ColorSettings):
    """How training images are varied; random erasing is that of Zhong et al. (2017)."""

    flip: float = setting(
        0.5, "Probability of a horizontal flip.", low=0, high=1, need="between 0 and 1"
    )
    pad: int = setting(
        10,
        "Black pixels around the image before a random crop at its former size.",
        low=0,
        high=8192,
        need="0 or more, and less than the shorter side of the image",
    )
    erasing: float = setting(
        0.5,
        "Probability of random erasing, after normalization; 0 for none.",
        low=0,
        high=1,
        need="between 0 and 1",
    )
    erasing_area: tuple[float, float] = setting(
        (0.02, 0.4),
        "Least and largest erased share of the image.",
        holds=lambda value: 0 <= value[0] <= value[1] <= 1 and value[1] > 0 and value[0] < 1,
        need="the least and the largest share, between 0 and 1 and not both 0 or both 1",
    )
    erasing_aspect: float = setting(
        0.3,
        "Least height-to-width ratio of the erased rectangle; the largest is its inverse.",
        low=0.001,
        high=1,
        need="above 0 and at most 1 (from 0.001)",
    )
    mix_styles: float = setting(
        0.0,
        "Probability that an image takes on part of the style of another one in the batch: of mean "
        "and standard deviation of each channel, after the first and after the second stage of the "
        "network (MixStyle).",
        low=0,
        high=1,
        need="between 0 and 1",
        added=True,
    )
    erasing_fill: tuple[float, float, float] = setting(
        MEAN,
        "What the normalized image gets there, per channel; published: the raw mean colors.",
        low=-1000,
        high=1000,
    )


def normalize(images: jax.Array) -> jax.Array:
    """RGB in 0…255, `[N, H, W, 3]`, to float32 of about zero mean and unit variance."""
    scale = 1 / (255 * jnp.array(STD, jnp.float32))
    offset = -jnp.array(MEAN, jnp.float32) / jnp.array(STD, jnp.float32)
    return images.astype(jnp.float32) * _channels(scale) + _channels(offset)


def augment(
    key: jax.Array, images: jax.Array, part_maps: jax.Array | None, settings: AugmentSettings
) -> tuple[jax.Array, jax.Array | None]:
    """Varies a batch.

    Args:
        key: Random key; consumed.
        images: uint8 `[N, H, W, 3]`.
        part_maps: uint8 `[N, H, W]` or None.
        settings: How.

    Returns:
        Normalized float32 images `[N, H, W, 3]` and part maps of the same size, with
        background where the crop left the image.
    """
    flip_key, crop_key, erase_key = jax.random.split(key, 3)
    count = images.shape[0]
    flips = jax.random.bernoulli(flip_key, settings.flip, (count,))
    corners = jax.random.randint(crop_key, (count, 2), 0, 2 * settings.pad + 1)

    def move(pixels: jax.Array) -> jax.Array:
        flipped = jnp.where(_expand(flips, pixels.ndim), pixels[:, :, ::-1], pixels)
        return _crop(flipped, corners, settings.pad)

    moved = move(images)
    if settings.varies_colors:
        color_key = jax.random.fold_in(key, _COLORS)
        moved = normalize(255 * vary_colors(color_key, moved.astype(jnp.float32) / 255, settings))
    else:
        moved = normalize(moved)
    maps = None if part_maps is None else move(part_maps)
    return random_erasing(erase_key, moved, settings), maps


def random_erasing(key: jax.Array, images: jax.Array, settings: AugmentSettings) -> jax.Array:
    """Fills one random rectangle of some images, `[N, H, W, 3]`; the key is consumed."""
    if settings.erasing == 0:
        return images
    count, height, width, _ = images.shape
    do_key, area_key, aspect_key, corner_key = jax.random.split(key, 4)
    shape = (count, _ERASING_ATTEMPTS)
    low, high = settings.erasing_area
    area = jax.random.uniform(area_key, shape, minval=low, maxval=high) * height * width
    aspect = jax.random.uniform(
        aspect_key, shape, minval=settings.erasing_aspect, maxval=1 / settings.erasing_aspect
    )
    heights = jnp.round(jnp.sqrt(area * aspect)).astype(jnp.int32)
    widths = jnp.round(jnp.sqrt(area / aspect)).astype(jnp.int32)
    fits = (heights < height) & (widths < width)
    first = jnp.argmax(fits, axis=1, keepdims=True)
    tall = jnp.take_along_axis(heights, first, axis=1)
    wide = jnp.take_along_axis(widths, first, axis=1)

    place = jax.random.uniform(corner_key, (count, 2))
    top = jnp.floor(place[:, :1] * (height - tall + 1)).astype(jnp.int32)
    left = jnp.floor(place[:, 1:] * (width - wide + 1)).astype(jnp.int32)
    rows, columns = jnp.arange(height)[None], jnp.arange(width)[None]
    in_rows = (rows >= top) & (rows < top + tall)
    in_columns = (columns >= left) & (columns < left + wide)
    erase = jax.random.bernoulli(do_key, settings.erasing, (count, 1)) & fits.any(1, keepdims=True)
    inside = in_rows[:, :, None] & in_columns[:, None, :] & erase[:, :, None]
    fill = _channels(jnp.array(settings.erasing_fill, images.dtype))
    return jnp.where(inside[..., None], fill, images)


def _crop(pixels: jax.Array, corners: jax.Array, pad: int) -> jax.Array:
    if pad == 0:
        return pixels
    widths = [(0, 0), (pad, pad), (pad, pad)] + [(0, 0)] * (pixels.ndim - 3)
    padded = jnp.pad(pixels, widths)

    def one(image: jax.Array, corner: jax.Array) -> jax.Array:
        start = (corner[0], corner[1]) + (0,) * (image.ndim - 2)
        return jax.lax.dynamic_slice(image, start, pixels.shape[1:])

    return jax.vmap(one)(padded, corners)


def _channels(values: jax.Array) -> jax.Array:
    return values[None, None, None, :]


def _expand(flags: jax.Array, ndim: int) -> jax.Array:
    return flags.reshape(flags.shape + (1,) * (ndim - 1))
