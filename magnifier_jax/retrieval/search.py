"""Exact search: the k nearest gallery rows of every query, within bounded memory.

A distance is `base + scale × product / shared`: with `shared` 1 that is the squared Euclidean or
the cosine distance, and with it the number of parts that both images show, the mean over these.
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

from magnifier_jax.retrieval.descriptors import (
    SQUARED_RANGE,
    Descriptors,
    Metric,
    unit_rows,
)
from magnifier_jax.retrieval.distances import (
    LANES,
    Blocks,
    even_blocks,
    inverse_norms,
    precision,
    smallest,
)
from magnifier_jax.retrieval.spacing import chosen_rows

_PAIR_BYTES = 2**23
_FEW = (8, 32)  # how many are picked of a block in which no more are near enough
_NEAR = 16  # times a squared distance, against both squared lengths: near, where it is less
# Where two images share no visible part: behind everything, but before padding.
_NOTHING_SHARED = np.finfo(np.float32).max


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest gallery rows, nearest first; ties in gallery order.

    Attributes:
      indices: int32 [Nq, k]; -1 behind the last one, where rows were excluded.
      distances: [Nq, k], in the type of the descriptors; infinite where query and gallery image
        share no visible part.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.floating]


@jax.tree_util.register_dataclass
@dataclasses.dataclass(frozen=True)
class Side:
    """One block of rows as the kernel reads it.

    Attributes:
      vectors: [B, D], in the type of the descriptors.
      norms: [B], squared; infinite for rows that are only padding.
      visible: [B, parts], 1 where a part is seen; None to compare whole images.
      groups: int32 [B, G], or None; see `Searchable`.
    """

    vectors: jax.Array | NDArray[np.floating]
    norms: jax.Array | NDArray[np.floating]
    visible: jax.Array | NDArray[np.floating] | None
    groups: jax.Array | NDArray[np.int32] | None = None


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
    lengths = jnp.sqrt(query.norms)[:, None] * jnp.sqrt(gallery.norms)[None, :]
    return jnp.where(padding, jnp.inf, 1 - jnp.where(lengths > 0, dots / lengths, 0))


def _with_nearer(
    distances: jax.Array, indices: jax.Array, found: jax.Array, start: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """The k nearest of those so far and of `found`, distances to rows from `start` on.

    The longer a search has gone on, the fewer rows of a block are among the nearest, and picking
    few of them is much quicker than picking k.
    """
    k = distances.shape[1]

    def among(count: int) -> tuple[jax.Array, jax.Array]:
        nearest, places = smallest(found, count)
        both = jnp.concatenate([distances, nearest], axis=1)
        both_indices = jnp.concatenate([indices, places + start], axis=1)
        nearest, places = smallest(both, k)
        return nearest, jnp.take_along_axis(both_indices, places, axis=1)

    every = min(k, found.shape[1])
    counts = [*(few for few in _FEW if few < every), every]
    # Of equal distances the earlier row stays.
    nearer = jnp.max(jnp.sum(found < distances[:, -1:], axis=1))
    case = sum((nearer > enough).astype(jnp.int32) for enough in (0, *counts[:-1]))
    merges = [functools.partial(among, count) for count in counts]
    return jax.lax.switch(case, [lambda: (distances, indices), *merges])


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
        found = _distances(query, gallery, metric=metric)
        if query.groups is not None and gallery.groups is not None:
            same = query.groups[:, None, :] == gallery.groups[None, :, :]
            found = jnp.where(jnp.any(same, axis=2), jnp.inf, found)
        return _with_nearer(distances, indices, found, start)

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
      visible: bool [N, parts], or None to compare whole images.
      groups: int32 [N, G], or None. A gallery row is no match of a query that has the same number
        in the same column, such as that of its camera; -1 in a gallery and -2 in a query stand for
        what is not known, and are the same as nothing.
    """

    descriptors: Descriptors
    visible: NDArray[np.bool_] | None = None
    groups: NDArray[np.int32] | None = None

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.descriptors)

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 or float64, in which distances are computed."""
        return self.descriptors.dtype

    def in_float64(self) -> Searchable:
        """Parts to be compared in float64; they need no center, for they have unit length."""
        norms = self.descriptors.squared_norms.astype(np.float64)
        descriptors = dataclasses.replace(self.descriptors, squared_norms=norms)
        return dataclasses.replace(self, descriptors=descriptors)

    def side(self, start: int, *, rows: int, padding: float) -> Side:
        """Rows `start : start + rows`, padded; `padding` is the squared norm of padded rows."""
        norms = np.full(rows, padding, self.dtype)
        part = self.descriptors.squared_norms[start : start + rows]
        norms[: len(part)] = part
        vectors = self.descriptors.block(start, rows=rows)
        if self.visible is None:
            return Side(vectors=vectors, norms=norms, visible=None)
        norms[: len(part)] = 1  # Only padding is looked for; parts have unit length.
        visible = np.zeros((rows, self.visible.shape[1]), self.dtype)
        visible[: len(part)] = self.visible[start : start + rows]
        return Side(vectors=_unit_parts(vectors, visible), norms=norms, visible=visible)

    def side_groups(self, start: int, *, rows: int) -> NDArray[np.int32] | None:
        """The groups of rows `start : start + rows`, padded."""
        if self.groups is None:
            return None
        part = self.groups[start : start + rows]
        return np.pad(part, ((0, rows - len(part)), (0, 0)), constant_values=-3)

    def sample(self) -> Side:
        """Some rows with parts, in float64."""
        assert self.visible is not None
        rows = chosen_rows(len(self))
        visible = self.visible[rows].astype(np.float64)
        vectors = self.descriptors.take(rows).astype(np.float64)
        return Side(
            vectors=_unit_parts(vectors, visible), norms=np.ones(len(rows)), visible=visible
        )


def _unit_parts(
    vectors: NDArray[np.floating], visible: NDArray[np.floating]
) -> NDArray[np.floating]:
    """Rows [N, D] whose parts have unit length; hidden ones are zero, and contribute nothing."""
    by_part = vectors.reshape(*visible.shape, -1)
    with np.errstate(over="ignore"):
        squared = np.einsum("npd,npd->np", by_part, by_part)
    unit = by_part * (inverse_norms(squared) * visible)[:, :, None]
    odd = ~((squared > SQUARED_RANGE[0]) & (squared < SQUARED_RANGE[1])) & (visible > 0)
    if odd.any():
        unit[odd] = unit_rows(by_part[odd])
    return unit.reshape(vectors.shape)


def nearest_part_distance(query: Searchable, gallery: Side) -> float:
    """How far an image compared by parts typically is from the next other one, in a sample."""
    vectors, visible = np.asarray(gallery.vectors), np.asarray(gallery.visible)
    found = []
    for side in (query.sample(), gallery):
        shared = np.asarray(side.visible) @ visible.T
        apart = 1 - np.asarray(side.vectors) @ vectors.T / np.maximum(shared, 1)
        # The same parts are at distance 0, which every precision tells.
        apart[(shared == 0) | (apart < 1e-13)] = np.inf
        found.append(float(np.median(apart.min(axis=1))))
    return min(found)


def gallery_rows(gallery: Searchable, *, blocks: Blocks) -> int:
    """Gallery rows in one block: as asked for, or fewer if the gallery is small."""
    row_bytes = gallery.dtype.itemsize * gallery.descriptors.width
    return even_blocks(len(gallery), most=blocks.rows_searched(row_bytes), unit=LANES)


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
    with precision(query.dtype):
        found = _stream_nearest(
            query, gallery, k=k, metric=metric, blocks=blocks, on_device=on_device
        )
    if metric == "cosine" or query.visible is not None or query.dtype == np.float64:
        return found
    return _refined(found, query.descriptors, gallery.descriptors)


def _stream_nearest(
    query: Searchable,
    gallery: Searchable,
    *,
    k: int,
    metric: Metric,
    blocks: Blocks,
    on_device: list[Side] | None,
) -> Nearest:
    mesh = blocks.mesh()
    by_row = NamedSharding(mesh, P(*mesh.axis_names))
    dtype = query.dtype
    step = gallery_rows(gallery, blocks=blocks)
    most = blocks.row_bytes // (dtype.itemsize * step)
    rows = even_blocks(len(query), most=most, unit=8 * mesh.size)
    indices = np.empty((len(query), k), np.int32)
    distances = np.empty((len(query), k), dtype)
    for first in range(0, len(query), rows):
        asked = query.side(first, rows=rows, padding=0)
        asked = dataclasses.replace(asked, groups=query.side_groups(first, rows=rows))
        side = jax.device_put(asked, by_row)
        state = (
            jnp.full((rows, k), jnp.inf, dtype, device=by_row),
            jnp.full((rows, k), -1, jnp.int32, device=by_row),
        )
        sides = on_device or gallery_blocks(gallery, blocks=blocks, mesh=mesh)
        for number, part in enumerate(sides):
            state[0].block_until_ready()
            start = np.int32(number * step)
            if gallery.groups is not None:
                part = dataclasses.replace(
                    part, groups=gallery.side_groups(number * step, rows=step)
                )
            state = _merge(*state, side, part, start, mesh=mesh, metric=metric)
        real = min(rows, len(query) - first)
        distances[first : first + real] = np.asarray(state[0])[:real]
        indices[first : first + real] = np.asarray(state[1])[:real]
    indices[np.isinf(distances)] = -1
    distances[distances == _NOTHING_SHARED] = np.inf
    return Nearest(indices=indices, distances=distances)


def _refined(found: Nearest, query: Descriptors, gallery: Descriptors) -> Nearest:
    """The same rows, the near ones by the length of their difference, which loses nothing there.

    Farther ones are as exact already as float32 can say.
    """
    lengths = query.squared_norms[:, None] + gallery.squared_norms[found.indices]
    rows, places = np.nonzero(_NEAR * found.distances**2 < lengths)
    if not len(rows):
        return found
    distances = found.distances.copy()
    step = max(1, _PAIR_BYTES // (4 * query.width))
    for start in range(0, len(rows), step):
        row, place = rows[start : start + step], places[start : start + step]
        difference = gallery.take(found.indices[row, place]) - query.take(row)
        distances[row, place] = np.sqrt(np.einsum("nd,nd->n", difference, difference))
    order = np.lexsort((found.indices, distances))
    return Nearest(
        indices=np.take_along_axis(found.indices, order, axis=1),
        distances=np.take_along_axis(distances, order, axis=1),
    )
