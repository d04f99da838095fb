"""A gallery on disk or in object storage as the page sees it, whoever writes to it meanwhile."""

from __future__ import annotations

import threading
import time
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.errors import UserError
from magnifier_jax.gallery.store import GalleryStore
from magnifier_jax.retrieval.descriptors import Metric
from magnifier_jax.serve.catalog.catalog import By, Match, Vectors
from magnifier_jax.serve.catalog.entries import Entries, Filters, entry_id
from magnifier_jax.serve.catalog.memory_catalog import (
    MemoryTracklets,
    find_tracklets,
    name_tracklets,
)

_LOOK_AGAIN = 1.0  # seconds after which a new version is looked for


class StoreCatalog:
    """The images of one network in a store."""

    def __init__(self, store: GalleryStore) -> None:
        """Reads what is known of its images.

        Raises:
            UserError: It is empty.
        """
        if not len(store):
            raise UserError(f"{store.place} is empty: add images first.")
        self.store = store
        self.model: str = store.model
        self.metric: Metric = store.metric
        self.notes: Mapping[str, Any] = store.notes
        self._lock = threading.Lock()
        self._version, self._looked = -1, 0.0
        self._tracklets: tuple[Entries, MemoryTracklets | None] | None = None
        first = self._read([self.entries.names[0]])
        self.width = int(first.descriptors.shape[1])
        self.parts = 0 if first.parts is None else int(first.parts.shape[1])

    @property
    def entries(self) -> Entries:
        """What is known of its images; of the latest version, or one of a second ago."""
        with self._lock:
            now = time.monotonic()
            if self._version < 0 or now - self._looked > _LOOK_AGAIN:
                version = self.store.version
                if version != self._version:
                    self._entries = _entries(self.store)
                    self._version = version
                self._looked = now
            return self._entries

    @property
    def has_tracklets(self) -> bool:
        """As `Catalog.has_tracklets`."""
        return "tracklet" in self.store.columns or name_tracklets(self.entries.names)

    @property
    def tracklets(self) -> MemoryTracklets | None:
        """As `Catalog.tracklets`: of the version that `entries` are of, read into memory."""
        entries = self.entries
        with self._lock:
            if self._tracklets is None or self._tracklets[0] is not entries:
                found = find_tracklets(self.store, self.store.to_gallery())
                self._tracklets = entries, found
            return self._tracklets[1]

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """As `Catalog.vectors`."""
        names = self.entries.names
        return self._read([names[row] for row in rows])

    def nearest(
        self, vectors: Vectors, filters: Filters, *, by: By, top: int
    ) -> list[tuple[Match, ...]]:
        """As `Catalog.nearest`."""
        asked: Any = vectors.descriptors
        if by == "parts":
            if vectors.parts is None:
                raise UserError("The query has no part embeddings: search by the whole image.")
            asked = vectors
        where = where_text(filters, self.store.columns)
        if where is None:
            return [()] * len(vectors.descriptors)
        looked = 1 << (top + len(filters.without) - 1).bit_length()  # so that few are compiled
        found = self.store.search(asked, top=looked, where=where or None, parts=by == "parts")
        return [
            self._matches(names, distances, filters, top)
            for names, distances in zip(found.names.tolist(), found.distances.tolist(), strict=True)
        ]

    def _matches(
        self, names: list[str], distances: list[float], filters: Filters, top: int
    ) -> tuple[Match, ...]:
        entries = self.entries
        found = []
        for name, distance in zip(names, distances, strict=True):
            number = entry_id(name)
            # An image that came or went within the last second is left to the next search.
            if np.isfinite(distance) and number not in filters.without and number in entries:
                found.append(Match(entries.entry(entries.row(number)), distance))
        return tuple(found[:top])

    def _read(self, names: Sequence[str]) -> Vectors:
        unique = list(dict.fromkeys(names))
        gallery = self.store.to_gallery(names=unique)
        places = {name: place for place, name in enumerate(gallery.names.tolist())}
        rows = [places[name] for name in names]
        return Vectors(
            np.asarray(gallery.descriptors[rows], np.float32),
            None if gallery.parts is None else np.asarray(gallery.parts[rows], np.float32),
            None if gallery.visible is None else gallery.visible[rows],
        )


def _entries(store: GalleryStore) -> Entries:
    known = store.rows(start=0, count=len(store))
    return Entries(
        known.names.tolist(),
        identities=None if known.identities is None else known.identities.tolist(),
        cameras=None if known.cameras is None else known.cameras.tolist(),
        times=None if "time" not in known.columns else known.columns["time"].tolist(),
    )


def where_text(filters: Filters, kinds: Mapping[str, str]) -> str | None:
    """Filters in the language of stores; empty if all images pass, None if none can.

    Args:
        filters: Their `name` and `without` do not count.
        kinds: The columns of the store, and what they hold.
    """
    terms = []
    if filters.cameras is not None:
        values = _values(filters.cameras, kinds.get("camera"))
        if not values:
            return None
        terms.append(f"camera in ({', '.join(values)})")
    if values := _values(filters.without_cameras, kinds.get("camera")):
        terms.append(f"(camera is null or camera not in ({', '.join(values)}))")
    if filters.identity is not None:
        values = _values({filters.identity}, kinds.get("identity"))
        if not values:
            return None
        terms.append(f"identity = {values[0]}")
    for sign, moment in ((">=", filters.since), ("<=", filters.until)):
        if moment is not None:
            if "time" not in kinds:
                return None
            terms.append(f"time {sign} '{moment.isoformat()}'")
    return " and ".join(terms)


def _values(texts: Any, kind: str | None) -> list[str]:
    """Values as filters write them; those that a column cannot hold are left out."""
    if kind == "text":
        return ["'" + text.replace("'", "''") + "'" for text in sorted(texts)]
    if kind == "whole number":
        return [text for text in sorted(texts) if text.removeprefix("-").isdecimal()]
    return []
