"""The rows of one version of a store that a search looks at, and what is known of them."""

from __future__ import annotations

import dataclasses
from typing import Any

import lance
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import JUNK
from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.results import Rows
from magnifier_jax.gallery.searcher import Searcher
from magnifier_jax.gallery.store.engine import Header, Place
from magnifier_jax.gallery.store.records import (
    CAMERA,
    DESCRIPTOR,
    DESCRIPTOR_CHECK,
    IDENTITY,
    NAME,
    PARTS,
    PARTS_CHECK,
    PARTS_NORM,
    ROW_CHECK,
    SQUARED_NORM,
    VISIBLE,
    known_columns,
    row_checks,
    vector_checks,
)
from magnifier_jax.gallery.store.stored_rows import StoredRows, as_matrix, damaged
from magnifier_jax.retrieval.descriptors import SQUARED_RANGE, Descriptors
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.search import Searchable


@dataclasses.dataclass(frozen=True, eq=False)
class Scope:
    """The rows of one version that a search looks at.

    Attributes:
      place: The store.
      dataset: The version.
      where: The filter, as SQL; None for all rows.
      offsets: Numbers of the rows in the version, int64 [N].
      index: What is read of all of them before a search: squared lengths and visible parts.
    """

    place: Place
    dataset: lance.LanceDataset
    where: str | None
    offsets: NDArray[np.int64]
    index: pa.Table

    @classmethod
    def of(cls, place: Place, dataset: lance.LanceDataset, where: str | None) -> Scope:
        """Looks up the rows that a filter lets through."""
        wanted = (SQUARED_NORM, PARTS_NORM, VISIBLE)
        columns = [name for name in wanted if name in dataset.schema.names]
        with place.errors():
            index = dataset.scanner(
                columns=[*columns, "_rowoffset"], filter=where, scan_in_order=True
            ).to_table()
        offsets = index["_rowoffset"].to_numpy().astype(np.int64)
        return cls(place, dataset, where, offsets, index)

    def searcher(self, header: Header, *, blocks: Blocks, device_bytes: int) -> Searcher | None:
        """Searches these rows; None if there are none."""
        if not len(self.offsets):
            return None
        parts = None
        if header.parts is not None:
            rows, seen = self._parts(header)
            norms = self.index[PARTS_NORM].to_numpy()
            parts = Searchable(_descriptors(rows, norms, name="gallery part"), seen)
        return Searcher(
            whole=_descriptors(
                self.vectors(header), self.index[SQUARED_NORM].to_numpy(), name="gallery"
            ),
            parts=parts,
            parts_shape=header.parts or (0, 0),
            describe=self.describe,
            values_of=self._values,
            metric=header.metric,
            blocks=blocks,
            device_bytes=device_bytes,
        )

    @property
    def norms(self) -> NDArray[np.float32]:
        """Squared lengths of the descriptors [N]."""
        found: NDArray[np.float32] = self.index[SQUARED_NORM].to_numpy()
        return found

    def gallery(self, header: Header) -> Gallery:
        """These rows in memory.

        Raises:
          UserError: if there are none.
        """
        if not len(self.offsets):
            raise UserError(f"{self.place} has no such images")
        known = self.describe(np.arange(len(self.offsets)))
        parts, visible = None, None
        if header.parts is not None:
            stored, visible = self._parts(header)
            parts = stored[: len(stored)].reshape(-1, *header.parts)
        cameras = known.cameras
        return Gallery.build(
            self.vectors(header)[: len(self.offsets)],
            names=known.names,
            identities=known.identities,
            cameras=None if cameras is None or cameras.dtype.kind == "U" else cameras,
            parts=parts,
            visible=visible,
            metric=header.metric,
            model=header.model,
            notes=header.notes,
        )

    def _parts(self, header: Header) -> tuple[StoredRows, NDArray[np.bool_]]:
        """Part embeddings, flat, and which of them are visible."""
        assert header.parts is not None
        seen = as_matrix(self.index[VISIBLE].combine_chunks(), width=header.parts[0])
        width = header.parts[0] * header.parts[1]
        rows = self._vectors(PARTS, PARTS_CHECK, width=width, salt=vector_checks(seen))
        return rows, seen > 0

    def all_vectors(self, header: Header) -> list[StoredRows]:
        """Descriptors, and part embeddings if there are any."""
        return [self.vectors(header), *([] if header.parts is None else [self._parts(header)[0]])]

    def vectors(self, header: Header) -> StoredRows:
        """The descriptors of these rows."""
        return self._vectors(DESCRIPTOR, DESCRIPTOR_CHECK, width=header.width)

    def _vectors(
        self, column: str, check: str, *, width: int, salt: NDArray[np.uint64] | None = None
    ) -> StoredRows:
        number = self.dataset.schema.field(column).type.value_type
        return StoredRows(
            place=self.place,
            dataset=self.dataset,
            column=column,
            check=check,
            width=width,
            dtype=np.dtype(number.to_pandas_dtype()),
            where=self.where,
            offsets=self.offsets,
            salt=salt,
        )

    def describe(self, rows: NDArray[np.int64]) -> Rows:
        """What is known of rows, by their numbers [n] in this scope.

        Raises:
          DataError: if it is not as it was written.
        """
        columns = knowledge(self.dataset.schema)
        with self.place.errors():
            table = self.dataset.take(self.offsets[rows].tolist(), columns=columns)
        if len(table) != len(rows) or (row_checks(table) != table[ROW_CHECK].to_numpy()).any():
            raise damaged(self.place, "what is known of some images")
        known = {
            name: np.array([*table[name].to_pylist(), None], object)[:-1]
            for name in known_columns(table.schema)
        }
        return Rows(
            names=known.pop(NAME).astype(np.str_),
            identities=_labels(known.pop(IDENTITY, None), missing=str(JUNK)),
            cameras=_labels(known.pop(CAMERA, None), missing=""),
            columns=known,
        )

    def _values(self, column: str) -> NDArray[Any]:
        kinds = known_columns(self.dataset.schema)
        if column not in kinds:
            raise UserError(
                f"{self.place} has no {column} to exclude by; it has {', '.join(kinds)}"
            )
        with self.place.errors():
            table = self.dataset.scanner(
                columns=[column], filter=self.where, scan_in_order=True
            ).to_table()
        return np.array([*table[column].to_pylist(), None], object)[:-1]


def _labels(values: NDArray[np.object_] | None, *, missing: str) -> NDArray[Any] | None:
    """Numbers with -1, or text with `missing`, for what is not known."""
    if values is None:
        return None
    if any(isinstance(value, str) for value in values):
        return np.array([missing if value is None else value for value in values], np.str_)
    return np.array([-1 if value is None else value for value in values], np.int64)


def _descriptors(rows: StoredRows, norms: NDArray[np.float32], *, name: str) -> Descriptors:
    outside = ~((norms > SQUARED_RANGE[0]) & (norms < SQUARED_RANGE[1])) & (norms > 0)
    anything: Any = rows
    return Descriptors(
        name=name, parts=(anything,), squared_norms=norms, extreme=bool(outside.any())
    )


def knowledge(schema: pa.Schema) -> list[str]:
    """The columns that a row's checksum is made of, and that itself."""
    checked = (SQUARED_NORM, PARTS_NORM, DESCRIPTOR_CHECK, PARTS_CHECK, ROW_CHECK)
    return [*known_columns(schema), *(name for name in checked if name in schema.names)]
