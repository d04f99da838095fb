"""The k nearest gallery rows of every query, from blocks of the gallery as they pass.

Memory is bounded by the size of a block, whatever the size of the gallery. A distance is
`base + scale × product / shared`: with `shared` 1 that is the squared Euclidean or the cosine
distance, and with it the number of parts that both pictures show, the mean over those parts.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from magnifier_jax.retrieval.descriptors import Descriptors
from magnifier_jax.retrieval.distances import (
    LANES,
    Blocks,
    Metric,
    even_blocks,
    inverse_norms,
    round_up,
)
from magnifier_jax.retrieval.extremes import smallest

# Where two pictures share no visible part: behind everything, but before padding.
_NOTHING_SHARED = np.finfo(np.float32).max


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest gallery rows, nearest first; ties in gallery order.

    Attributes:
      indices: int32 [Nq, k].
      distances: float32 [Nq, k]; infinite where query and gallery picture share no visible part.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Side:
    """One block of rows as the kernel reads it.

    Attributes:
      vectors: float32 [B, D].
      norms: float32 [B], squared; infinite for rows that are only padding.
      visible: float32 [B, parts], 1 where a part is seen; None to compare whole pictures.
    """

    vectors: jax.Array | NDArray[np.float32]
    norms: jax.Array | NDArray[np.float32]
    visible: jax.Array | NDArray[np.float32] | None


def _distances(query: Side, gallery: Side, *, metric: Metric) -> jax.Array:
    product = functools.partial(
        jax.lax.dot_general,
        dimension_numbers=(((1,), (1,)), ((), ())),
        precision=jax.lax.Precision.HIGHEST,
    )
    dots = product(query.vectors, gallery.vectors)
    padding = jnp.isinf(gallery.norms)[None, :]
    if gallery.visible is not None and query.visible is not None:
        shared = product(query.visible, gallery.visible)
        alike = jnp.where(shared > 0, 1 - dots / jnp.maximum(shared, 1), _NOTHING_SHARED)
        return jnp.where(padding, jnp.inf, alike)
    if metric == "euclidean":
        squared = query.norms[:, None] + gallery.norms[None, :] - 2 * dots
        return jnp.sqrt(jnp.maximum(squared, 0))
    lengths = jnp.sqrt(query.norms[:, None] * gallery.norms[None, :])
    return jnp.where(padding, jnp.inf, 1 - jnp.where(lengths > 0, dots / lengths, 0))


@functools.partial(
    jax.jit, static_argnames=("mesh", "metric"), donate_argnames=("distances", "indices")
)
def _merge(
    distances: jax.Array,
    indices: jax.Array,
    query: Side,
    gallery: Side,
    start: jax.Array,
    *,
    mesh: Mesh,
    metric: Metric,
) -> tuple[jax.Array, jax.Array]:
    """The k nearest of those so far and of one more block, which comes later in the gallery."""

    def on_device(
        distances: jax.Array, indices: jax.Array, query: Side, gallery: Side, start: jax.Array
    ) -> tuple[jax.Array, jax.Array]:
        k = distances.shape[1]
        found = _distances(query, gallery, metric=metric)
        nearest, places = smallest(found, min(k, found.shape[1]))
        both = jnp.concatenate([distances, nearest], axis=1)
        both_indices = jnp.concatenate([indices, places + start], axis=1)
        nearest, places = smallest(both, k)
        return nearest, jnp.take_along_axis(both_indices, places, axis=1)

    rows, everywhere = P(*mesh.axis_names), P()
    return jax.shard_map(
        on_device,
        mesh=mesh,
        in_specs=(rows, rows, rows, everywhere, everywhere),
        out_specs=rows,
    )(distances, indices, query, gallery, start)


@dataclasses.dataclass(frozen=True)
class Searchable:
    """Rows of a set that can be searched, handed out block by block.

    Attributes:
      descriptors: What is compared.
      visible: bool [N, parts], or None to compare whole pictures.
    """

    descriptors: Descriptors
    visible: NDArray[np.bool_] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.descriptors)

    def side(self, start: int, *, rows: int, padding: float) -> Side:
        """Rows `start : start + rows`, padded; `padding` is the squared norm of padded rows."""
        norms = np.full(rows, padding, np.float32)
        part = self.descriptors.squared_norms[start : start + rows]
        norms[: len(part)] = part
        vectors = self.descriptors.block(start, rows=rows)
        if self.visible is None:
            return Side(vectors=vectors, norms=norms, visible=None)
        seen = self.visible[start : start + rows].astype(np.float32)
        parts = seen.shape[1]
        visible = np.zeros((rows, parts), np.float32)
        visible[: len(seen)] = seen
        # Hidden parts contribute nothing, and seen ones their cosine.
        by_part = vectors.reshape(rows, parts, -1)
        inverse = inverse_norms(np.einsum("npd,npd->np", by_part, by_part))
        by_part = by_part * (inverse * visible)[:, :, None]
        return Side(vectors=by_part.reshape(rows, -1), norms=norms, visible=visible)


def gallery_rows(gallery: Searchable, *, blocks: Blocks) -> int:
    """Gallery rows in one block: as asked for, or fewer if the gallery is small."""
    return even_blocks(len(gallery), most=round_up(blocks.gallery_rows, LANES), unit=LANES)


def gallery_blocks(gallery: Searchable, *, blocks: Blocks, mesh: Mesh) -> Iterator[Side]:
    """The gallery block by block, each on all devices."""
    rows = gallery_rows(gallery, blocks=blocks)
    everywhere = NamedSharding(mesh, P())
    for start in range(0, len(gallery), rows):
        yield jax.device_put(gallery.side(start, rows=rows, padding=np.inf), everywhere)


def find_nearest(
    query: Searchable,
    gallery: Searchable,
    *,
    k: int,
    metric: Metric,
    blocks: Blocks,
    on_device: list[Side] | None = None,
) -> Nearest:
    """Exact k nearest gallery rows of every query.

    Args:
      query: What is searched for.
      gallery: What is searched.
      k: At most the size of the gallery.
      metric: 'euclidean' or 'cosine'; parts are always compared by cosine.
      blocks: How much is worked on at a time, and on which devices.
      on_device: The gallery's blocks if they are kept on the devices.
    """
    mesh = blocks.mesh()
    by_row = NamedSharding(mesh, P(*mesh.axis_names))
    step = gallery_rows(gallery, blocks=blocks)
    rows = even_blocks(len(query), most=blocks.row_bytes // (4 * step), unit=8 * mesh.size)
    indices = np.empty((len(query), k), np.int32)
    distances = np.empty((len(query), k), np.float32)
    for first in range(0, len(query), rows):
        side = jax.device_put(query.side(first, rows=rows, padding=0), by_row)
        state = (
            jnp.full((rows, k), jnp.inf, jnp.float32, device=by_row),
            jnp.full((rows, k), -1, jnp.int32, device=by_row),
        )
        sides = on_device or gallery_blocks(gallery, blocks=blocks, mesh=mesh)
        for number, part in enumerate(sides):
            state[0].block_until_ready()
            start = np.int32(number * step)
            state = _merge(*state, side, part, start, mesh=mesh, metric=metric)
        real = min(rows, len(query) - first)
        distances[first : first + real] = np.asarray(state[0])[:real]
        distances[distances == _NOTHING_SHARED] = np.inf
        indices[first : first + real] = np.asarray(state[1])[:real]
    return Nearest(indices=indices, distances=distances)
