"""One version of a network's images in a store: what is read and searched, whatever is written."""

from __future__ import annotations

import dataclasses
import functools
import threading
from collections.abc import Mapping, Sequence
from typing import Any

import lance
import numpy as np
import pyarrow.compute as pc
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.results import Rows
from magnifier_jax.gallery.searcher import Searched, Searcher
from magnifier_jax.gallery.store.engine import Header, Place
from magnifier_jax.gallery.store.records import (
    CAMERA,
    IDENTITY,
    NAME,
    ROW_CHECK,
    known_columns,
    row_checks,
    text_array,
)
from magnifier_jax.gallery.store.scope import Scope, knowledge
from magnifier_jax.gallery.store.stored_rows import damaged
from magnifier_jax.gallery.thresholds import verify_images
from magnifier_jax.gallery.where import Filter, Kind
from magnifier_jax.retrieval.descriptors import Metric
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.measures.verification import Verification

_CHECKED_ROWS = 8192  # at a time


@dataclasses.dataclass(frozen=True, eq=False)
class StoredVersion:
    """A version that does not change; made by `GalleryStore`.

    Attributes:
      place: The store.
      dataset: The version of its table.
      blocks: How much is searched at a time, and on which devices.
      device_bytes: Up to this size the gallery stays on the devices between searches.
      verified: Files whose knowledge was compared with its checksums; shared by versions.
    """

    place: Place
    dataset: lance.LanceDataset
    blocks: Blocks
    device_bytes: int
    verified: set[str]
    _lock: threading.Lock = dataclasses.field(default_factory=threading.Lock, repr=False)

    def __len__(self) -> int:
        """Number of images."""
        with self.place.errors():
            return int(self.dataset.count_rows())

    @functools.cached_property
    def header(self) -> Header:
        """What is true of all images."""
        return Header.of(self.dataset.schema, place=str(self.place))

    @property
    def metric(self) -> Metric:
        """How descriptors are compared."""
        return self.header.metric

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is noted of the network and the images."""
        return self.header.notes

    @property
    def columns(self) -> dict[str, Kind]:
        """What is known of images."""
        return known_columns(self.dataset.schema)

    def sql(self, where: str) -> str:
        """A filter, read and written anew for the store.

        Raises:
          UserError: if it cannot be read, or does not fit the columns.
        """
        return Filter.read(where, self.columns).sql()

    def check_filter(self, where: str) -> None:
        """Refuses a filter that does not fit; as `sql`."""
        self.sql(where)

    def values(self, column: str, *, sql: str | None = None) -> NDArray[np.object_]:
        """A column [N], with None for what is not known."""
        with self.place.errors():
            scanner = self.dataset.scanner(columns=[column], filter=sql, scan_in_order=True)
            found = scanner.to_table()[column].to_pylist()
        return np.array([*found, None], object)[:-1]

    def there(self, names: Sequence[str]) -> set[str]:
        """Those of the names that are in the gallery."""
        wanted = text_array(names, what=NAME)
        found: set[str] = set()
        with self.place.errors():
            for batch in self.dataset.scanner(columns=[NAME]).to_batches():
                column = batch.column(NAME)
                found.update(column.filter(pc.is_in(column, wanted)).to_pylist())
        return found

    def rows(self, *, where: str | None, start: int, count: int) -> Rows:
        """What is known of images, without their vectors; see `GalleryStore.rows`."""
        if start < 0 or count < 0:
            raise UserError(f"start and count must be at least 0, not {start} and {count}")
        scope = self._scope(None if where is None else self.sql(where))
        chosen = np.arange(len(scope.offsets))[start : start + count]
        return scope.describe(chosen)

    def gallery(self, *, names: Sequence[str] | None, where: str | None) -> Gallery:
        """Images in memory; see `GalleryStore.to_gallery`."""
        sql = None if where is None else self.sql(where)
        if names is not None:
            missing = sorted(set(names) - self.there(names))
            if missing:
                raise UserError(f"{missing[0]!r} is not in {self.place}")
            wanted = names_filter(names)
            sql = wanted if sql is None else f"({sql}) AND {wanted}"
        return self._scope(sql).gallery(self.header)

    def verify(self, *, rates: Sequence[float], most: int) -> Verification:
        """Thresholds from the gallery's own images; see `SearchableGallery.verify`."""
        known = {name: self.values(name) for name in (IDENTITY, CAMERA) if name in self.columns}
        return verify_images(
            lambda rows: self._scope(None).vectors(self.header)[rows],
            identities=known.get(IDENTITY),
            cameras=known.get(CAMERA),
            most=most,
            rates=rates,
            metric=self.metric,
        )

    def check(self) -> int:
        """Compares every row with its checksums; see `GalleryStore.check`."""
        self.verified.clear()
        self._check_knowledge()
        scope = self._scope(None)
        for rows in scope.all_vectors(self.header):
            for start in range(0, len(rows), _CHECKED_ROWS):
                rows[start : start + _CHECKED_ROWS]  # Reading compares them.
        return len(scope.offsets)

    def searched(self, where: str | None) -> Searched:
        """What a search looks at: the images that a filter lets through."""
        return Searched(self._searcher(None if where is None else self.sql(where)))

    @functools.cached_property
    def _searchers(self) -> dict[str | None, Searcher]:
        """The searcher of all images, and that of the latest filter."""
        return {}

    def _searcher(self, sql: str | None) -> Searcher | None:
        with self._lock:
            if sql not in self._searchers:
                made = self._scope(sql).searcher(
                    self.header, blocks=self.blocks, device_bytes=self.device_bytes
                )
                if made is None:
                    return None
                for other in [key for key in self._searchers if key is not None]:
                    del self._searchers[other]
                self._searchers[sql] = made
            return self._searchers[sql]

    def _scope(self, sql: str | None) -> Scope:
        if sql is not None:
            self._check_knowledge()
        return Scope.of(self.place, self.dataset, sql)

    def _check_knowledge(self) -> None:
        """Compares what is known of images with its checksums, before a filter relies on it.

        A file never changes once it is written, so that each is read only once.
        """
        for fragment in self.dataset.get_fragments():
            key = str(fragment.metadata)
            if key in self.verified:
                continue
            with self.place.errors():
                table = fragment.to_table(columns=knowledge(self.dataset.schema))
            if (row_checks(table) != table[ROW_CHECK].to_numpy()).any():
                raise damaged(self.place, "what is known of some images")
            self.verified.add(key)


def names_filter(names: Sequence[str]) -> str:
    """SQL that lets images of these names through."""
    quoted = ("'" + str(name).replace("'", "''") + "'" for name in names)
    return f"`{NAME}` IN ({', '.join(quoted)})"
