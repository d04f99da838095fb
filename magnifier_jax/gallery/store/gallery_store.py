"""A gallery on disk or in object storage that grows: images are added, replaced, deleted, searched.

Made of the tables of `engine`, the columns of `records` and the filters of `where`; the search
itself is that of galleries in memory, to which a block of rows after the other is handed.
"""

from __future__ import annotations

import dataclasses
import datetime
import os
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import DataError, UserError
from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.results import Rows
from magnifier_jax.gallery.searcher import SearchableGallery
from magnifier_jax.gallery.store.engine import Header, Network, Place, merge
from magnifier_jax.gallery.store.incoming import Incoming
from magnifier_jax.gallery.store.records import NAME, Column
from magnifier_jax.gallery.store.version import StoredVersion, names_filter
from magnifier_jax.gallery.thresholds import with_thresholds
from magnifier_jax.gallery.where import Kind
from magnifier_jax.retrieval.descriptors import Metric, Vectors
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.measures.verification import Verification

if TYPE_CHECKING:
    from magnifier_jax.embedding.model import Model

_TRIES = 5


class GalleryStore(SearchableGallery):
    """The images of one network in a store; made by `Gallery.open`.

    Every search sees one version as a whole, whatever other processes write meanwhile. An object
    can be used by several threads.

    Attributes:
      place: Where the store is.
      model: Which network made the descriptors.
      metric: How descriptors are compared.
    """

    def __init__(
        self,
        place: Place,
        *,
        model: str,
        metric: Metric,
        notes: Mapping[str, Any],
        blocks: Blocks,
        device_bytes: int,
    ) -> None:
        self.place, self.model, self.metric = place, model, metric
        self._new_notes = dict(notes)
        self._blocks, self._device_bytes = blocks, device_bytes
        self._table = place.table(model=model, metric=metric)
        self._dataset: lance.LanceDataset | None = None
        self._lock = threading.RLock()
        self._version: StoredVersion | None = None
        self._verified: set[str] = set()

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        network: Model | str | None = None,
        metric: Metric | None = None,
        create: bool = False,
        notes: Mapping[str, Any] | None = None,
        options: Mapping[str, str] | None = None,
        blocks: Blocks | None = None,
        device_bytes: int = 2**30,
    ) -> GalleryStore:
        """Opens the images of a network.

        Args:
          place: A folder such as `people.lance`, or a URL such as `s3://bucket/people.lance`.
          network: The network, or its `model_id`; if not given, the only one in the store.
          metric: How descriptors are compared; if not given, as the network or the store says.
          create: Whether the store or the network may be new to it; it is made with the first
            images.
          notes: What a new gallery notes; if not given, where the network is.
          options: What object storage needs, as Lance names it (`region`, `endpoint`, …); the
            environment (`AWS_…`) counts too.
          blocks: How much is searched at a time, and on which devices.
          device_bytes: A gallery up to this size stays on each device between searches; a larger
            one is read from the store in blocks.

        Raises:
          UserError: if there is no such store, it has no images of the network, or of several.
          DataError: if it is damaged.
        """
        where = Place.named(place, options=options)
        if metric not in (None, "euclidean", "cosine"):
            raise UserError(f"unknown metric {metric!r}; choose 'euclidean' or 'cosine'")
        model = network if isinstance(network, str) else getattr(network, "model_id", None)
        wanted = metric or getattr(network, "metric", None)
        noted = getattr(network, "notes", {}) if notes is None else notes
        there = where.networks()
        fitting = [
            each for each in there if model in (None, each.model) and wanted in (None, each.metric)
        ]
        if len(fitting) > 1:
            known = ", ".join(str(each) for each in fitting)
            raise UserError(f"{where} has images of several networks: {known}; say of which")
        if fitting:
            model, wanted, noted = fitting[0].model, fitting[0].metric, fitting[0].notes
        elif not create:
            raise _not_there(where, there)
        opened = cls(
            where,
            model=model or "",
            metric=wanted or "euclidean",
            notes=noted,
            blocks=blocks or Blocks(),
            device_bytes=device_bytes,
        )
        opened._latest()
        return opened

    @classmethod
    def every(cls, place: str | Path, **settings: Any) -> list[GalleryStore]:
        """The images of each network in a store; settings are those of `open`."""
        options = settings.get("options")
        there = Place.named(place, options=options).networks()
        return [
            cls.open(place, network=each.model, metric=each.metric, **settings) for each in there
        ]

    def __repr__(self) -> str:
        """Where it is, and how large."""
        return f"GalleryStore({str(self.place)!r}, images={len(self)}, metric={self.metric!r})"

    def __len__(self) -> int:
        """Number of images in the latest version."""
        version = self._latest()
        return 0 if version is None else len(version)

    @property
    def version(self) -> int:
        """Number of the latest version; it grows with each change. 0 before the first image."""
        version = self._latest()
        return 0 if version is None else int(version.dataset.version)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is noted of the network and the images, such as `workdir` and `images`."""
        version = self._latest()
        return self._new_notes if version is None else version.header.notes

    @property
    def columns(self) -> Mapping[str, Kind]:
        """What is known of images, and so can be filtered by: each column and what it holds."""
        version = self._latest()
        return {NAME: "text"} if version is None else version.columns

    def names(self) -> NDArray[np.str_]:
        """The names of all images [N]."""
        version = self._latest()
        return np.empty(0, np.str_) if version is None else version.values(NAME).astype(np.str_)

    def known(self, column: str) -> dict[str, Any]:
        """What a column says of each image, by its name; empty if there is no such column."""
        version = self._latest()
        if version is None or column not in version.columns:
            return {}
        pairs = zip(version.values(NAME), version.values(column), strict=True)
        return dict(pairs)

    # --- Changing ---

    def note_images(self, folder: str | Path) -> None:
        """Notes the folder from which the names of images start, if none is noted yet."""
        if "images" not in self.notes:
            self._new_notes["images"] = os.path.abspath(folder)  # noqa: PTH100 - links stay

    def append(
        self,
        found: Vectors,
        *,
        names: Sequence[str] | NDArray[np.str_] | None = None,
        **columns: ArrayLike | Iterable[Any] | None,
    ) -> int:
        """Adds images: all of them, in one version, or none.

        Args:
          found: Descriptors [N, D], or embeddings or a `Gallery`, whose parts are kept too.
          names: [N], all different, and none of them in the gallery; those of the embeddings if not
            given.
          **columns: [N] each: `identities`, `cameras`, `times`, `tracklets`, `paths`, and whatever
            else is known, under its own name; None where it is not. Times without a zone count as
            UTC.

        Returns:
          The number of images that were added.

        Raises:
          UserError: if a name is there already, or anything does not fit the gallery.
        """
        self._check_gallery(found)
        return self._write(Incoming.of(found, names, columns), replace=False)

    def replace(
        self,
        found: Vectors,
        *,
        names: Sequence[str] | NDArray[np.str_] | None = None,
        **columns: ArrayLike | Iterable[Any] | None,
    ) -> int:
        """Like `append`, but images whose name is in the gallery replace those of before."""
        self._check_gallery(found)
        return self._write(Incoming.of(found, names, columns), replace=True)

    def delete(self, *, names: Sequence[str] | None = None, where: str | None = None) -> int:
        """Removes images, by their names or by a filter; see `search`.

        Returns:
          The number of images that were removed.

        Raises:
          UserError: if a name is not there, or the filter cannot be read.
        """
        if (names is None) == (where is None):
            raise UserError("delete needs either names or a filter")
        with self._lock:
            version = self._images()
            if where is not None:
                sql = version.sql(where)
            else:
                wanted = [str(name) for name in names or ()]
                if not wanted:
                    return 0
                unknown = sorted(set(wanted) - version.there(wanted))
                if unknown:
                    raise UserError(f"{unknown[0]!r} is not in {self.place}")
                sql = names_filter(wanted)
            with self.place.errors():
                return int(self._writable().delete(sql)["num_deleted_rows"])

    def tidy(self) -> None:
        """Joins small files into large ones, and removes versions that are older than an hour.

        Readers go on meanwhile, if they need no older version.
        """
        with self._lock:
            self._images()
            with self.place.errors():
                self._writable().optimize.compact_files()
                hour = datetime.timedelta(hours=1)
                self._writable().cleanup_old_versions(older_than=hour)

    def check(self) -> int:
        """Compares every row with its checksums.

        Returns:
          The number of images.

        Raises:
          DataError: if something is not as it was written.
        """
        version = self._latest()
        return 0 if version is None else version.check()

    def _check_gallery(self, found: Vectors) -> None:
        if not isinstance(found, Gallery):
            return
        if found.metric != self.metric:
            raise UserError(f"a gallery for {self.metric} distance cannot take {found.metric} ones")
        if found.model != self.model:
            raise UserError(
                f"{self.place} and the gallery were made by different networks; open the store "
                "with network=gallery.model, which keeps them apart, or embed the images again"
            )

    def _write(self, rows: Incoming, *, replace: bool) -> int:
        with self._lock:
            for attempt in range(_TRIES):
                before = self.version
                try:
                    return self._write_once(rows, replace=replace)
                except DataError:
                    # Another process may have added a column, or made the table, meanwhile.
                    if self.version == before or attempt == _TRIES - 1:
                        raise
        raise AssertionError("the last attempt returns or raises")

    def _write_once(self, rows: Incoming, *, replace: bool) -> int:
        version = self._latest()
        if version is None:
            header = Header(
                metric=self.metric,
                model=self.model,
                width=rows.descriptors.width,
                parts=rows.parts_shape,
                notes=self._new_notes,
            )
            table = rows.table(None).replace_schema_metadata(header.metadata())
            if self.place.create(self._table, table):
                return len(rows.names)
            version = self._images()
        self._check_fit(version, rows)
        if not replace and (twice := version.there(rows.names)):
            raise UserError(
                f"{min(twice)!r} is in {self.place} already ({len(twice):,} of the names are); "
                "replace them, or leave them out"
            )
        table = rows.table(version.dataset.schema)
        self._add_columns(table.schema)
        counts = merge(self._writable(), table, place=self.place, replace=replace)
        written = counts["num_inserted_rows"] + counts.get("num_updated_rows", 0)
        if written < len(rows.names):
            raise UserError(
                f"another process added {len(rows.names) - written:,} of the same names to "
                f"{self.place} meanwhile; its images stay, and the others were added"
            )
        return len(rows.names)

    def _check_fit(self, version: StoredVersion, rows: Incoming) -> None:
        header = version.header
        if rows.descriptors.width != header.width:
            raise UserError(
                f"the descriptors have {rows.descriptors.width} numbers and those of {self.place} "
                f"{header.width}; both must come from the same network"
            )
        if rows.parts_shape != header.parts:
            raise UserError(
                f"part embeddings have shape {rows.parts_shape} and those of {self.place} "
                f"{header.parts}; all images must have the same, or none"
            )
        kinds = version.columns
        for name, column in rows.columns.items():
            if name in kinds and kinds[name] != column.kind and not _widens(column, kinds[name]):
                raise UserError(
                    f"{name} is a {column.kind}, but a {kinds[name]} in {self.place}; give all "
                    "alike"
                )

    def _add_columns(self, schema: pa.Schema) -> None:
        dataset = self._writable()
        known = set(dataset.schema.names)
        new = [field for field in schema if field.name not in known]
        if new:
            with self.place.errors():
                dataset.add_columns(pa.schema(new))

    # --- Reading ---

    def rows(self, *, where: str | None = None, start: int = 0, count: int = 100) -> Rows:
        """What is known of images, some at a time, in the order in which they were added.

        Args:
          where: Which images; see `search`.
          start: How many of them to pass over.
          count: At most how many.
        """
        return self._images().rows(where=where, start=start, count=count)

    def to_gallery(
        self, *, names: Sequence[str] | None = None, where: str | None = None
    ) -> Gallery:
        """Images in memory, as to save them as `.npz` or to ask for what is like them.

        Times, tracklets and other columns stay behind, for a `Gallery` has none; text cameras too.

        Args:
          names: Only the images of these names.
          where: Only those that the filter lets through.

        Raises:
          UserError: if a name is not there, or nothing is left.
        """
        return self._images().gallery(names=names, where=where)

    def keep_thresholds(self, found: Verification) -> None:
        """Notes the thresholds of a verification, here or of a test set, for `search(fpr=…)`."""
        with self._lock:
            version = self._images()
            header = version.header
            if found.metric != self.metric:
                raise UserError(f"thresholds of {found.metric} distance do not fit {self.metric}")
            noted = dataclasses.replace(header, notes=with_thresholds(header.notes, found))
            with self.place.errors():
                self._writable().update_schema_metadata(noted.metadata())

    # --- Versions ---

    def _latest(self) -> StoredVersion | None:
        """The latest version; None before the first image."""
        with self._lock:
            if self._dataset is None:
                self._dataset = self.place.open(self._table)
                if self._dataset is None:
                    return None
            with self.place.errors():
                self._dataset.checkout_latest()
                number = self._dataset.version
                if self._version is None or self._version.dataset.version != number:
                    self._version = StoredVersion(
                        place=self.place,
                        dataset=self._dataset.checkout_version(number),
                        blocks=self._blocks,
                        device_bytes=self._device_bytes,
                        verified=self._verified,
                    )
            return self._version

    def _images(self) -> StoredVersion:
        """The latest version, which there must be."""
        version = self._latest()
        if version is None:
            raise UserError(f"{self.place} is empty; add images first")
        return version

    def _writable(self) -> lance.LanceDataset:
        assert self._dataset is not None
        return self._dataset


def _not_there(place: Place, there: Sequence[Network]) -> UserError:
    if not there:
        return UserError(
            f"there is no gallery {place}; `magnifier embed --gallery` makes one, or open it with "
            "create=True"
        )
    known = ", ".join(str(each) for each in there)
    return UserError(
        f"{place} has no images of this network, but of {known}; embed the images again with "
        "`magnifier embed --gallery`, or search with that network"
    )


def _widens(column: Column, kind: Kind) -> bool:
    """Whether numbers of one kind can be kept as the other."""
    return column.kind == "whole number" and kind == "number"
