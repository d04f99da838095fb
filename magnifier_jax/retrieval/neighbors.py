"""Nearest neighbors of every image, and which of them are reciprocal.

First half of k-reciprocal encoding (Zhong et al., "Re-ranking Person Re-identification with
k-reciprocal Encoding", CVPR 2017). Everything is kept as lists of k neighbors an image.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from magnifier_jax.retrieval.descriptors import Descriptors
from magnifier_jax.retrieval.distances import (
    Metric,
    Plan,
    RowBlock,
    inverse_norms,
    largest,
    smallest,
    stream_all_pairs,
)

_ROWS_AT_ONCE = 1024


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """The nearest images to every image, itself included.

    Attributes:
      indices: int32 [N, k], nearest first; ties in order of the images.
      squared: float32 [N, k], squared distances.
      farthest: float32 [N], squared distance to the farthest image; never 0.
    """

    indices: NDArray[np.int32]
    squared: NDArray[np.float32]
    farthest: NDArray[np.float32]


@dataclasses.dataclass(frozen=True)
class SquaredTerms:
    """What turns a streamed row into squared distances: shift + scale × row.

    Attributes:
      shift: float32 [N].
      scale: float32 [N].
    """

    shift: NDArray[np.float32]
    scale: NDArray[np.float32]

    @classmethod
    def of(cls, descriptors: Descriptors, *, metric: Metric) -> SquaredTerms:
        """Terms of ‖a − b‖² (Euclidean), or of the same between unit vectors (cosine)."""
        if metric == "euclidean":
            ones = np.ones(len(descriptors), np.float32)
            return cls(shift=descriptors.squared_norms, scale=ones)
        inverse = inverse_norms(descriptors.squared_norms)
        return cls(shift=np.full(len(descriptors), 2, np.float32), scale=2 * inverse)


@functools.partial(jax.jit, static_argnames=("k", "total", "mesh"))
def _nearest(
    rows: jax.Array, shift: jax.Array, scale: jax.Array, *, k: int, total: int, mesh: Mesh
) -> tuple[jax.Array, jax.Array, jax.Array]:
    def on_device(
        rows: jax.Array, shift: jax.Array, scale: jax.Array
    ) -> tuple[jax.Array, jax.Array, jax.Array]:
        nearest, indices = smallest(rows, k)
        farthest = largest(rows, total)
        squared = jnp.maximum(shift[:, None] + scale[:, None] * nearest, 0)
        return indices, squared, shift + scale * farthest

    spec = P(*mesh.axis_names)
    return jax.shard_map(on_device, mesh=mesh, in_specs=(spec, spec, spec), out_specs=spec)(
        rows, shift, scale
    )


def find_neighbors(
    everyone: Descriptors,
    *,
    k: int,
    metric: Metric,
    plan: Plan,
    mesh: Mesh,
    look: Callable[[RowBlock], None],
) -> Neighbors:
    """Lists the nearest images to every image.

    Args:
      everyone: Descriptors [N, D].
      k: Neighbors an image, at most N.
      metric: 'euclidean' or 'cosine'.
      plan: How all pairs are gone through.
      mesh: The devices.
      look: Called with every block of distances as it passes.
    """
    terms = SquaredTerms.of(everyone, metric=metric)
    by_row = NamedSharding(mesh, P(*mesh.axis_names))
    total = len(everyone)
    indices = np.empty((total, k), np.int32)
    squared = np.empty((total, k), np.float32)
    farthest = np.empty(total, np.float32)
    for block in stream_all_pairs(everyone, metric=metric, plan=plan, mesh=mesh):
        chosen = slice(block.start, block.start + block.count)
        padding = (0, plan.layout.query_rows - block.count)
        put = jax.device_put(
            (np.pad(terms.shift[chosen], padding), np.pad(terms.scale[chosen], padding)), by_row
        )
        found = _nearest(block.values, *put, k=k, total=total, mesh=mesh)
        look(block)
        indices[chosen], squared[chosen], farthest[chosen] = (
            np.asarray(part)[: block.count] for part in found
        )
    farthest[farthest <= 0] = 1
    return Neighbors(indices=indices, squared=squared, farthest=farthest)


def _reciprocal(image: jax.Array, near: jax.Array, lists: jax.Array) -> jax.Array:
    """Whether each image is in the lists of those near it: bool [B, k]."""
    return jnp.any(lists[near] == image[:, None, None], axis=2)


@functools.partial(jax.jit, static_argnames="half")
def _expand(
    image: jax.Array, lists: jax.Array, half_mutual: jax.Array, *, half: int
) -> tuple[jax.Array, jax.Array]:
    """Reciprocal neighbors [B, k] and those their own add [B, k, half]; -1 where there is none."""
    near = lists[image]
    mutual = _reciprocal(image, near, lists)
    own = jnp.where(mutual, near, -1)
    theirs = jnp.where(half_mutual[near], lists[near][:, :, :half], -2)
    shared = jnp.any(theirs[:, :, :, None] == own[:, None, None, :], axis=3)
    # More than two thirds, in whole numbers.
    alike = 3 * jnp.sum(shared, axis=2) > 2 * jnp.sum(half_mutual[near], axis=2)
    added = jnp.where((mutual & alike)[:, :, None] & (theirs >= 0), theirs, -1)
    return own, added


_reciprocal_jitted = jax.jit(_reciprocal)


def reciprocal_sets(
    indices: NDArray[np.int32], *, half: int, mesh: Mesh
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The expanded set of k-reciprocal neighbors of every image.

    Args:
      indices: int32 [N, k1 + 1], nearest first.
      half: Length of the shorter lists that the neighbors' own sets are made from.
      mesh: The devices.

    Returns:
      `row_starts` int64 [N + 1] and `members` int32 [M]: those of image i are
      `members[row_starts[i] : row_starts[i + 1]]`, ascending, each once.
    """
    total = len(indices)
    rows = min(_ROWS_AT_ONCE, -(-total // mesh.size)) * mesh.size
    by_row, everywhere = NamedSharding(mesh, P(*mesh.axis_names)), NamedSharding(mesh, P())
    lists = jax.device_put(indices, everywhere)
    short = jax.device_put(np.ascontiguousarray(indices[:, :half]), everywhere)
    starts = range(0, total, rows)
    images = [
        jax.device_put(np.minimum(np.arange(start, start + rows), total - 1), by_row)
        for start in starts
    ]
    half_mutual = np.concatenate(
        [np.asarray(_reciprocal_jitted(some, short[some], short)) for some in images]
    )[:total]
    on_devices = jax.device_put(half_mutual, everywhere)
    counts, members = [np.zeros(1, np.int64)], []
    for start, some in zip(starts, images, strict=True):
        real = min(rows, total - start)
        own, added = (
            np.asarray(part)[:real] for part in _expand(some, lists, on_devices, half=half)
        )
        sets = np.concatenate([own, added.reshape(real, -1)], axis=1)
        row, place = np.nonzero(sets >= 0)
        keys = np.unique(row * np.int64(total) + sets[row, place])
        counts.append(np.bincount(keys // total, minlength=real))
        members.append((keys % total).astype(np.int32))
    return np.cumsum(np.concatenate(counts)), np.concatenate(members)
