"""Max-pooling of a feature map over the cells of each body part."""

from __future__ import annotations

import functools

import jax
import jax.numpy as jnp


def max_of_cells(features: jax.Array) -> jax.Array:
    """The maximum of each channel over the cells, `[N, h, w, C]` to `[N, C]`.

    The gradient goes to one cell, the first of equals. That of `max` looks for cells equal to it,
    and is undefined when XLA computes the features anew for that and rounds otherwise.
    """
    cells = features.reshape(features.shape[0], -1, features.shape[-1])
    return jnp.take_along_axis(cells, cells.argmax(1, keepdims=True), axis=1)[:, 0]


def part_max_pool(features: jax.Array, part_map: jax.Array, *, num_parts: int) -> jax.Array:
    """The maximum of each channel over the cells of each part.

    The same numbers as multiplying the map by each part's 0/1 mask and max-pooling the P copies,
    for features that are not negative (they follow a ReLU); without holding the copies.

    Args:
        features: `[N, h, w, C]`, 0 or more.
        part_map: Part classes `[N, h, w]`, integers in [0, P).
        num_parts: P.

    Returns:
        `[N, P, C]`; zeros for a part that a picture does not show.
    """
    # XLA's CPU reductions are slow, its scatters are slow on accelerators.
    return jax.lax.platform_dependent(
        features,
        part_map,
        cpu=functools.partial(_by_scatter, num_parts=num_parts),
        default=functools.partial(_by_reduction, num_parts=num_parts),
    )


def _by_scatter(features: jax.Array, part_map: jax.Array, *, num_parts: int) -> jax.Array:
    n, h, w, channels = features.shape
    start = jnp.zeros((num_parts, channels), features.dtype)
    pool = jax.vmap(lambda cells, parts: start.at[parts].max(cells))
    return pool(features.reshape(n, h * w, channels), part_map.reshape(n, h * w))


def _by_reduction(features: jax.Array, part_map: jax.Array, *, num_parts: int) -> jax.Array:
    pooled = [
        max_of_cells(jnp.where((part_map == part)[..., None], features, 0))
        for part in range(num_parts)
    ]
    return jnp.stack(pooled, axis=1)
