"""Descriptors as retrieval reads them: checked once, then handed out in blocks.

‖q‖² + ‖g‖² − 2 q·g, the fast way to all distances, is wrong by about 1e-7 of the norms in float32.
That is nothing for unit vectors. Where descriptors share an offset, have one large dimension or
very unequal scales, it can be more than the distance between neighbors. `align` looks at a sample,
and lets distances be computed in float64, from the middle of the gallery, where float32 would lose
them.
"""

from __future__ import annotations

import dataclasses
import math
import warnings
from typing import Any, Literal, Protocol

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError

Metric = Literal["euclidean", "cosine"]

_ROWS_NAMED = 5
_ROWS_AT_ONCE = 2048
_BYTES_AT_ONCE = 2**21
_SAMPLE = 128
# Descriptors whose spread is a smaller share of their length than this are nearly one vector.
_COLLAPSE_SPREAD = 3e-3
# Squared norms may be this many times the squared distance of neighbors before float64 is used.
# Distances between neighbors are then right to about 1e-6 in float32.
_MOST_CANCELLATION = 8
# The same for the share of rows that lie nearest to others, such as look-alikes among strangers.
_MOST_CANCELLATION_OF_FEW = 256
_FEW = 0.1
# Squared norms that float32 holds with room for products of two.
SQUARED_RANGE = (1e-24, 1e24)
# Differences of two rows of this norm are still float32 numbers.
_LARGEST_NORM = 1.7e38
# Rounding of the descriptors themselves that hides the distance between neighbors.
_ROUNDING = 0.3


class RetrievalWarning(UserWarning):
    """Something about the input that makes the numbers mean less than they seem to."""


class CollapsedDescriptorsWarning(RetrievalWarning):
    """All descriptors are nearly the same vector, so that a ranking by them means little."""


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


# --- Which precision they need --------------------------------------------------------------------


