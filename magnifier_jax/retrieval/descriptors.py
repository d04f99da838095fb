"""Descriptors as retrieval reads them: checked once, then handed out in blocks."""

from __future__ import annotations

import dataclasses
from typing import Any, Literal, Protocol

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError

Metric = Literal["euclidean", "cosine"]

_ROWS_NAMED = 5
_ROWS_AT_ONCE = 2048
# Squared norms that float32 holds with room for products of two.
SQUARED_RANGE = (1e-24, 1e24)
# Differences of two rows of this norm are still float32 numbers.
_LARGEST_NORM = 1.7e38


class RetrievalWarning(UserWarning):
    """Something about the input that makes the numbers mean less than they seem to."""


class Embedded(Protocol):
    """What a network made of images, such as `Embeddings` or a `Gallery`.

    Attributes:
      descriptors: [N, D], floating.
      parts: [N, P, E], an embedding of each part, or None.
      visible: bool [N, P], whether the part is seen, or None.
    """

    @property
    def descriptors(self) -> Any: ...  # noqa: D102
    @property
    def parts(self) -> Any: ...  # noqa: D102
    @property
    def visible(self) -> Any: ...  # noqa: D102


Vectors = ArrayLike | jax.Array | Embedded


@dataclasses.dataclass(frozen=True)
class Descriptors:
    """Finite descriptors of one set of images.

    Attributes:
      name: What they are, for messages, such as 'query'.
      parts: Arrays [n, D] of any floating type, on the host, that follow each other; never copied
        as a whole.
      squared_norms: [N], of the rows as they are handed out: float32, or float64 after `align`
        where float32 would lose the distances. Their type is that of the rows.
      extreme: Whether a norm, other than 0, is so large or small that float32 cannot square it.
      center: float64 [D], subtracted from rows as they are handed out; None for nothing.
      unit: Whether rows are handed out with unit length; zero vectors stay.
    """

    name: str
    parts: tuple[NDArray[np.floating], ...]
    squared_norms: NDArray[np.floating]
    extreme: bool = False
    center: NDArray[np.float64] | None = None
    unit: bool = False

    def __len__(self) -> int:
        """Number of descriptors, N."""
        return len(self.squared_norms)

    @property
    def width(self) -> int:
        """Numbers in a descriptor, D."""
        return self.parts[0].shape[1]

    @property
    def dtype(self) -> np.dtype[np.floating]:
        """float32 or float64, in which distances are computed."""
        return self.squared_norms.dtype

    def block(self, start: int, *, rows: int) -> NDArray[np.floating]:
        """Rows `start : start + rows`, padded with zeros to exactly `rows`."""
        pieces, first = [], 0
        for part in self.parts:
            piece = part[max(start - first, 0) : max(start + rows - first, 0)]
            if len(piece):
                pieces.append(piece)
            first += len(part)
        if len(pieces) == 1 and len(pieces[0]) == rows:
            return self._as_compared(pieces[0])
        padded = np.zeros((rows, self.width), self.dtype)
        filled = 0
        for piece in pieces:
            padded[filled : filled + len(piece)] = self._as_compared(piece)
            filled += len(piece)
        return padded

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.floating]:
        """The rows of the given numbers [n, D]."""
        if len(self.parts) == 1:
            return self._as_compared(self.parts[0][indices])
        taken = np.empty((len(indices), self.width), self.dtype)
        first = 0
        for part in self.parts:
            here = (indices >= first) & (indices < first + len(part))
            taken[here] = self._as_compared(part[indices[here] - first])
            first += len(part)
        return taken

    def _as_compared(self, rows: NDArray[np.floating]) -> NDArray[np.floating]:
        values = np.asarray(rows, self.dtype)
        if self.center is not None:
            values = values - self.center
        return unit_rows(values) if self.unit else values


def vectors_of(values: Vectors) -> ArrayLike | jax.Array:
    """The descriptors of embeddings or of a gallery, or the array itself."""
    anything: Any = values
    found: ArrayLike | jax.Array = getattr(anything, "descriptors", anything)
    return found


