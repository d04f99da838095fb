"""Exact search in a gallery within bounded memory."""

from __future__ import annotations

import dataclasses
import functools

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Descriptors, check_descriptors
from magnifier_jax.retrieval.distances import Blocks, Metric
from magnifier_jax.retrieval.nearest import Searchable, Side, find_nearest, gallery_blocks

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
        """The pictures most like each query, as `Gallery.search`."""
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
        """The pictures most like each query by what both show, as `Gallery.search_parts`."""
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
