"""Images on their way into a store: checked, and laid out as the store keeps them."""

from __future__ import annotations

import collections
import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.store.records import (
    CAMERA,
    DESCRIPTOR,
    DESCRIPTOR_CHECK,
    IDENTITY,
    PARTS,
    PARTS_CHECK,
    PARTS_NORM,
    ROW_CHECK,
    SQUARED_NORM,
    VISIBLE,
    Column,
    names_column,
    read_column,
    row_checks,
    vector_checks,
    vector_column,
)
from magnifier_jax.retrieval.descriptors import Descriptors, Vectors, check_descriptors, check_parts

_SINGULAR = {"identities": IDENTITY, "cameras": CAMERA, "times": "time"}
_SINGULAR |= {"tracklets": "tracklet", "paths": "path"}


@dataclasses.dataclass(frozen=True, eq=False)
class Incoming:
    """Images on their way into a store.

    Attributes:
      names: [N], all different.
      descriptors: [N, D].
      parts: [N, P, E], or None.
      visible: bool [N, P], or None.
      columns: What else is known of them.
    """

    names: list[str]
    descriptors: Descriptors
    parts: NDArray[np.floating] | None
    visible: NDArray[np.bool_] | None
    columns: Mapping[str, Column]

    @classmethod
    def of(
        cls,
        found: Vectors,
        names: Sequence[str] | NDArray[np.str_] | None,
        columns: Mapping[str, ArrayLike | Iterable[Any] | None],
    ) -> Incoming:
        """Checks what `GalleryStore.append` was given.

        Raises:
          UserError: if it does not go together.
        """
        anything: Any = found
        given = {_SINGULAR.get(name, name): values for name, values in columns.items()}
        if isinstance(found, Gallery):
            given = {IDENTITY: found.identities, CAMERA: found.cameras, **given}
        names = getattr(anything, "names", None) if names is None else names
        checked = check_descriptors(found, name="gallery")
        total = len(checked)
        if names is None or len(names) != total:
            raise UserError(f"{total} descriptors need {total} names")
        texts = [str(name) for name in names]
        if "" in texts:
            raise UserError(f"the name of image {texts.index('')} is empty")
        if len(set(texts)) < total:
            twice = next(name for name, times in collections.Counter(texts).items() if times > 1)
            raise UserError(f"the name {twice!r} is given twice")
        parts, visible = getattr(anything, "parts", None), getattr(anything, "visible", None)
        if parts is not None and visible is not None:
            parts, visible = check_parts(parts, visible, total=total, name="gallery")
        read = {
            name: read_column(name, values, total=total)
            for name, values in given.items()
            if values is not None
        }
        return cls(
            names=texts,
            descriptors=checked,
            parts=parts,
            visible=visible,
            columns={name: column for name, column in read.items() if column is not None},
        )

    @property
    def parts_shape(self) -> tuple[int, int] | None:
        """P and E of part embeddings [N, P, E], if there are any."""
        if self.parts is None:
            return None
        return int(self.parts.shape[1]), int(self.parts.shape[2])

    def table(self, schema: pa.Schema | None) -> pa.Table:
        """As the store keeps it; in the types of its schema, if it has one already."""
        field, names = names_column(self.names)
        fields, arrays = [field], [names]

        def add(name: str, values: pa.Array) -> None:
            if schema is not None and name in schema.names:
                values = _cast(values, schema.field(name).type)
            fields.append(pa.field(name, values.type))
            arrays.append(values)

        for name, column in self.columns.items():
            add(name, column.array())
        descriptors = self._stored(self.descriptors.parts[0], DESCRIPTOR, schema)
        add(DESCRIPTOR, vector_column(descriptors))
        add(SQUARED_NORM, pa.array(self.descriptors.squared_norms))
        add(DESCRIPTOR_CHECK, pa.array(vector_checks(descriptors)))
        if self.parts is not None and self.visible is not None:
            parts = self._stored(self.parts.reshape(len(self.names), -1), PARTS, schema)
            seen = self.visible.astype(np.uint8)
            norms = check_descriptors(parts, name="gallery part").squared_norms
            add(PARTS, vector_column(parts))
            add(VISIBLE, vector_column(seen))
            add(PARTS_NORM, pa.array(norms))
            add(PARTS_CHECK, pa.array(vector_checks(parts) ^ vector_checks(seen)))
        if schema is not None:
            for missing in schema:
                if missing.name not in {each.name for each in fields} and missing.name != ROW_CHECK:
                    add(missing.name, pa.nulls(len(self.names), missing.type))
        table = pa.table(arrays, schema=pa.schema(fields))
        checks = pa.array(row_checks(table))
        return table.append_column(pa.field(ROW_CHECK, checks.type), checks)

    @staticmethod
    def _stored(
        vectors: NDArray[np.floating], column: str, schema: pa.Schema | None
    ) -> NDArray[np.floating]:
        """In the type of the store, or in float32, or in float16 if that is what came."""
        dtype = np.dtype(np.float16 if vectors.dtype == np.float16 else np.float32)
        if schema is not None and column in schema.names:
            dtype = np.dtype(schema.field(column).type.value_type.to_pandas_dtype())
        return np.ascontiguousarray(vectors, dtype)


def _cast(values: pa.Array, wanted: pa.DataType) -> pa.Array:
    return values if values.type == wanted else values.cast(wanted)
