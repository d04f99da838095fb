"""Searches of a gallery, in memory or in a store: what is asked, and what is found."""

from __future__ import annotations

import abc
import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import is_unknown_camera
from magnifier_jax.gallery.results import Rows, SearchResult, found_rows, nothing_found
from magnifier_jax.gallery.thresholds import greatest_distance
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
from magnifier_jax.retrieval.measures.verification import FALSE_POSITIVE_RATES, Verification
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
        return found_rows(found.indices, distances, kept, describe=self.describe)

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


@dataclasses.dataclass(frozen=True)
class Searched:
    """The images that a search looks at.

    Attributes:
      searcher: Searches them; None if there are none.
      only: Which of the searcher's rows are meant, bool [N]; None is all.
    """

    searcher: Searcher | None
    only: NDArray[np.bool_] | None = None


class Images(Protocol):
    """Images of a gallery that do not change while they are searched."""

    @property
    def metric(self) -> Metric:
        """How descriptors are compared."""
        ...

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is noted of them; see `Gallery.notes`."""
        ...

    def check_filter(self, where: str) -> None:
        """Refuses a filter that cannot be read or does not fit."""
        ...

    def searched(self, where: str | None) -> Searched:
        """Those that a filter lets through; None is all."""
        ...

    def verify(self, *, rates: Sequence[float], most: int) -> Verification:
        """Thresholds from all pairs; see `SearchableGallery.verify`."""
        ...


class SearchableGallery(abc.ABC):
    """What can be asked of a gallery, wherever its images are."""

    @abc.abstractmethod
    def _images(self) -> Images:
        """Its images as they are now.

        Raises:
          UserError: if there are none.
        """

    def search(
        self,
        found: Vectors,
        *,
        top: int = 10,
        where: str | None = None,
        exclude: Mapping[str, ArrayLike] | None = None,
        max_distance: float | None = None,
        fpr: float | None = None,
        parts: bool = False,
    ) -> SearchResult:
        """The images most like each query; exact.

        The descriptors are kept on the devices between searches if they fit; `Gallery.searcher` and
        `GalleryStore.open` decide that and the memory that is used. A search of a store sees one
        version of it as a whole.

        Args:
          found: Descriptors [Nq, D], or one [D], or embeddings that have them.
          top: Number of matches k for each query; at most all images.
          where: Which images are searched, as `camera != 3 and name like 'query/%'`; the language
            is that of `magnifier_jax.gallery.where`.
          exclude: For columns the values of the queries [Nq]: images with the query's own value are
            no matches, such as those of its `camera` or, in a store, its `tracklet`. What is not
            known equals nothing.
          max_distance: Images farther than this are no matches.
          fpr: Images beyond the threshold of this false positive rate, which
            `Gallery.with_thresholds` or `GalleryStore.keep_thresholds` noted, are no matches.
          parts: Whether only the parts are compared that both images show; see
            `Gallery.search_parts`.

        Returns:
          Indices (rows of the gallery, or of the version that was searched), distances and names
          [Nq, k], nearest first; identities, cameras and other columns where known. `counts` says
          how many matches each query has, and 0 is nobody.

        Raises:
          UserError: if the descriptors or the filter do not fit the gallery, or are not finite.
          DataError: if rows of a store are not as they were written.
        """
        images = self._images()
        farthest = greatest_distance(
            images.notes, metric=images.metric, max_distance=max_distance, fpr=fpr, parts=parts
        )
        searched = images.searched(where)
        searcher = searched.searcher
        anything: Any = found
        if searcher is None:
            shape = np.shape(getattr(anything, "descriptors", anything))
            return nothing_found(queries=1 if len(shape) == 1 else shape[0])
        find = searcher.search_parts if parts else searcher.search
        return find(anything, top=top, exclude=exclude, only=searched.only, max_distance=farthest)

    def check_limits(self, *, where: str | None, fpr: float | None, parts: bool = False) -> None:
        """Refuses a filter or a rate that a search would refuse, before long work.

        Raises:
          UserError: if the filter cannot be read, or no threshold for the rate is noted.
        """
        images = self._images()
        greatest_distance(
            images.notes, metric=images.metric, max_distance=None, fpr=fpr, parts=parts
        )
        if where is not None:
            images.check_filter(where)

    def verify(
        self, *, rates: Sequence[float] = FALSE_POSITIVE_RATES, most: int = 10_000
    ) -> Verification:
        """Thresholds by false positive rate, from all pairs of the gallery's own images.

        Args:
          rates: Allowed false positive rates.
          most: Images to look at; more are drawn from.

        Raises:
          UserError: if identities are not known, or there are no pairs of one person or of two.
        """
        return self._images().verify(rates=rates, most=most)


def _is_missing(value: Any) -> bool:
    return value is None or value == "" or value != value or is_unknown_camera(value)


def _number(value: Any, numbers: dict[Any, int]) -> int:
    return -1 if _is_missing(value) else numbers.setdefault(value, len(numbers))


def _known(value: Any, numbers: Mapping[Any, int]) -> int:
    return -2 if _is_missing(value) else numbers.get(value, -2)
