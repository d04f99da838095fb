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
import scipy.sparse
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

_PAIRS_AT_ONCE = 2**21


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

    Sets are rows of sparse matrices, some rows at a time, so that memory grows with N·k.

    Args:
      indices: int32 [N, k1 + 1], nearest first.
      half: Length of the shorter lists that the neighbors' own sets are made from.

    Returns:
      `row_starts` int64 [N + 1] and `members` int32 [M]: those of image i are
      `members[row_starts[i] : row_starts[i + 1]]`, ascending, each once.
    """
    total = len(indices)
    own, short = _reciprocal(indices), _reciprocal(indices[:, :half])
    sizes, holders = np.diff(short.indptr), short.T.tocsr()
    # How many sets share a member with each set, at most.
    most = np.minimum(own @ np.diff(holders.indptr), total).astype(np.int64)
    before = np.concatenate([[0], np.cumsum(most)])
    counts, members, start = [np.zeros(1, np.int64)], [], 0
    while start < total:
        stop = int(np.searchsorted(before, before[start] + _PAIRS_AT_ONCE, side="right")) - 1
        stop = min(max(stop, start + 1), total)
        sets = _expand(own[start:stop], short, holders, sizes=sizes)
        counts.append(np.diff(sets.indptr).astype(np.int64))
        members.append(sets.indices.astype(np.int32))
        start = stop
    return np.cumsum(np.concatenate(counts)), np.concatenate(members)


def _reciprocal(indices: NDArray[np.int32]) -> scipy.sparse.csr_array:
    """For each image those in its list that have it in their own: sparse int32 [N, N], 0 or 1."""
    total, k = indices.shape
    ends = np.arange(0, indices.size + 1, k)
    ones = np.ones(indices.size, np.int32)
    listed = scipy.sparse.csr_array((ones, indices.reshape(-1), ends), shape=(total, total))
    listed.sort_indices()
    return listed.multiply(listed.T.tocsr()).tocsr()


def _expand(
    own: scipy.sparse.csr_array,
    short: scipy.sparse.csr_array,
    holders: scipy.sparse.csr_array,
    *,
    sizes: NDArray[np.integer],
) -> scipy.sparse.csr_array:
    """Some images' own sets with the shorter sets of those members that share most of theirs."""
    shared = own.multiply(own @ holders).tocsr()
    # More than two thirds, in whole numbers.
    shared.data = (3 * shared.data > 2 * sizes[shared.indices]).astype(np.int32)
    shared.eliminate_zeros()
    sets = (own + shared @ short).tocsr()
    sets.sum_duplicates()
    return sets
