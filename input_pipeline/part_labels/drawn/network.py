"""The part parser: a small fully convolutional network in the shape of a U."""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp
from flax import linen as nn

from input_pipeline.dataset import NUM_PARTS

PADDING = 115
"""Gray level around images of other proportions than the parser's."""


@dataclasses.dataclass(frozen=True)
class Size:
    """What decides the shapes of a parser's arrays.

    Attributes:
        height: Height of the input, in pixels; a multiple of 16.
        width: Width of the input, in pixels; a multiple of 16.
        channels: Channels at a half, a quarter, an eighth and a sixteenth of the input's size;
            multiples of 8.
        blocks: Residual blocks at each of these sizes on the way down.
    """

    height: int = 96
    width: int = 48
    channels: tuple[int, ...] = (16, 32, 64, 128)
    blocks: tuple[int, ...] = (0, 2, 3, 3)


class Residual(nn.Module):
    """Two 3 × 3 convolutions beside the identity, `[N, h, w, C]` to the same shape."""

    @nn.compact
    def __call__(self, x: jax.Array) -> jax.Array:
        """Features `[N, h, w, C]` to features of the same shape."""
        channels = x.shape[-1]
        y = nn.relu(_norm()(_conv(channels)(x)))
        return nn.relu(x + _norm()(_conv(channels)(y)))


class Parser(nn.Module):
    """Images to the logits of the eight classes, at half the image's height and width.

    Group normalization looks at each image alone: an image's part map depends on no other, and a
    color cast or a weak contrast is mostly undone before it spreads.
    """

    size: Size = Size()

    @nn.compact
    def __call__(self, images: jax.Array) -> jax.Array:
        """Images `[N, H, W, 3]` with values of about -1 to 1, to logits `[N, H/2, W/2, 8]`."""
        x = images
        kept = []
        for channels, blocks in zip(self.size.channels, self.size.blocks, strict=True):
            x = nn.relu(_norm()(_conv(channels, stride=2)(x)))
            for _ in range(blocks):
                x = Residual()(x)
            kept.append(x)
        whole = jnp.mean(x, axis=(1, 2), keepdims=True)
        x = x + nn.Dense(x.shape[-1])(nn.relu(nn.Dense(x.shape[-1])(whole)))
        for skip in reversed(kept[:-1]):
            channels = skip.shape[-1]
            x = nn.Conv(channels, (1, 1), use_bias=False)(x)
            x = nn.relu(_norm()(_double(x) + nn.Conv(channels, (1, 1), use_bias=False)(skip)))
            x = nn.relu(_norm()(_conv(channels)(x)))
        return nn.Conv(NUM_PARTS, (3, 3))(x)


def normalize(images: jax.Array) -> jax.Array:
    """Images uint8 `[N, H, W, 3]` as the parser takes them; `PADDING` becomes 0."""
    return (jnp.asarray(images, jnp.float32) - PADDING) / 64.0


def _conv(channels: int, *, stride: int = 1) -> nn.Conv:
    return nn.Conv(channels, (3, 3), strides=stride, use_bias=False)


def _norm() -> nn.GroupNorm:
    return nn.GroupNorm(num_groups=None, group_size=8)


def _double(x: jax.Array) -> jax.Array:
    """Twice the height and width of `[N, h, w, C]`, each value repeated."""
    count, height, width, channels = x.shape
    x = jnp.broadcast_to(x[:, :, None, :, None, :], (count, height, 2, width, 2, channels))
    return x.reshape(count, 2 * height, 2 * width, channels)
