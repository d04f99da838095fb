"""Exact search: the k nearest gallery rows of every query, within bounded memory."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jax.typing import ArrayLike
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Descriptors, check_descriptors
from magnifier_jax.retrieval.distances import (
    LANES,
    Blocks,
    Metric,
    even_blocks,
    inverse_norms,
    round_up,
    smallest,
)

_ROWS_AT_ONCE = 2048


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found, nearest first; ties in gallery order.

    Attributes:
      indices: int32 [Nq, k], rows of the gallery.
      distances: float32 [Nq, k].
      names: str [Nq, k].
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    names: NDArray[np.str_]


@dataclasses.dataclass(frozen=True, eq=False)
class Searcher:
    """Searches a gallery; made by `Gallery.searcher`.

    Attributes:
      descriptors: [N, D].
      names: str [N].
      parts: [N, P, E] or None.
      visible: bool [N, P] or None.
      metric: How descriptors are compared.
      blocks: How much is worked on at a time, and on which devices.
      device_bytes: Up to this size the gallery stays on the devices between searches.
    """

    descriptors: NDArray[np.floating]
    names: NDArray[np.str_]
    parts: NDArray[np.floating] | None
    visible: NDArray[np.bool_] | None
    metric: Metric
    blocks: Blocks
    device_bytes: int

    def search(self, query: ArrayLike, *, top: int = 10) -> SearchResult:
        """The images most like each query, as `Gallery.search`."""
        values = np.asarray(query)
        queries = check_descriptors(values[None] if values.ndim == 1 else values, name="query")
        width = self.descriptors.shape[1]
        if queries.width != width:
            raise UserError(
                f"query descriptors have {queries.width} numbers and those of the gallery {width}; "
                "both must come from the same model"
            )
        return self._find(Searchable(queries), self._whole, sides=self._whole_sides, top=top)

    def search_parts(self, parts: ArrayLike, visible: ArrayLike, *, top: int = 10) -> SearchResult:
        """The images most like each query by what both show, as `Gallery.search_parts`."""
        if self.parts is None:
            raise UserError(
                "this gallery has no part embeddings to search by; make it again with them"
            )
        embeddings, seen = check_parts(parts, visible, total=None, name="query")
        if embeddings.shape[1:] != self.parts.shape[1:]:
            raise UserError(
                f"query parts have shape {list(embeddings.shape[1:])} and those of the gallery "
                f"{list(self.parts.shape[1:])}; both must come from the same model"
            )
        query = Searchable(_flat(embeddings, name="query part"), seen)
        return self._find(query, self._by_parts, sides=self._part_sides, top=top)

    @functools.cached_property
    def _whole(self) -> Searchable:
        return Searchable(check_descriptors(self.descriptors, name="gallery"))

    @functools.cached_property
    def _by_parts(self) -> Searchable:
        assert self.parts is not None
        return Searchable(_flat(self.parts, name="gallery part"), self.visible)

    @functools.cached_property
    def _whole_sides(self) -> list[Side] | None:
        return self._keep(self._whole)

    @functools.cached_property
    def _part_sides(self) -> list[Side] | None:
        return self._keep(self._by_parts)

    def _keep(self, gallery: Searchable) -> list[Side] | None:
        if 4 * len(gallery) * gallery.descriptors.width > self.device_bytes:
            return None
        return list(gallery_blocks(gallery, blocks=self.blocks, mesh=self.blocks.mesh()))

    def _find(
        self, query: Searchable, gallery: Searchable, *, sides: list[Side] | None, top: int
    ) -> SearchResult:
        if top < 1:
            raise UserError(f"top must be at least 1, not {top}")
        found = find_nearest(
            query,
            gallery,
            k=min(top, len(gallery)),
            metric=self.metric,
            blocks=self.blocks,
            on_device=sides,
        )
        return SearchResult(
            indices=found.indices, distances=found.distances, names=self.names[found.indices]
        )


def check_parts(
    parts: ArrayLike, visible: ArrayLike, *, total: int | None, name: str
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Part embeddings [N, P, E] and visible parts [N, P] that fit each other.

    What stands for a hidden part does not matter; where it is not finite it becomes zero.
    """
    embeddings, seen = np.asarray(parts), np.asarray(visible).astype(bool)
    if embeddings.ndim != 3 or (total is not None and len(embeddings) != total):
        wanted = "N" if total is None else total
        raise UserError(
            f"{name} part embeddings must have shape [{wanted}, P, E], not {list(embeddings.shape)}"
        )
    if seen.shape != embeddings.shape[:2]:
        raise UserError(
            f"{name} visible parts must have shape {list(embeddings.shape[:2])}, "
            f"not {list(seen.shape)}"
        )
    embeddings = _finite_where_hidden(embeddings, seen)
    flat = check_descriptors(embeddings.reshape(len(embeddings), -1), name=f"{name} part")
    return flat.parts[0].reshape(embeddings.shape), seen


def _finite_where_hidden(
    embeddings: NDArray[np.floating], seen: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """The same array, or a copy where anything had to be changed."""
    changed = embeddings
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.asarray(embeddings[rows], np.float32)
            bad = ~seen[rows] & ~np.isfinite(np.einsum("npe,npe->np", part, part))
        if bad.any():
            changed = embeddings.copy() if changed is embeddings else changed
            changed[rows][bad] = 0
    return changed


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
      distances: float32 [Nq, k]; infinite where query and gallery image share no visible part.
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
      visible: float32 [B, parts], 1 where a part is seen; None to compare whole images.
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
      visible: bool [N, parts], or None to compare whole images.
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
