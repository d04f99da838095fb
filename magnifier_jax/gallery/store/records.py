"""What a store keeps of each image, as columns: checked when it comes, and when it is read again.

The files of a store have no checksums of their own, so that a flipped byte would be another number.
Each row therefore has two: the exclusive or of all 64-bit words of its vectors, which no change of
a single byte leaves as it was and which costs less than reading them; and the CRC-32 of everything
else, and of the first, so that a name cannot end up beside another image's vectors.
"""

from __future__ import annotations

import dataclasses
import datetime
import itertools
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from input_pipeline.files import checksum
from input_pipeline.identities.spelling import one_spelling
from input_pipeline.identities.unknown import is_junk, is_unknown_camera
from magnifier_jax.gallery.where import Kind, as_kind, as_time

NAME, IDENTITY, CAMERA, TIME = "name", "identity", "camera", "time"
DESCRIPTOR, PARTS, VISIBLE = "descriptor", "parts", "visible"
SQUARED_NORM, PARTS_NORM = "squared_norm", "parts_squared_norm"
DESCRIPTOR_CHECK, PARTS_CHECK, ROW_CHECK = "descriptor_check", "parts_check", "row_check"
INTERNAL = (
    *(DESCRIPTOR, PARTS, VISIBLE, SQUARED_NORM, PARTS_NORM),
    *(DESCRIPTOR_CHECK, PARTS_CHECK, ROW_CHECK),
)
"""Columns that are no knowledge about an image; filters do not see them."""

_CHECKED = (SQUARED_NORM, PARTS_NORM, DESCRIPTOR_CHECK, PARTS_CHECK)
_TYPES: Mapping[Kind, pa.DataType] = {
    "text": pa.string(),
    "whole number": pa.int64(),
    "number": pa.float64(),
    "time": pa.timestamp("us", tz="UTC"),
    "true or false": pa.bool_(),
}
_COLUMN_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,63}")
# In Lance, what a merge takes as the same row, also where two processes add it at once.
_KEY = {"lance-schema:unenforced-primary-key": "true"}


def kind_of(column: pa.DataType) -> Kind | None:
    """What a column of a store holds; None if it is nothing that filters compare."""
    return next((kind for kind, known in _TYPES.items() if column == known), None)


def known_columns(schema: pa.Schema) -> dict[str, Kind]:
    """The columns that say something about images, and what they hold."""
    kinds = {field.name: kind_of(field.type) for field in schema if field.name not in INTERNAL}
    return {name: kind for name, kind in kinds.items() if kind is not None}


# --- Making ---------------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class Column:
    """One thing that is known of each image.

    Attributes:
      kind: What it holds.
      values: Python values of that kind, None for what is not known.
    """

    kind: Kind
    values: Sequence[Any]

    def array(self) -> pa.Array:
        """As Arrow holds it."""
        return pa.array(self.values, _TYPES[self.kind])


def read_column(name: str, given: ArrayLike | Iterable[Any], *, total: int) -> Column | None:
    """A column that a caller gave.

    Args:
      name: What it is called.
      given: [N] numbers, text, times or booleans; None, NaN and NaT for what is not known, and for
        cameras and identities -1 too.
      total: Number of images, N.

    Returns:
      The column; None if nothing in it is known.

    Raises:
      UserError: if the name cannot be one, or the values are of another number or of several kinds.
    """
    if not _COLUMN_NAME.fullmatch(name) or name in INTERNAL:
        raise UserError(
            f"a column cannot be called {name!r}; use letters, digits and _, and none of the "
            f"store's own names, such as {DESCRIPTOR}"
        )
    array = np.asarray(given if isinstance(given, np.ndarray) else list(given), object)  # type: ignore[arg-type]
    if array.shape != (total,):
        raise UserError(f"{name} must be {total} values, one for each image, not {array.shape}")
    values = [_plain(value, name) for value in array.tolist()]
    known = [value for value in values if value is not None]
    if not known:
        return None
    kind = _common_kind(name, known)
    try:
        typed = [None if value is None else as_kind(value, kind) for value in values]
    except (ValueError, OverflowError) as error:
        raise UserError(f"{name} cannot be kept: {error}") from error
    if kind == "text" and name == IDENTITY:
        typed = [None if value is None else one_spelling(value) for value in typed]
    if kind == "text":
        text_array(typed, what=name)
    return Column(kind, typed)


