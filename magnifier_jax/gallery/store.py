"""A gallery on disk or in object storage that grows: images are added, replaced, deleted, searched.

Made of the tables of `engine`, the columns of `records` and the filters of `where`; the search
itself is that of galleries in memory, to which a block of rows after the other is handed.
"""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import lance
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from magnifier_jax.gallery.engine import Header, Place, merge
from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.incoming import Incoming
from magnifier_jax.gallery.records import (
    NAME,
    ROW_CHECK,
    Column,
    known_columns,
    row_checks,
    text_array,
)
from magnifier_jax.gallery.scope import Scope, knowledge
from magnifier_jax.gallery.searcher import Searcher, SearchResult
from magnifier_jax.gallery.stored_rows import damaged
from magnifier_jax.gallery.where import Filter, Kind
from magnifier_jax.retrieval.descriptors import (
    Metric,
    Vectors,
)
from magnifier_jax.retrieval.distances import Blocks

if TYPE_CHECKING:
    from magnifier_jax.embedding.model import Model

_BLOCKS = Blocks(gallery_rows=8192)


@dataclasses.dataclass(frozen=True)
class Network:
    """One of the networks whose images a store holds.

    Attributes:
      model: What tells it from others; empty if it is not known.
      metric: How its descriptors are compared.
      width: Numbers in a descriptor.
      images: Number of images.
      notes: Where it came from.
    """

    model: str
    metric: Metric
    width: int
    images: int
    notes: Mapping[str, Any]

    def __str__(self) -> str:
        """Whatever tells it from others, for people."""
        said = [f"{name} {self.notes[name]}" for name in ("run", "step") if name in self.notes]
        return f"{' '.join(said) or self.model[:24] or 'unnamed'} ({self.metric})"


