"""Searches of a gallery, in memory or in a store: what is asked, and what is found."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import is_unknown_camera
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    Embedded,
    Metric,
    Vectors,
    check_descriptors,
    check_parts,
    check_widths,
    vectors_of,
)
from magnifier_jax.retrieval.distances import Blocks, precision
from magnifier_jax.retrieval.search import (
    Searchable,
    Side,
    find_nearest,
    gallery_blocks,
    nearest_part_distance,
)
from magnifier_jax.retrieval.spacing import Spacing, sample

# Parts of unit length that are nearer than this need float64, as descriptors do.
_LEAST_PART_DISTANCE = 1 / 16


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found, nearest first; ties in gallery order.

    A query can have fewer than k matches, where images were excluded or are too far: behind its
    last match indices are -1, distances infinite and names empty.

    Attributes:
      indices: int32 [Nq, k], rows of the gallery.
      distances: float32 [Nq, k].
      names: str [Nq, k].
      identities: [Nq, k], of the gallery's type; None if the gallery has none.
      cameras: [Nq, k], -1 (or empty text) where one is not known; None if the gallery has none.
      counts: int64 [Nq], the number of matches of each query; 0 is nobody.
      columns: [Nq, k] each, what else the gallery knows of the matches, such as `time`, `tracklet`
        and `path`; objects, None where it is not known.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    names: NDArray[np.str_]
    identities: NDArray[Any] | None = None
    cameras: NDArray[Any] | None = None
    counts: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    columns: Mapping[str, NDArray[np.object_]] = dataclasses.field(default_factory=dict)

    @property
    def nobody(self) -> NDArray[np.bool_]:
        """Whether a query has no match at all [Nq]."""
        return self.counts == 0


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a gallery knows of some of its rows, each [n].

    Attributes:
      names: str.
      identities: Numbers or text; None if the gallery has none.
      cameras: Numbers or text; None if the gallery has none.
      columns: All else, as objects.
    """

    names: NDArray[np.str_]
    identities: NDArray[Any] | None
    cameras: NDArray[Any] | None
    columns: Mapping[str, NDArray[np.object_]] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, eq=False)
