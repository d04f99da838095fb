"""Random changes of color and sharpness, as other cameras and other light would make them."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from jax.typing import ArrayLike

from magnifier_jax.settings import setting

LUMA = (0.299, 0.587, 0.114)
"""Shares of red, green and blue in gray (ITU-R BT.601)."""
# From RGB to YIQ (NTSC, 1953), in which turning the last two axes changes the hue alone.
_YIQ = (LUMA, (0.595716, -0.274453, -0.321263), (0.211456, -0.522591, 0.311135))
_BLUR_REACH = 3  # pixels to either side


def _strength(default: float, comment: str, *, high: float = 1) -> float:
    found: float = setting(
        default, comment, low=0, high=high, need=f"between 0 and {high:g}", added=True
    )
    return found


@dataclasses.dataclass(frozen=True)
class ColorSettings:
    """How colors are varied; nothing is by default, as published."""

    jitter: float = _strength(
        0.0,
        "Probability that the colors of an image are changed, by all of the following; 0 never.",
    )
    brightness: float = _strength(0.3, "… multiplied by up to 1 plus or minus this …")
    contrast: float = _strength(0.3, "… around the image's mean gray, likewise …")
    saturation: float = _strength(0.3, "… around each pixel's own gray, likewise …")
    cast: float = _strength(
        0.1, "… each channel by itself, likewise, as another white balance would …"
    )
    hue: float = _strength(0.03, "… with hues turned by up to this share of the circle …", high=0.5)
    gamma: float = _strength(0.2, "… and raised to a power between 2^-(this) and 2^(this).", high=3)
    gray: float = _strength(0.0, "Probability that an image is made gray.")
    blur: float = _strength(0.0, "Probability that an image is blurred …")
    blur_sigma: float = _strength(
        1.2, "… by a Gaussian of up to this standard deviation in pixels.", high=3
    )

    @property
    def varies_colors(self) -> bool:
        """Whether anything is changed."""
        return bool(self.jitter or self.gray or self.blur)


def vary_colors(key: jax.Array, images: jax.Array, settings: ColorSettings) -> jax.Array:
    """Changes the colors of some images, makes some gray and blurs some.

    Args:
        key: Random key; consumed.
        images: RGB in 0…1, float32 `[N, H, W, 3]`.
        settings: How often and how much.

    Returns:
        Images in 0…1 of the same shape.
    """
    jitter_key, gray_key, blur_key = jax.random.split(key, 3)
    count = images.shape[0]
    if settings.jitter:
        do_key, how_key = jax.random.split(jitter_key)
        do = jax.random.bernoulli(do_key, settings.jitter, (count, 1, 1, 1))
        images = jnp.where(do, _jitter(how_key, images, settings), images)
    if settings.gray:
        do = jax.random.bernoulli(gray_key, settings.gray, (count, 1, 1, 1))
        images = jnp.where(do, luma(images), images)
    if settings.blur:
        do_key, how_key = jax.random.split(blur_key)
        do = jax.random.bernoulli(do_key, settings.blur, (count, 1, 1, 1))
        sigma = jax.random.uniform(how_key, (count,), minval=0.1, maxval=settings.blur_sigma)
        images = jnp.where(do, blurred(images, sigma), images)
    return images


def _jitter(key: jax.Array, images: jax.Array, settings: ColorSettings) -> jax.Array:
    keys = jax.random.split(key, 6)
    count = images.shape[0]

    def around_one(number: int, strength: float, channels: int = 1) -> jax.Array:
        shape = (count, 1, 1, channels)
        return 1 + strength * jax.random.uniform(keys[number], shape, minval=-1, maxval=1)

    images = adjusted(
        images,
        gain=around_one(0, settings.brightness) * around_one(1, settings.cast, 3),
        contrast=around_one(2, settings.contrast),
        saturation=around_one(3, settings.saturation),
        turn=around_one(4, settings.hue) - 1,
    )
    return images ** (2 ** (around_one(5, settings.gamma) - 1))


def adjusted(
    images: jax.Array,
    *,
    gain: ArrayLike = 1.0,
    contrast: ArrayLike = 1.0,
    saturation: ArrayLike = 1.0,
    turn: ArrayLike = 0.0,
) -> jax.Array:
    """Multiplies, spreads and turns colors.

    Args:
        images: RGB in 0…1, `[N, H, W, 3]`.
        gain: Factor of everything or of each channel, `[N, 1, 1, 1 or 3]` or a scalar.
        contrast: Factor of the distance from the image's mean gray, `[N, 1, 1, 1]` or a scalar.
        saturation: Factor of the distance from each pixel's gray, likewise.
        turn: Share of the circle that hues are turned by, likewise.

    Returns:
        The same shape, clipped to 0…1.
    """
    gain, contrast, saturation, turn = (
        jnp.broadcast_to(
            value, (images.shape[0], 1, 1, jnp.shape(value)[-1] if jnp.ndim(value) else 1)
        )
        for value in (gain, contrast, saturation, turn)
    )
    images = images * gain
    mean = luma(images).mean((1, 2), keepdims=True)
    images = mean + contrast * (images - mean)
    # In YIQ, gray is the first axis, hue the angle of the others and saturation their length.
    to_yiq = jnp.array(_YIQ, images.dtype)
    cosine, sine = (saturation * f(2 * jnp.pi * turn) for f in (jnp.cos, jnp.sin))
    one, zero = jnp.ones_like(cosine), jnp.zeros_like(cosine)
    rows = ((one, zero, zero), (zero, cosine, -sine), (zero, sine, cosine))
    change = jnp.stack([jnp.concatenate(row, axis=-1)[:, 0, 0] for row in rows], axis=1)
    whole = jnp.einsum("ij,njk,kl->nil", jnp.linalg.inv(to_yiq), change, to_yiq)
    return jnp.clip(jnp.einsum("nhwc,ndc->nhwd", images, whole), 0, 1)


def luma(images: jax.Array) -> jax.Array:
    """The gray of each pixel, `[N, H, W, 3]` to `[N, H, W, 1]`."""
    return (images * jnp.array(LUMA, images.dtype)[None, None, None]).sum(-1, keepdims=True)


def blurred(images: jax.Array, sigma: jax.Array) -> jax.Array:
    """Gaussian blur over 7 × 7 pixels, whose border continues; `sigma` is `[N]`, in pixels."""
    offsets = jnp.arange(-_BLUR_REACH, _BLUR_REACH + 1)
    weights = jnp.exp(-jnp.square(offsets[None] / sigma[:, None]) / 2)
    weights = weights / weights.sum(1, keepdims=True)
    for axis in (1, 2):
        pad = [(0, 0)] * 4
        pad[axis] = (_BLUR_REACH, _BLUR_REACH)
        padded = jnp.pad(images, pad, mode="edge")
        size = images.shape[axis]
        images = sum(
            (
                weights[:, i, None, None, None]
                * jax.lax.slice_in_dim(padded, i, i + size, axis=axis)
                for i in range(2 * _BLUR_REACH + 1)
            ),
            jnp.zeros_like(images),
        )
    return images