class GalleryStore:
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
        self._searchers: dict[tuple[int, str | None], Searcher] = {}
        self._verified: set[tuple[int, str]] = set()

    @classmethod
    def open(
        cls,
        place: str | Path,
        *,
        network: Model | str | None = None,
        metric: Metric | None = None,
        create: bool = False,
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
        model = network if isinstance(network, str) else getattr(network, "model_id", None)
        wanted = metric or getattr(network, "metric", None)
        notes = getattr(network, "notes", {})
        there = networks(where)
        fitting = [
            each for each in there if model in (None, each.model) and wanted in (None, each.metric)
        ]
        if len(fitting) > 1:
            known = ", ".join(str(each) for each in fitting)
            raise UserError(f"{where} has images of several networks: {known}; say of which")
        if fitting:
            model, wanted, notes = fitting[0].model, fitting[0].metric, fitting[0].notes
        elif not create:
            raise _not_there(where, there)
        opened = cls(
            where,
            model=model or "",
            metric=wanted or "euclidean",
            notes=notes,
            blocks=blocks or _BLOCKS,
            device_bytes=device_bytes,
        )
        opened._latest()
        return opened

    def __repr__(self) -> str:
        """Where it is, and how large."""
        return f"GalleryStore({str(self.place)!r}, images={len(self)}, metric={self.metric!r})"

    def __len__(self) -> int:
        """Number of images in the latest version."""
        dataset = self._latest()
        if dataset is None:
            return 0
        with self.place.errors():
            return int(dataset.count_rows())

    @property
    def version(self) -> int:
        """Number of the latest version; it grows with each change. 0 before the first image."""
        dataset = self._latest()
        return 0 if dataset is None else int(dataset.version)

    @property
    def notes(self) -> Mapping[str, Any]:
        """What is noted of the network and the images, such as `workdir` and `images`."""
        dataset = self._latest()
        return self._new_notes if dataset is None else self._header(dataset).notes

    @property
    def columns(self) -> Mapping[str, Kind]:
        """What is known of images, and so can be filtered by: each column and what it holds."""
        dataset = self._latest()
        return {NAME: "text"} if dataset is None else known_columns(dataset.schema)

    def names(self) -> NDArray[np.str_]:
        """The names of all images [N]."""
        dataset = self._latest()
        if dataset is None:
            return np.empty(0, np.str_)
        with self.place.errors():
            read = dataset.scanner(columns=[NAME], scan_in_order=True).to_table()[NAME]
            return np.array(read.to_pylist(), np.str_)

    # --- Changing ---

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
        dataset = self._latest()
        if dataset is None:
            raise UserError(f"{self.place} is empty")
        if where is not None:
            sql = self._filter(dataset, where)
        else:
            wanted = [str(name) for name in names or ()]
            if not wanted:
                return 0
            unknown = sorted(set(wanted) - self._there(dataset, wanted))
            if unknown:
                raise UserError(f"{unknown[0]!r} is not in {self.place}")
            sql = "`name` IN ({})".format(
                ", ".join("'" + name.replace("'", "''") + "'" for name in wanted)
            )
        with self._lock, self.place.errors():
            return int(dataset.delete(sql)["num_deleted_rows"])

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
            dataset = self._latest()
            if dataset is None:
                table = rows.table(None)
                header = Header(
                    metric=self.metric,
                    model=self.model,
                    width=rows.descriptors.width,
                    parts=rows.parts_shape,
                    notes=self._new_notes,
                )
                table = table.replace_schema_metadata(header.metadata())
                self._dataset = self.place.create(self._table, table)
                return len(rows.names)
            self._check_fit(dataset, rows)
            if not replace and (twice := self._there(dataset, rows.names)):
                raise UserError(
                    f"{min(twice)!r} is in {self.place} already ({len(twice):,} of the names are); "
                    "replace them, or leave them out"
                )
            table = rows.table(dataset.schema)
            self._add_columns(dataset, table.schema)
            counts = merge(dataset, table, place=self.place, replace=replace)
            written = counts["num_inserted_rows"] + counts.get("num_updated_rows", 0)
            if written < len(rows.names):
                raise UserError(
                    f"another process added {len(rows.names) - written:,} of the same names to "
                    f"{self.place} meanwhile; its images stay, and the others were added"
                )
            return len(rows.names)

    def _check_fit(self, dataset: lance.LanceDataset, rows: Incoming) -> None:
        header = self._header(dataset)
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
        kinds = known_columns(dataset.schema)
        for name, column in rows.columns.items():
            if name in kinds and kinds[name] != column.kind and not _widens(column, kinds[name]):
                raise UserError(
                    f"{name} is a {column.kind}, but a {kinds[name]} in {self.place}; give all "
                    "alike"
                )

    def _add_columns(self, dataset: lance.LanceDataset, schema: pa.Schema) -> None:
        known = set(dataset.schema.names)
        new = [field for field in schema if field.name not in known]
        if new:
            with self.place.errors():
                dataset.add_columns(pa.schema(new))

    def _there(self, dataset: lance.LanceDataset, names: Sequence[str]) -> set[str]:
        """Those of the names that are in the gallery."""
        wanted = text_array(names, what=NAME)
        with self.place.errors():
            found: set[str] = set()
            for batch in dataset.scanner(columns=[NAME]).to_batches():
                column = batch.column(NAME)
                found.update(column.filter(pc.is_in(column, wanted)).to_pylist())
            return found

    # --- Searching ---

    def search(
        self,
        found: Vectors,
        *,
        top: int = 10,
        where: str | None = None,
        exclude: Mapping[str, ArrayLike] | None = None,
        max_distance: float | None = None,
        parts: bool = False,
    ) -> SearchResult:
        """The images most like each query; exact.

        Args:
          found: Descriptors [Nq, D], or one [D], or embeddings that have them.
          top: Number of matches k for each query.
          where: Which images are searched, as `camera != 3 and time >= '2026-11-29T09:00'`; the
            language is that of `magnifier_jax.gallery.where`.
          exclude: For columns the values of the queries [Nq]: images with the query's own value are
            no matches, such as those of its camera or tracklet. What is not known equals nothing.
          max_distance: Images farther than this are no matches.
          parts: Whether only the parts are compared that both images show.

        Returns:
          Indices (rows of the version that was searched), distances and names [Nq, k], nearest
          first; `counts` says how many matches each query has, and 0 is nobody.

        Raises:
          UserError: if the descriptors or the filter do not fit the gallery.
          DataError: if rows are not as they were written.
        """
        with self._lock:
            dataset = self._latest()
            if dataset is None:
                raise UserError(f"{self.place} is empty; add images first")
            searcher = self._searcher(dataset, where)
        if searcher is None:
            anything: Any = getattr(found, "descriptors", found)
            shape = np.shape(anything)
            return _nothing(queries=1 if len(shape) == 1 else shape[0])
        if parts:
            anything = found
            return searcher.search_parts(
                anything, top=top, exclude=exclude, max_distance=max_distance
            )
        return searcher.search(found, top=top, exclude=exclude, max_distance=max_distance)

    def _searcher(self, dataset: lance.LanceDataset, where: str | None) -> Searcher | None:
        """What searches a version, kept until another one or another filter is asked for."""
        sql = None if where is None else self._filter(dataset, where)
        key = (int(dataset.version), sql)
        if key not in self._searchers:
            pinned = self._pinned(dataset)
            if sql is not None:
                self._verify(pinned)
            made = Scope.of(self.place, pinned, sql).searcher(
                self._header(pinned), blocks=self._blocks, device_bytes=self._device_bytes
            )
            if made is None:
                return None
            kept = [old for old in self._searchers if old[0] == key[0] and old[1] is None]
            self._searchers = {old: self._searchers[old] for old in kept}
            self._searchers[key] = made
        return self._searchers[key]

    def _verify(self, dataset: lance.LanceDataset) -> None:
        """Compares what is known of images with its checksums, before a filter relies on it.

        A file never changes once it is written, so that each is read only once.
        """
        for fragment in dataset.get_fragments():
            metadata = fragment.metadata
            key = (fragment.fragment_id, str(metadata.files), str(metadata.deletion_file))
            state = (fragment.fragment_id, str(hash(key)))
            if state in self._verified:
                continue
            columns = knowledge(dataset.schema)
            with self.place.errors():
                table = fragment.to_table(columns=columns)
            if (row_checks(table) != table[ROW_CHECK].to_numpy()).any():
                raise damaged(self.place, "what is known of some images")
            self._verified.add(state)

    def _filter(self, dataset: lance.LanceDataset, where: str) -> str:
        return Filter.read(where, known_columns(dataset.schema)).sql()

    # --- Versions ---

    def _latest(self) -> lance.LanceDataset | None:
        with self._lock:
            if self._dataset is None:
                self._dataset = self.place.open(self._table)
            else:
                with self.place.errors():
                    self._dataset.checkout_latest()
            return self._dataset

    def _pinned(self, dataset: lance.LanceDataset) -> lance.LanceDataset:
        """The version as it is now, whatever is written later."""
        with self.place.errors():
            return dataset.checkout_version(dataset.version)

    def _header(self, dataset: lance.LanceDataset) -> Header:
        return Header.of(dataset.schema, place=str(self.place))


def networks(place: Place) -> list[Network]:
    """The networks whose images a store holds."""
    found = []
    for table in place.tables():
        dataset = place.open(table)
        if dataset is None:
            continue
        header = Header.of(dataset.schema, place=str(place))
        with place.errors():
            images = int(dataset.count_rows())
        found.append(Network(header.model, header.metric, header.width, images, notes=header.notes))
    return found


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


def _nothing(*, queries: int) -> SearchResult:
    """What is found where nothing is searched."""
    return SearchResult(
        indices=np.empty((queries, 0), np.int32),
        distances=np.empty((queries, 0), np.float32),
        names=np.empty((queries, 0), np.str_),
        counts=np.zeros(queries, np.int64),
    )
