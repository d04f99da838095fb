"""The smallest and the largest numbers of wide rows, faster than XLA finds them by itself."""

from __future__ import annotations

import jax
import jax.numpy as jnp

_GROUP = 32


def smallest(rows: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest values of each row, ties in order of their place.

    The k smallest values lie in the k groups of neighbouring places whose own smallest values are
    smallest, so that a top-k looks only at group minima and at the members of those groups.

    Args:
      rows: float32 [B, W], without NaN.
      k: At most W.

    Returns:
      Values float32 [B, k], ascending, and places int32 [B, k].
    """
    count, width = rows.shape
    if width % _GROUP or width < 4 * k * _GROUP:
        values, places = jax.lax.top_k(-rows, k)
        return -values, places
    groups = rows.reshape(count, -1, _GROUP)
    chosen = jnp.sort(jax.lax.top_k(-jnp.min(groups, axis=2), k)[1], axis=1)
    members = jnp.take_along_axis(groups, chosen[:, :, None], axis=1).reshape(count, -1)
    values, within = jax.lax.top_k(-members, k)
    places = jnp.take_along_axis(chosen, within // _GROUP, axis=1) * _GROUP + within % _GROUP
    return -values, places


def largest(rows: jax.Array, width: int) -> jax.Array:
    """The largest of the first `width` values of each row.

    Args:
      rows: float32 [B, W], W a multiple of 32; what lies beyond `width` is not looked at.
      width: At least 1.

    Returns:
      float32 [B].
    """
    # A slice of the whole would be copied first; one of the groups' maxima is small.
    whole = width // _GROUP
    rest = jnp.max(rows[:, whole * _GROUP : width], axis=1, initial=-jnp.inf)
    groups = jnp.max(rows.reshape(len(rows), -1, _GROUP), axis=2)
    return jnp.maximum(jnp.max(groups[:, :whole], axis=1, initial=-jnp.inf), rest)