def _plain(value: Any, name: str) -> Any:
    """A value of Python, or None where it stands for nothing."""
    if isinstance(value, np.datetime64):
        return None if np.isnat(value) else as_time(value)
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, bytes):
        value = value.decode("utf-8", "surrogateescape")
    if value is None or value != value:
        return None
    unknown = (name == IDENTITY and is_junk(value)) or (name == CAMERA and is_unknown_camera(value))
    return None if unknown else value


def _common_kind(name: str, values: Sequence[Any]) -> Kind:
    if name == TIME:
        return "time"
    types = {type(value) for value in values}
    if types <= {str}:
        return "text"
    if types <= {bool}:
        return "true or false"
    if types <= {int, float}:
        whole = all(isinstance(value, int) or value.is_integer() for value in values)
        return (
            "whole number" if whole and (int in types or name in (IDENTITY, CAMERA)) else "number"
        )
    if all(issubclass(found, datetime.date) for found in types):
        return "time"
    found = ", ".join(sorted(found.__name__ for found in types))
    raise UserError(f"{name} holds values of kinds that do not go together: {found}")


def vector_column(vectors: NDArray[Any]) -> pa.FixedSizeListArray:
    """Vectors `[N, ...]` as a column, without a copy."""
    flat = np.ascontiguousarray(vectors).reshape(-1)
    return pa.FixedSizeListArray.from_arrays(pa.array(flat), flat.size // max(len(vectors), 1))


def text_array(texts: Sequence[str | None], *, what: str) -> pa.Array:
    """Texts as a column.

    Raises:
      UserError: if one is no Unicode text, such as the name of a file in another encoding.
    """
    try:
        return pa.array(texts, pa.string())
    except UnicodeEncodeError as error:
        raise UserError(f"the {what} {error.object[:100]!r} is no Unicode text") from error


def names_column(names: Sequence[str]) -> tuple[pa.Field, pa.Array]:
    """The column by which rows are told apart."""
    field = pa.field(NAME, pa.string(), nullable=False, metadata=_KEY)
    return field, text_array(names, what=NAME)


# --- Checksums ------------------------------------------------------------------------------------


def vector_checks(vectors: NDArray[Any]) -> NDArray[np.uint64]:
    """Exclusive or of the 64-bit words of each row `[N, ...]`: uint64 [N]."""
    rows = np.ascontiguousarray(vectors).reshape(len(vectors), -1).view(np.uint8)
    beyond = -rows.shape[1] % 8
    if beyond:
        rows = np.pad(rows, ((0, 0), (0, beyond)))
    return np.bitwise_xor.reduce(rows.view(np.uint64), axis=1)


def row_checks(table: pa.Table) -> NDArray[np.uint32]:
    """CRC-32 of all that a row says, beside its vectors: uint32 [N].

    Columns count in the order of their names, and not where nothing is known, so that a column that
    is added later changes nothing.
    """
    known = {*known_columns(table.schema), *_CHECKED}
    pieces = []
    for name in sorted(known & set(table.column_names)):
        values = _as_text(table[name].combine_chunks())
        labeled = pc.binary_join_element_wise(f"\x1f{name}=", values, "")
        pieces.append(pc.coalesce(labeled, ""))
    joined = pc.binary_join_element_wise(*pieces, "")
    joined = joined.combine_chunks() if isinstance(joined, pa.ChunkedArray) else joined
    joined = joined.cast(pa.large_string())
    _, offsets, data = joined.buffers()
    if data is None:
        return np.zeros(len(table), np.uint32)
    ends = np.frombuffer(offsets, np.int64)[
        joined.offset : joined.offset + len(joined) + 1
    ].tolist()
    content = memoryview(data)
    return np.fromiter(
        (checksum(content[start:end]) for start, end in itertools.pairwise(ends)),
        np.uint32,
        count=len(joined),
    )


def _as_text(values: pa.Array) -> pa.Array:
    """Values as text that is the same on every machine: floating-point numbers by their bits."""
    if pa.types.is_timestamp(values.type):
        values = values.cast(pa.int64())
    elif pa.types.is_floating(values.type):
        width = pa.int64() if values.type == pa.float64() else pa.int32()
        values = values.view(width)
    return values if values.type == pa.string() else values.cast(pa.string())
