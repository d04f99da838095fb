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

from magnifier_jax.retrieval.descriptors import Descriptors, Metric
from magnifier_jax.retrieval.distances import (
    Plan,
    RowBlock,
    inverse_norms,
    largest,
    smallest,
    stream_all_pairs,
)

_ADDED_AT_ONCE = 2**21


@dataclasses.dataclass(frozen=True)
class Neighbors:
    """The nearest images to every image, itself included.

    Attributes:
      indices: int32 [N, k], nearest first; ties in order of the images.
      squared: [N, k], squared distances, in the type of the descriptors.
      farthest: [N], squared distance to the farthest image; never 0.
    """

    indices: NDArray[np.int32]
    squared: NDArray[np.floating]
    farthest: NDArray[np.floating]


@dataclasses.dataclass(frozen=True)
class SquaredTerms:
    """What turns a streamed row into squared distances: shift + scale × row.

    Attributes:
      shift: [N], in the type of the descriptors.
      scale: [N].
    """

    shift: NDArray[np.floating]
    scale: NDArray[np.floating]

    @classmethod
    def of(cls, descriptors: Descriptors, *, metric: Metric) -> SquaredTerms:
        """Terms of ‖a − b‖² (Euclidean), or of the same between unit vectors (cosine)."""
        if metric == "euclidean":
            ones = np.ones(len(descriptors), descriptors.dtype)
            return cls(shift=descriptors.squared_norms, scale=ones)
        inverse = inverse_norms(descriptors.squared_norms)
        return cls(shift=np.full(len(descriptors), 2, descriptors.dtype), scale=2 * inverse)


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
    squared = np.empty((total, k), everyone.dtype)
    farthest = np.empty(total, everyone.dtype)
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


def reciprocal_sets(
    indices: NDArray[np.int32], *, half: int
) -> tuple[NDArray[np.int64], NDArray[np.int32]]:
    """The expanded set of k-reciprocal neighbors of every image.

    Lists are looked up in each other as sorted pairs, so that memory grows with N·k, not with N·k².

    Args:
      indices: int32 [N, k1 + 1], nearest first.
      half: Length of the shorter lists that the neighbors' own sets are made from.

    Returns:
      `row_starts` int64 [N + 1] and `members` int32 [M]: those of image i are
      `members[row_starts[i] : row_starts[i + 1]]`, ascending, each once.
    """
    total = len(indices)
    own = _Sets.reciprocal(indices)
    short = _Sets.reciprocal(indices[:, :half])
    counts = np.diff(short.starts)[own.members]
    before = np.concatenate([[0], np.cumsum(counts)])[own.starts]
    found, sizes, start = [], np.zeros(total, np.int64), 0
    while start < total:
        stop = int(np.searchsorted(before, before[start] + _ADDED_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), total)
        keys = _expand(own, short, start, stop=stop)
        sizes[start:stop] = np.bincount(keys // total - start, minlength=stop - start)
        found.append((keys % total).astype(np.int32))
        start = stop
    return np.concatenate([[0], np.cumsum(sizes)]), np.concatenate(found)


@dataclasses.dataclass(frozen=True)
class _Sets:
    """A set of images for each image.

    Attributes:
      starts: int64 [N + 1], where each begins in `members`.
      members: int32 [M], ascending for each image.
    """

    starts: NDArray[np.int64]
    members: NDArray[np.int32]

    @classmethod
    def reciprocal(cls, indices: NDArray[np.int32]) -> _Sets:
        """Those in each image's list that have it in their own."""
        total, k = indices.shape
        members = np.sort(indices, axis=1).reshape(-1)
        rows = np.repeat(np.arange(total), k)
        keys = rows * total + members
        mutual = _found(members * np.int64(total) + rows, keys)
        sizes = mutual.reshape(total, k).sum(axis=1)
        return cls(np.concatenate([[0], np.cumsum(sizes)]), members[mutual])

    def keys(self, start: int, stop: int) -> NDArray[np.int64]:
        """Image · N + member, ascending, of the sets `start : stop`."""
        sizes = np.diff(self.starts[start : stop + 1])
        rows = np.repeat(np.arange(start, stop), sizes)
        total = len(self.starts) - 1
        return rows * total + self.members[self.starts[start] : self.starts[stop]]


def _expand(own: _Sets, short: _Sets, start: int, *, stop: int) -> NDArray[np.int64]:
    """Keys of the sets `start : stop` with what their members' shorter sets add, each once."""
    total = len(own.starts) - 1
    keys = own.keys(start, stop)
    row, member = keys // total, keys % total
    sizes = np.diff(short.starts)[member]
    # Every member's shorter set, one after the other.
    pair = np.repeat(np.arange(len(keys)), sizes)
    places = np.arange(len(pair)) - np.repeat(
        np.cumsum(sizes) - sizes - short.starts[member], sizes
    )
    added = row[pair] * total + short.members[places]
    known = _found(added, keys)
    shared = np.bincount(pair[known], minlength=len(keys))
    # More than two thirds, in whole numbers.
    alike = 3 * shared > 2 * sizes
    together = np.sort(np.concatenate([keys, added[alike[pair] & ~known]]))
    return together[np.diff(together, prepend=-1) > 0]


def _found(wanted: NDArray[np.int64], keys: NDArray[np.int64]) -> NDArray[np.bool_]:
    """Which of the wanted numbers are among the ascending keys."""
    places = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
    return keys[places] == wanted
