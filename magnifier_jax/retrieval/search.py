"""Exact search: the k nearest gallery rows of every query, within bounded memory.

A distance is `base + scale × product / shared`: with `shared` 1 that is the squared Euclidean or
the cosine distance, and with it the number of parts that both images show, the mean over these.
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import (
    SQUARED_RANGE,
    Descriptors,
    Embedded,
    Metric,
    Spacing,
    Vectors,
    check_descriptors,
    check_parts,
    check_widths,
    chosen_rows,
    sample,
    unit_rows,
    vectors_of,
)
from magnifier_jax.retrieval.distances import (
    LANES,
    Blocks,
    even_blocks,
    inverse_norms,
    precision,
    round_up,
    smallest,
)

_PAIR_BYTES = 2**23
_NEAR = 16  # times a squared distance, against both squared lengths: near, where it is less
# Parts of unit length that are nearer than this need float64, as descriptors do.
_LEAST_PART_DISTANCE = 1 / 16


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found, nearest first; ties in gallery order.

    Attributes:
      indices: int32 [Nq, k], rows of the gallery.
      distances: float32 [Nq, k].
      names: str [Nq, k].
      identities: [Nq, k], of the gallery's type; None if the gallery has none.
      cameras: int64 [Nq, k], -1 where one is not known; None if the gallery has none.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    names: NDArray[np.str_]
    identities: NDArray[Any] | None = None
    cameras: NDArray[np.int64] | None = None


@dataclasses.dataclass(frozen=True, eq=False)
class Searcher:
    """Searches a gallery; made by `Gallery.searcher`.

    Attributes:
      descriptors: [N, D].
      names: str [N].
      identities: [N] or None.
      cameras: int64 [N] or None.
      parts: [N, P, E] or None.
      visible: bool [N, P] or None.
      metric: How descriptors are compared.
      blocks: How much is worked on at a time, and on which devices.
      device_bytes: Up to this size the gallery stays on the devices between searches.
    """

    descriptors: NDArray[np.floating]
    names: NDArray[np.str_]
    identities: NDArray[Any] | None
    cameras: NDArray[np.int64] | None
    parts: NDArray[np.floating] | None
    visible: NDArray[np.bool_] | None
    metric: Metric
    blocks: Blocks
    device_bytes: int

    def search(self, found: Vectors, *, top: int = 10) -> SearchResult:
        """The images most like each query, as `Gallery.search`."""
        values = np.asarray(vectors_of(found))
        query = check_descriptors(values[None] if values.ndim == 1 else values, name="query")
        gallery, spacing = self._whole, self._spacing
        check_widths(query, gallery)
        asked = sample(query, metric=self.metric)
        if spacing.needs_float64(query, gallery, asked=asked):
            query, gallery = spacing.in_float64(query), self._whole_in_float64
        return self._find(Searchable(query), Searchable(gallery), top=top)

    def search_parts(
        self,
        parts: ArrayLike | Embedded,
        visible: ArrayLike | None = None,
        *,
        top: int = 10,
    ) -> SearchResult:
        """The images most like each query by what both show, as `Gallery.search_parts`."""
        if self.parts is None:
            raise UserError(
                "this gallery has no part embeddings to search by; make it again with them"
            )
        values: Any = parts
        if visible is None:
            values, visible = getattr(parts, "parts", None), getattr(parts, "visible", None)
        if values is None or visible is None:
            raise UserError("a search by parts needs the queries' part embeddings and visibility")
        embeddings, seen = check_parts(values, visible, total=None, name="query")
        if embeddings.shape[1:] != self.parts.shape[1:]:
            raise UserError(
                f"query parts have shape {list(embeddings.shape[1:])} and those of the gallery "
                f"{list(self.parts.shape[1:])}; both must come from the same model"
            )
        query, gallery = Searchable(_flat(embeddings, name="query part"), seen), self._by_parts
        if _nearest_part_distance(query, self._part_sample) < _LEAST_PART_DISTANCE:
            query, gallery = query.in_float64(), self._by_parts_in_float64
        return self._find(query, gallery, top=top)

    @functools.cached_property
    def _whole(self) -> Descriptors:
        return check_descriptors(self.descriptors, name="gallery")

    @functools.cached_property
    def _spacing(self) -> Spacing:
        spacing = Spacing.of(self._whole, metric=self.metric)
        spacing.warn(spacing.rows, stacklevel=6)
        return spacing

    @functools.cached_property
    def _whole_in_float64(self) -> Descriptors:
        return self._spacing.in_float64(self._whole)

    @functools.cached_property
    def _by_parts(self) -> Searchable:
        assert self.parts is not None
        return Searchable(_flat(self.parts, name="gallery part"), self.visible)

    @functools.cached_property
    def _by_parts_in_float64(self) -> Searchable:
        return self._by_parts.in_float64()

    @functools.cached_property
    def _part_sample(self) -> Side:
        return self._by_parts.sample()

    @functools.cached_property
    def _kept(self) -> dict[tuple[bool, np.dtype[Any]], list[Side]]:
        """Blocks on the devices, of whole images or parts, in each precision."""
        return {}

    def _sides(self, gallery: Searchable) -> list[Side] | None:
        size = gallery.dtype.itemsize * len(gallery) * gallery.descriptors.width
        if size > self.device_bytes:
            return None
        key = (gallery.visible is None, gallery.dtype)
        if key not in self._kept:
            with precision(gallery.dtype):
                blocks = gallery_blocks(gallery, blocks=self.blocks, mesh=self.blocks.mesh())
                self._kept[key] = list(blocks)
        return self._kept[key]

    def _find(self, query: Searchable, gallery: Searchable, *, top: int) -> SearchResult:
        if top < 1:
            raise UserError(f"top must be at least 1, not {top}")
        found = find_nearest(
            query,
            gallery,
            k=min(top, len(gallery)),
            metric=self.metric,
            blocks=self.blocks,
            on_device=self._sides(gallery),
        )
        rows = found.indices
        return SearchResult(
            indices=rows,
            distances=found.distances.astype(np.float32),
            names=self.names[rows],
            identities=None if self.identities is None else self.identities[rows],
            cameras=None if self.cameras is None else self.cameras[rows],
        )


def _flat(parts: NDArray[np.floating], *, name: str) -> Descriptors:
    return check_descriptors(parts.reshape(len(parts), -1), name=name)


# --- The search itself ---

# Where two images share no visible part: behind everything, but before padding.
_NOTHING_SHARED = np.finfo(np.float32).max


@dataclasses.dataclass(frozen=True)
class Nearest:
    """The nearest gallery rows, nearest first; ties in gallery order.

    Attributes:
      indices: int32 [Nq, k].
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
    """

    vectors: jax.Array | NDArray[np.floating]
    norms: jax.Array | NDArray[np.floating]
    visible: jax.Array | NDArray[np.floating] | None


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
      visible: bool [N, parts], or None to compare whole images.
    """

    descriptors: Descriptors
    visible: NDArray[np.bool_] | None = None

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


def _nearest_part_distance(query: Searchable, gallery: Side) -> float:
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
        side = jax.device_put(query.side(first, rows=rows, padding=0), by_row)
        state = (
            jnp.full((rows, k), jnp.inf, dtype, device=by_row),
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