@dataclasses.dataclass(frozen=True, eq=False)
class Spacing:
    """How far apart the descriptors of a gallery are, from a sample of them.

    Attributes:
      rows: float64 [n, D], of unit length for cosine distance.
      center: float64 [D], their median, which a few far rows do not move.
      apart: float64 [n], squared distance of each different row to the next one; empty if all
        are equal.
      rounding: Relative rounding of the type in which the descriptors came.
      metric: 'euclidean' or 'cosine'.
    """

    rows: NDArray[np.float64]
    center: NDArray[np.float64]
    apart: NDArray[np.float64]
    rounding: float
    metric: Metric

    @classmethod
    def of(cls, gallery: Descriptors, *, metric: Metric) -> Spacing:
        """Looks at up to 128 rows."""
        if metric not in ("euclidean", "cosine"):
            raise UserError(f"unknown metric {metric!r}; choose 'euclidean' or 'cosine'")
        rows = sample(gallery, metric=metric)
        # A median along contiguous numbers takes half of the time.
        center = np.median(np.ascontiguousarray(rows.T), axis=1)
        different = np.stack(list({row.tobytes(): row for row in rows}.values())) - center
        apart = np.empty(0)
        if len(different) > 1:
            squared = _squared_distances(different, different)
            np.fill_diagonal(squared, np.inf)
            apart = squared.min(axis=1)
        rounding = max(float(np.finfo(part.dtype).eps) for part in gallery.parts)
        return cls(rows, center, apart, rounding, metric)

    @property
    def nearest(self) -> float:
        """Typical squared distance of a row to the next other one; 0 if all are equal."""
        return float(np.median(self.apart)) if len(self.apart) else 0.0

    def needs_float64(
        self, query: Descriptors, gallery: Descriptors, *, asked: NDArray[np.float64]
    ) -> bool:
        """Whether float32 would lose the distances of these queries, of which a sample is given."""
        if query.extreme or gallery.extreme:
            return True
        largest = 1.0
        if self.metric == "euclidean":
            largest = float(max(query.squared_norms.max(), gallery.squared_norms.max()))
        groups = [part for part in (self.apart, self._apart_from(asked)) if len(part)]
        return not groups or any(_cancels(largest, part) for part in groups)

    def _apart_from(self, asked: NDArray[np.float64]) -> NDArray[np.float64]:
        """Squared distance of each query that is not in the gallery's sample to the next row."""
        known = {row.tobytes() for row in self.rows}
        asked = asked[[row.tobytes() not in known for row in asked]]
        if not len(asked):
            return np.empty(0)
        return _squared_distances(asked - self.center, self.rows - self.center).min(axis=1)

    def in_float64(self, descriptors: Descriptors) -> Descriptors:
        """The same rows for distances in float64, seen from the middle of the gallery."""
        unit = self.metric == "cosine"
        moved = dataclasses.replace(
            descriptors,
            squared_norms=np.zeros(len(descriptors), np.float64),
            center=None if unit else self._rounded_center(),
            unit=unit,
        )
        step = max(1, _BYTES_AT_ONCE // (8 * moved.width))
        for start in range(0, len(moved), step):
            rows = moved.block(start, rows=min(step, len(moved) - start))
            norms = moved.squared_norms[start : start + len(rows)]
            np.einsum("nd,nd->n", rows, rows, out=norms)
        return moved

    def _rounded_center(self) -> NDArray[np.float64]:
        """The center on a grid finer than the distances, so that rows on a grid stay exact."""
        if not self.nearest:
            return self.center
        step = 2.0 ** math.floor(math.log2(self.nearest / len(self.center)) / 2 - 2)
        return np.round(self.center / step) * step

    def warn(self, asked: NDArray[np.float64], *, stacklevel: int = 2) -> None:
        """Says so if all descriptors are nearly the same, or only rounding tells them apart."""
        everyone = np.concatenate([asked, self.rows])
        length = float(np.linalg.norm(self.center))
        # A few far rows, up to a tenth, do not hide that the others are one vector.
        deviations = np.sort(np.linalg.norm(everyone - self.center, axis=1))
        spread = float(deviations[-1 - len(everyone) // 10])
        hidden = self.rounding * length > _ROUNDING * math.sqrt(self.nearest) > 0
        if len(everyone) < 3 or not (length and (hidden or spread <= _COLLAPSE_SPREAD * length)):
            return
        means = (
            "neighbors differ by less than their type can hold, so the ranking follows rounding "
            "and gallery order more than likeness"
            if hidden
            else f"they differ by {spread / length:.1g} of their length, so the ranking may mean "
            "little"
        )
        warnings.warn(
            f"the descriptors have collapsed: all are nearly the same vector, and {means}; check "
            "the training, or subtract their mean if they are meant to be so",
            CollapsedDescriptorsWarning,
            stacklevel=stacklevel + 1,
        )


def align(
    query: Descriptors, gallery: Descriptors, *, metric: Metric
) -> tuple[Descriptors, Descriptors]:
    """Both sets as they can be compared: in float32, or in float64 where that would lose distances.

    A sample decides, which costs little beside the distances. Unit vectors that are not nearly
    the same stay as they are.

    Args:
      query: As `check_descriptors` gave them.
      gallery: The same.
      metric: 'euclidean' or 'cosine'.

    Warns:
      CollapsedDescriptorsWarning: if all are nearly the same vector, or the rounding of their own
        type hides how far neighbors are apart.

    Raises:
      UserError: for sets of different width, or another metric.
    """
    check_widths(query, gallery)
    spacing = Spacing.of(gallery, metric=metric)
    asked = sample(query, metric=metric)
    spacing.warn(asked, stacklevel=3)
    if not spacing.needs_float64(query, gallery, asked=asked):
        return query, gallery
    return spacing.in_float64(query), spacing.in_float64(gallery)


def check_widths(query: Descriptors, gallery: Descriptors) -> None:
    """Refuses sets of different width."""
    if query.width != gallery.width:
        raise UserError(
            f"{query.name} descriptors have {query.width} numbers and {gallery.name} descriptors "
            f"{gallery.width}; both must come from the same model"
        )


def _cancels(largest: float, apart: NDArray[np.float64]) -> bool:
    """Whether float32 loses the distances of typical neighbors, or all of those of near ones."""
    near = _MOST_CANCELLATION_OF_FEW * np.quantile(apart, _FEW)
    return largest > min(_MOST_CANCELLATION * float(np.median(apart)), float(near))


def chosen_rows(total: int) -> NDArray[np.int64]:
    """Up to 128 row numbers, ascending: int64 [n]; at random, for what is in a row may repeat."""
    if total <= _SAMPLE:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, _SAMPLE, replace=False))


def sample(descriptors: Descriptors, *, metric: Metric) -> NDArray[np.float64]:
    """Some rows [n, D], of unit length for cosine distance."""
    indices = chosen_rows(len(descriptors))
    # In float64, whatever distances are computed in, for what came may be float64.
    rows = dataclasses.replace(descriptors, squared_norms=np.zeros(0)).take(indices)
    return np.asarray(unit_rows(rows) if metric == "cosine" else rows, np.float64) + 0.0


def _squared_distances(
    rows: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of different rows: never 0, but as small as rounding leaves of them."""
    lengths = np.einsum("nd,nd->n", rows, rows)[:, None] + np.einsum("nd,nd->n", others, others)
    return np.maximum(lengths - 2 * rows @ others.T, 1e-15 * lengths)
