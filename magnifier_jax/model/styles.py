"""Style mixing: an image borrows the contrast and the cast of another one's features.

Zhou et al., "Domain Generalization with MixStyle", ICLR 2021: mean and standard deviation of each
channel of an early feature map say what an image's style is, so mixtures of those of two images
stand for cameras that nobody has. The detached statistics, the Beta distribution with both
parameters 0.1 and the places, after the first and the second stage, are the paper's.
"""

from __future__ import annotations

import dataclasses

import jax
import jax.numpy as jnp

MIXED_STAGES = (0, 1)
"""Stages, counted from 0, after which styles are mixed."""

_BETA = 0.1
_EPSILON = 1e-6


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class StyleMix:
    """With whom each image mixes its style, for each of `MIXED_STAGES`.

    Attributes:
        partners: Positions in the batch, int32 `[2, N]`.
        shares: How much of its own style an image keeps, float32 `[2, N]`; 1 leaves it as it is.
    """

    partners: jax.Array
    shares: jax.Array


def draw_style_mix(key: jax.Array, probability: float, *, images: int) -> StyleMix:
    """Draws who mixes with whom.

    Args:
        key: Random key; consumed.
        probability: That an image is mixed, apart for each stage.
        images: Number of images N.
    """
    shape = (len(MIXED_STAGES), images)
    order_key, share_key, chance_key = jax.random.split(key, 3)
    orders = [
        jax.random.permutation(jax.random.fold_in(order_key, stage), images)
        for stage in MIXED_STAGES
    ]
    shares = jax.random.beta(share_key, _BETA, _BETA, shape)
    chosen = jax.random.bernoulli(chance_key, probability, shape)
    return StyleMix(jnp.stack(orders).astype(jnp.int32), jnp.where(chosen, shares, 1.0))


def mix_styles(x: jax.Array, mix: StyleMix, *, stage: int) -> jax.Array:
    """Gives each image of `[N, h, w, C]` the mixed style, if styles are mixed after this stage.

    Nothing is differentiated through the statistics.
    """
    if stage not in MIXED_STAGES:
        return x
    row = MIXED_STAGES.index(stage)
    partners = mix.partners[row]
    share = mix.shares[row, :, None, None, None]
    wide = x.astype(mix.shares.dtype)
    mean = wide.mean((1, 2), keepdims=True)
    centered = wide - mean
    deviation = jnp.sqrt(jnp.square(centered).mean((1, 2), keepdims=True) + _EPSILON)
    mean, deviation = jax.lax.stop_gradient((mean, deviation))
    spread = (deviation[partners] / deviation - 1) * (wide - mean)
    # As a change of x, so that an image that keeps its style keeps its bits.
    return (wide + (1 - share) * (spread + mean[partners] - mean)).astype(x.dtype)
