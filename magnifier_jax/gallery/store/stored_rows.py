"""Vectors of a store as an array that is never in memory as a whole."""

from __future__ import annotations

import dataclasses
import threading
from collections.abc import Iterator
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from input_pipeline.errors import DataError
from magnifier_jax.gallery.store.engine import Place
from magnifier_jax.gallery.store.records import vector_checks

_READ_AHEAD_BYTES = 2**25


@dataclasses.dataclass(frozen=True, eq=False)
class StoredRows:
    """A column of vectors of one version, which can be sliced and indexed as `[N, D]`.

    Slices that follow each other read through the column once, a block at a time. Every row is
    compared with its checksum.

    Attributes:
      place: The store, for messages.
      dataset: The version of the table.
      column: The column of vectors.
      check: The column of their checksums.
      width: Numbers in a row.
      dtype: Type of the numbers.
      where: The filter, as SQL; None for all rows.
      offsets: Numbers of the rows in the table, int64 [N].
      salt: uint64 [N] that goes into the checksums, or None.
    """

    place: Place
    dataset: lance.LanceDataset
    column: str
    check: str
    width: int
    dtype: np.dtype[np.floating]
    where: str | None
    offsets: NDArray[np.int64]
    salt: NDArray[np.uint64] | None = None

    @property
    def shape(self) -> tuple[int, int]:
        """Number of rows and of numbers in one."""
        return len(self.offsets), self.width

    def __len__(self) -> int:
        """Number of rows."""
        return len(self.offsets)

    def __getitem__(self, wanted: slice | NDArray[np.integer]) -> NDArray[np.floating]:
        """Rows by a slice without steps, or by their numbers."""
        if not isinstance(wanted, slice):
            return self._taken(np.asarray(wanted, np.int64))
        start, stop, _ = wanted.indices(len(self))
        if stop <= start:
            return np.empty((0, self.width), self.dtype)
        reading = self._reading
        if reading is None or reading.position != start:
            if start:
                return self._taken(np.arange(start, stop))
            reading = _Reading(self._batches(rows=stop))
            self._local.reading = reading
        rows = reading.next(stop - start)
        if reading.position == len(self):
            self._local.reading = None
        return rows

    @property
    def _reading(self) -> _Reading | None:
        return getattr(self._local, "reading", None)

    _local: threading.local = dataclasses.field(default_factory=threading.local, repr=False)

    def _batches(self, *, rows: int) -> Iterator[NDArray[np.floating]]:
        with self.place.errors():
            scanner = self.dataset.scanner(
                columns=[self.column, self.check],
                filter=self.where,
                batch_size=rows,
                strict_batch_size=True,
                scan_in_order=True,
                batch_readahead=2,
                fragment_readahead=1,
                io_buffer_size=_READ_AHEAD_BYTES,
            )
            batches = iter(scanner.to_batches())
        start = 0
        while True:
            with self.place.errors():
                batch = next(batches, None)
            if batch is None:
                raise damaged(self.place, f"the {self.column} of some rows")
            yield self._checked(batch, np.arange(start, start + len(batch)))
            start += len(batch)

    def _taken(self, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        unique, places = np.unique(rows, return_inverse=True)
        with self.place.errors():
            offsets = self.offsets[unique].tolist()
            table = self.dataset.take(offsets, columns=[self.column, self.check])
        batch = table.combine_chunks().to_batches()
        if not batch:
            return np.empty((0, self.width), self.dtype)
        return self._checked(batch[0], unique)[places]

    def _checked(self, batch: pa.RecordBatch, rows: NDArray[np.int64]) -> NDArray[np.floating]:
        vectors = as_matrix(batch.column(self.column), width=self.width)
        found = vector_checks(vectors)
        if self.salt is not None and rows[-1] < len(self.salt):
            found = found ^ self.salt[rows]
        expected = batch.column(self.check).to_numpy(zero_copy_only=False)
        wrong = np.flatnonzero(found != expected)
        if len(wrong) or len(vectors) != len(rows) or vectors.dtype != self.dtype:
            raise damaged(self.place, f"the {self.column} of {len(wrong):,} rows")
        return vectors


class _Reading:
    """A pass through a column."""

    def __init__(self, batches: Iterator[NDArray[np.floating]]) -> None:
        self._batches = batches
        self._rest: NDArray[np.floating] | None = None
        self.position = 0

    def next(self, count: int) -> NDArray[np.floating]:
        """The next rows."""
        pieces: list[NDArray[Any]] = []
        missing = count
        while missing:
            batch = self._rest if self._rest is not None else next(self._batches)
            pieces.append(batch[:missing])
            self._rest = batch[missing:] if len(batch) > missing else None
            missing -= len(pieces[-1])
        self.position += count
        return pieces[0] if len(pieces) == 1 else np.concatenate(pieces)


def as_matrix(column: pa.Array, *, width: int) -> NDArray[Any]:
    """Lists of one length as an array [n, width], without a copy where that can be."""
    flat: NDArray[Any] = column.flatten().to_numpy(zero_copy_only=False)
    return flat.reshape(-1, width)


def damaged(place: Place, what: str) -> DataError:
    """The error for what is not as it was written."""
    return DataError(
        f"{place} is damaged: {what} are not as they were written; restore a copy, or delete these "
        "images and embed them again (`magnifier gallery check` names them)"
    )