def unit_rows(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    """Rows [..., D] of unit length, at every scale that float32 holds; zero vectors stay zero."""
    values = np.asarray(rows, np.float64)
    norms = np.sqrt(np.einsum("...d,...d->...", values, values))[..., None]
    return np.divide(values, norms, out=np.zeros_like(values), where=norms > 0)


def join(first: Descriptors, second: Descriptors) -> Descriptors:
    """Both sets one after the other, without copying them; both as `align` gave them."""
    return dataclasses.replace(
        first,
        name=f"{first.name} and {second.name}",
        parts=(*first.parts, *second.parts),
        squared_norms=np.concatenate([first.squared_norms, second.squared_norms]),
        extreme=first.extreme or second.extreme,
    )


# --- Checking -------------------------------------------------------------------------------------


def check_descriptors(values: Vectors, *, name: str) -> Descriptors:
    """Refuses what cannot be compared.

    Args:
      values: [N, D], any floating type, NumPy or JAX, or what has such `descriptors`.
      name: What the rows are, for messages.

    Raises:
      UserError: for a wrong shape or type, no rows, or rows that hold NaN or infinity, named.
    """
    given = vectors_of(values)
    if isinstance(given, np.ma.MaskedArray) and given.dtype.kind == "f":
        given = given.filled(np.nan)
    try:
        array = np.asarray(given)
    except ValueError as error:
        raise UserError(f"{name} descriptors are not all of the same length") from error
    if array.ndim != 2 or not array.shape[1]:
        raise UserError(f"{name} descriptors must have shape [N, D], not {list(array.shape)}")
    if not len(array):
        raise UserError(f"there are no {name} descriptors; check the folder or file they come from")
    if not np.issubdtype(array.dtype, np.floating):
        if array.dtype.name != "bfloat16":
            raise UserError(f"{name} descriptors must be floating-point, not {array.dtype}")
        array = array.astype(np.float32)
    squared_norms = np.empty(len(array), np.float32)
    extreme, refused = False, []
    for start in range(0, len(array), _ROWS_AT_ONCE):
        raw = array[start : start + _ROWS_AT_ONCE]
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.asarray(raw, np.float32)
            squared = np.einsum("nd,nd->n", part, part)
        squared_norms[start : start + len(part)] = squared
        odd = np.flatnonzero(~((squared > SQUARED_RANGE[0]) & (squared < SQUARED_RANGE[1])))
        if len(odd):
            norms = _norms(raw[odd])
            extreme |= bool((norms > 0).any())
            refused += (start + odd[~(norms < _LARGEST_NORM)]).tolist()
    if refused:
        raise _not_finite(array, refused, name=name)
    return Descriptors(name=name, parts=(array,), squared_norms=squared_norms, extreme=extreme)


def _norms(rows: NDArray[np.floating]) -> NDArray[np.float64]:
    with np.errstate(over="ignore", invalid="ignore"):
        values = np.asarray(rows, np.float64)
        return np.sqrt(np.einsum("nd,nd->n", values, values))


def _not_finite(array: NDArray[np.floating], bad: list[int], *, name: str) -> UserError:
    rows = ", ".join(str(row) for row in bad[:_ROWS_NAMED])
    more = f" and {len(bad) - _ROWS_NAMED} more" if len(bad) > _ROWS_NAMED else ""
    what = "NaN or infinity"
    if np.isfinite(np.asarray(array[bad[0]], np.float64)).all():
        what = "numbers too large for float32 distances"
    return UserError(
        f"{name} descriptors hold {what} in rows {rows}{more} (of {len(array)}); "
        "check the model's weights and the images of these rows"
    )


def check_parts(
    parts: ArrayLike, visible: ArrayLike, *, total: int | None, name: str
) -> tuple[NDArray[np.floating], NDArray[np.bool_]]:
    """Part embeddings [N, P, E] and visible parts [N, P] that fit each other.

    What stands for a hidden part does not matter; where it is not finite it becomes zero.
    """
    embeddings, seen = np.asarray(parts), np.asarray(visible).astype(bool)
    if embeddings.ndim != 3 or (total is not None and len(embeddings) != total):
        wanted = "N" if total is None else total
        raise UserError(
            f"{name} part embeddings must have shape [{wanted}, P, E], not {list(embeddings.shape)}"
        )
    if seen.shape != embeddings.shape[:2]:
        raise UserError(
            f"{name} visible parts must have shape {list(embeddings.shape[:2])}, "
            f"not {list(seen.shape)}"
        )
    embeddings = _finite_where_hidden(embeddings, seen)
    flat = check_descriptors(embeddings.reshape(len(embeddings), -1), name=f"{name} part")
    return flat.parts[0].reshape(embeddings.shape), seen


def _finite_where_hidden(
    embeddings: NDArray[np.floating], seen: NDArray[np.bool_]
) -> NDArray[np.floating]:
    """The same array, or a copy where anything had to be changed."""
    changed = embeddings
    for start in range(0, len(embeddings), _ROWS_AT_ONCE):
        rows = slice(start, start + _ROWS_AT_ONCE)
        with np.errstate(over="ignore", invalid="ignore"):
            part = np.asarray(embeddings[rows], np.float32)
            bad = ~seen[rows] & ~np.isfinite(np.einsum("npe,npe->np", part, part))
        if bad.any():
            changed = embeddings.copy() if changed is embeddings else changed
            changed[rows][bad] = 0
    return changed


def check_widths(query: Descriptors, gallery: Descriptors) -> None:
    """Refuses sets of different width."""
    if query.width != gallery.width:
        raise UserError(
            f"{query.name} descriptors have {query.width} numbers and {gallery.name} descriptors "
            f"{gallery.width}; both must come from the same model"
        )
