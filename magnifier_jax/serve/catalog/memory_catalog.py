"""A gallery in memory as the page sees it: its images, or its tracklets."""

from __future__ import annotations

import dataclasses
import datetime
import functools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.file_names import who_is_named
from input_pipeline.identities.unknown import is_unknown_tracklet
from magnifier_jax.gallery import Gallery
from magnifier_jax.gallery.tracklets import pooled_gallery, tracklets_of
from magnifier_jax.retrieval.descriptors import Metric
from magnifier_jax.retrieval.pooling import Groups
from magnifier_jax.serve.catalog.catalog import By, Match, Vectors
from magnifier_jax.serve.catalog.entries import Entries, Filters, entry_id

if TYPE_CHECKING:
    from magnifier_jax.gallery.store import GalleryStore

_FIRST, _GROWTH = 64, 4  # rows looked at, so that few sizes are compiled
_NAMES = 1000  # looked at to see whether they tell tracklets


class MemoryCatalog:
    """A gallery in memory, as of a `.npz` file."""

    def __init__(
        self, gallery: Gallery, *, times: Sequence[datetime.datetime | None] | None = None
    ) -> None:
        """Indexes what is known.

        Args:
            gallery: The gallery.
            times: Of each image, with their zones; a gallery in memory does not know them.
        """
        self.gallery = gallery
        self.model: str = gallery.model
        self.metric: Metric = gallery.metric
        self.notes: Mapping[str, Any] = gallery.notes
        self.width = int(gallery.descriptors.shape[1])
        self.parts = 0 if gallery.parts is None else int(gallery.parts.shape[1])
        self.entries = Entries(
            gallery.names.tolist(),
            identities=None if gallery.identities is None else gallery.identities.tolist(),
            cameras=None if gallery.cameras is None else gallery.cameras.tolist(),
            times=times,
        )

    @functools.cached_property
    def has_tracklets(self) -> bool:
        """As `Catalog.has_tracklets`."""
        return name_tracklets(self.entries.names)

    @functools.cached_property
    def tracklets(self) -> MemoryTracklets | None:
        """As `Catalog.tracklets`."""
        return find_tracklets(self.gallery, self.gallery)

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """As `Catalog.vectors`."""
        parts, visible = self.gallery.parts, self.gallery.visible
        return Vectors(
            np.asarray(self.gallery.descriptors[rows], np.float32),
            None if parts is None else np.asarray(parts[rows], np.float32),
            None if visible is None else visible[rows],
        )

    def nearest(
        self, vectors: Vectors, filters: Filters, *, by: By, top: int
    ) -> list[tuple[Match, ...]]:
        """As `Catalog.nearest`."""
        count = len(self.entries)
        passing = self.entries.passing(dataclasses.replace(filters, name=""))
        wanted = min(top, int(np.count_nonzero(passing)))
        if not wanted:
            return [()] * len(vectors.descriptors)
        looked = _FIRST
        while looked < 2 * wanted:
            looked *= _GROWTH
        while True:
            # Rows that do not pass take places too, so more are looked at until enough pass.
            looked = min(looked, count)
            if by == "image":
                found = self.gallery.search(vectors.descriptors, top=looked)
            elif vectors.parts is None:
                raise UserError("The query has no part embeddings: search by the whole image.")
            else:
                found = self.gallery.search_parts(vectors.parts, vectors.visible, top=looked)
            kept = passing[found.indices]
            if looked == count or int(kept.sum(axis=1).min()) >= wanted:
                break
            looked *= _GROWTH
        return [
            self._matches(found.indices[i][kept[i]], found.distances[i][kept[i]], wanted)
            for i in range(len(found.indices))
        ]

    def _matches(
        self, rows: NDArray[Any], distances: NDArray[Any], wanted: int
    ) -> tuple[Match, ...]:
        return tuple(
            Match(self.entries.entry(row), distance)
            for row, distance in zip(rows[:wanted].tolist(), distances.tolist(), strict=False)
            if np.isfinite(distance)
        )


class MemoryTracklets:
    """One entry for each tracklet, and one for each image that belongs to none."""

    def __init__(
        self,
        images: Gallery,
        groups: Groups,
        *,
        times: Mapping[str, datetime.datetime | None],
    ) -> None:
        """Pools the images.

        Args:
            images: The gallery.
            groups: Which of its images are one tracklet.
            times: Of its images, by name, with their zones; empty if none is known.
        """
        pooled = pooled_gallery(images, groups)
        names = pooled.names.tolist()
        self._pooled = MemoryCatalog(
            pooled, times=[times.get(name) for name in names] if times else None
        )
        self._sizes = groups.sizes
        members = zip(images.names.tolist(), groups.members.tolist(), strict=True)
        self._group = {entry_id(name): group for name, group in members}

    def __len__(self) -> int:
        """As `Tracklets`."""
        return len(self._sizes)

    def vectors(self, numbers: Sequence[str]) -> Vectors:
        """As `Tracklets.vectors`."""
        for number in numbers:
            if number not in self._group:
                raise UserError(f"The gallery has no image {number}.")
        return self._pooled.vectors([self._group[number] for number in numbers])

    def nearest(
        self, vectors: Vectors, filters: Filters, *, by: By, top: int
    ) -> list[tuple[Match, ...]]:
        """As `Tracklets.nearest`."""
        ids = self._pooled.entries.ids
        without = {ids[self._group[one]] for one in filters.without if one in self._group}
        filters = dataclasses.replace(filters, without=frozenset(without))
        found = self._pooled.nearest(vectors, filters, by=by, top=top)
        return [tuple(map(self._sized, matches)) for matches in found]

    def _sized(self, match: Match) -> Match:
        return dataclasses.replace(match, images=int(self._sizes[self._group[match.entry.id]]))


def name_tracklets(names: Sequence[str]) -> bool:
    """Whether names tell tracklets, by the first ones."""
    known = map(who_is_named, names[:_NAMES])
    return any(who is not None and not is_unknown_tracklet(who.tracklet) for who in known)


def find_tracklets(gallery: Gallery | GalleryStore, images: Gallery) -> MemoryTracklets | None:
    """The tracklets of a gallery; None if it knows none.

    Args:
        gallery: What knows them.
        images: All of its images, in memory.
    """
    try:
        groups = tracklets_of(gallery, images)
    except UserError:
        return None
    return MemoryTracklets(images, groups, times=gallery.known("time"))