class Searcher:
    """Searches a gallery; made by `Gallery.searcher` and by stores.

    Attributes:
      whole: Descriptors [N, D] of the gallery.
      parts: Part embeddings flattened to [N, P · E], and which are visible; or None.
      parts_shape: P and E.
      describe: Gives what is known of rows, by their numbers int64 [n].
      values_of: Gives a column [N], to leave out what equals the query's.
      metric: How descriptors are compared.
      blocks: How much is worked on at a time, and on which devices.
      device_bytes: Up to this size the gallery stays on the devices between searches.
    """

    whole: Descriptors
    parts: Searchable | None
    parts_shape: tuple[int, int]
    describe: Callable[[NDArray[np.int64]], Rows]
    values_of: Callable[[str], NDArray[Any]]
    metric: Metric
    blocks: Blocks
    device_bytes: int

    def search(
        self,
        found: Vectors,
        *,
        top: int = 10,
        exclude: Mapping[str, ArrayLike] | None = None,
        only: NDArray[np.bool_] | None = None,
        max_distance: float | None = None,
    ) -> SearchResult:
        """The images most like each query, as `Gallery.search`; `only` are those searched [N]."""
        values = np.asarray(vectors_of(found))
        query = check_descriptors(values[None] if values.ndim == 1 else values, name="query")
        gallery, spacing = self.whole, self._spacing
        check_widths(query, gallery)
        asked = sample(query, metric=self.metric)
        if spacing.needs_float64(query, gallery, asked=asked):
            query, gallery = spacing.in_float64(query), self._whole_in_float64
        query_rows, rows = self._grouped(Searchable(query), Searchable(gallery), exclude, only)
        return self._find(query_rows, rows, top, max_distance=max_distance)

    def search_parts(
        self,
        parts: ArrayLike | Embedded,
        visible: ArrayLike | None = None,
        *,
        top: int = 10,
        exclude: Mapping[str, ArrayLike] | None = None,
        only: NDArray[np.bool_] | None = None,
        max_distance: float | None = None,
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
        if embeddings.shape[1:] != self.parts_shape:
            raise UserError(
                f"query parts have shape {list(embeddings.shape[1:])} and those of the gallery "
                f"{list(self.parts_shape)}; both must come from the same model"
            )
        flat = check_descriptors(embeddings.reshape(len(embeddings), -1), name="query part")
        query, gallery = Searchable(flat, seen), self.parts
        if nearest_part_distance(query, self._part_sample) < _LEAST_PART_DISTANCE:
            query, gallery = query.in_float64(), self._parts_in_float64
        query, gallery = self._grouped(query, gallery, exclude, only)
        return self._find(query, gallery, top, max_distance=max_distance)

    @functools.cached_property
    def _spacing(self) -> Spacing:
        spacing = Spacing.of(self.whole, metric=self.metric)
        spacing.warn(spacing.rows, stacklevel=6)
        return spacing

    @functools.cached_property
    def _whole_in_float64(self) -> Descriptors:
        return self._spacing.in_float64(self.whole)

    @functools.cached_property
    def _parts_in_float64(self) -> Searchable:
        assert self.parts is not None
        return self.parts.in_float64()

    @functools.cached_property
    def _part_sample(self) -> Side:
        assert self.parts is not None
        return self.parts.sample()

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

    def _find(
        self,
        query: Searchable,
        gallery: Searchable,
        top: int,
        *,
        max_distance: float | None,
    ) -> SearchResult:
        if top < 1:
            raise UserError(f"top must be at least 1, not {top}")
        if max_distance is not None and not max_distance >= 0:
            raise UserError(f"max_distance must be at least 0, not {max_distance}")
        found = find_nearest(
            query,
            gallery,
            k=min(top, len(gallery)),
            metric=self.metric,
            blocks=self.blocks,
            on_device=self._sides(gallery),
        )
        distances = found.distances.astype(np.float32)
        kept = found.indices >= 0
        if max_distance is not None:
            kept &= distances <= max_distance
        return _result(found.indices, distances, kept, describe=self.describe)

    def _grouped(
        self,
        query: Searchable,
        gallery: Searchable,
        exclude: Mapping[str, ArrayLike] | None,
        only: NDArray[np.bool_] | None,
    ) -> tuple[Searchable, Searchable]:
        """Both with numbers that are equal where an image is no match of a query."""
        mine, theirs = [], []
        for column, given in (exclude or {}).items():
            asked = np.asarray(given, object).reshape(-1).tolist()
            if len(asked) != len(query):
                raise UserError(
                    f"exclude needs a {column} for each of the {len(query)} queries, not "
                    f"{len(asked)}"
                )
            numbers: dict[Any, int] = {}
            there = [_number(value, numbers) for value in self.values_of(column).tolist()]
            theirs.append(np.array(there, np.int32))
            mine.append(np.array([_known(value, numbers) for value in asked], np.int32))
        if only is not None:
            theirs.append(np.where(only, -1, 0).astype(np.int32))
            mine.append(np.zeros(len(query), np.int32))
        if not mine:
            return query, gallery
        return (
            dataclasses.replace(query, groups=np.stack(mine, axis=1)),
            dataclasses.replace(gallery, groups=np.stack(theirs, axis=1)),
        )


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value or is_unknown_camera(value)


def _number(value: Any, numbers: dict[Any, int]) -> int:
    return -1 if _is_missing(value) else numbers.setdefault(value, len(numbers))


def _known(value: Any, numbers: Mapping[Any, int]) -> int:
    return -2 if _is_missing(value) else numbers.get(value, -2)


def _result(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    kept: NDArray[np.bool_],
    *,
    describe: Callable[[NDArray[np.int64]], Rows],
) -> SearchResult:
    """What is known of the matches [Nq, k] that are kept; nothing stands for the others."""
    rows, places = np.unique(indices[kept].astype(np.int64), return_inverse=True)
    known = describe(rows)

    def spread(values: NDArray[Any], missing: Any) -> NDArray[Any]:
        filled = np.full(indices.shape, missing, values.dtype)
        filled[kept] = values[places]
        return filled

    def labels(values: NDArray[Any] | None) -> NDArray[Any] | None:
        if values is None:
            return None
        return spread(values, "" if values.dtype.kind == "U" else -1)

    return SearchResult(
        indices=np.where(kept, indices, -1).astype(np.int32),
        distances=np.where(kept, distances, np.inf).astype(np.float32),
        names=spread(known.names, ""),
        identities=labels(known.identities),
        cameras=labels(known.cameras),
        counts=kept.sum(axis=1),
        columns={name: spread(values, None) for name, values in known.columns.items()},
    )
