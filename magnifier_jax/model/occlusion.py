"""Semantic occlusion: body parts of the feature map are hidden at random."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import jax
import jax.numpy as jnp


@dataclasses.dataclass(frozen=True)
class OcclusionGroup:
    """Parts of which `count` are hidden together, drawn without replacement."""

    parts: tuple[int, ...]
    count: int


def draw_occluded_parts(
    key: jax.Array,
    groups: Sequence[OcclusionGroup],
    *,
    num_parts: int,
    images: int | None = None,
) -> jax.Array:
    """Draws which parts are hidden.

    Args:
        key: Random key; consumed.
        groups: What is drawn together; published: 2 of the 4 parts of the upper body and 1 of
            the 3 of the lower body.
        num_parts: Number of part classes P.
        images: None draws once for the whole batch, as published; a number draws for each.

    Returns:
        Booleans `[images or 1, P]`, True for a hidden part.
    """
    rows = 1 if images is None else images
    hidden = jnp.zeros((rows, num_parts), bool)
    for index, group in enumerate(groups):
        scores = jax.random.uniform(jax.random.fold_in(key, index), (rows, len(group.parts)))
        order = jnp.argsort(jnp.argsort(scores, axis=1), axis=1)
        hidden = hidden.at[:, jnp.array(group.parts, int)].set(order < group.count)
    return hidden


def visibility_mask(part_map: jax.Array, hidden: jax.Array) -> jax.Array:
    """1 where the part of a cell is visible, 0 where it is hidden.

    Args:
        part_map: Part classes `[N, h, w]`.
        hidden: Booleans `[N or 1, P]`.

    Returns:
        float32 `[N, h, w]`.
    """
    one_hot = jax.nn.one_hot(part_map, hidden.shape[1], dtype=jnp.float32)
    covered = (one_hot * hidden[:, None, None, :].astype(jnp.float32)).sum(-1)
    return 1.0 - covered
