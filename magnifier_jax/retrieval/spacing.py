"""Whether float32 can tell descriptors apart, decided by how far apart a sample of them is.

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

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    Metric,
    RetrievalWarning,
    check_widths,
    unit_rows,
)

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
# Descriptors of this width are looked at by half of their columns at first.
_MANY_COLUMNS = 256
# What rounding may do to a decision that is made in float32.
_MARGIN = 1.01
# Rounding of the descriptors themselves that hides the distance between neighbors.
_ROUNDING = 0.3


class CollapsedDescriptorsWarning(RetrievalWarning):
    """All descriptors are nearly the same vector, so that a ranking by them means little."""


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
        largest = _largest(query, gallery, self.metric)
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
    asked = sample(query, metric=metric)
    if _clearly_apart(
        asked, sample(gallery, metric=metric), largest=_largest(query, gallery, metric)
    ):
        return query, gallery
    spacing = Spacing.of(gallery, metric=metric)
    spacing.warn(asked, stacklevel=3)
    if not spacing.needs_float64(query, gallery, asked=asked):
        return query, gallery
    return spacing.in_float64(query), spacing.in_float64(gallery)


def _cancels(largest: float, apart: NDArray[np.floating]) -> bool:
    """Whether float32 loses the distances of typical neighbors, or all of those of near ones."""
    near = _MOST_CANCELLATION_OF_FEW * np.quantile(apart, _FEW)
    return largest > min(_MOST_CANCELLATION * float(np.median(apart)), float(near))


def _largest(query: Descriptors, gallery: Descriptors, metric: Metric) -> float:
    """The largest squared norm that distances are made of; infinite where float32 has none."""
    if query.extreme or gallery.extreme:
        return math.inf
    if metric == "cosine":
        return 1.0
    return float(max(query.squared_norms.max(), gallery.squared_norms.max()))


def _clearly_apart(
    asked: NDArray[np.float64], rows: NDArray[np.float64], *, largest: float
) -> bool:
    """Whether float32 surely tells queries and gallery rows apart, as it does for unit vectors.

    Decided in float32 and by some of the columns, for squared distances are no smaller than their
    sum over these; so it takes a fraction of the time of a `Spacing`. Seen from their middle,
    rows are at most 2 √largest long, so that their squared distances are right to about 1e-6 of
    `largest`, far below what `_cancels` asks for. Equal rows, and all else that is not as clear,
    are left to a closer look; rows this far apart have not collapsed either.
    """
    if len(rows) < 2 or largest == math.inf:
        return False
    step = 2 if rows.shape[1] >= _MANY_COLUMNS else 1
    both = np.concatenate([rows[:, ::step], asked[:, ::step]])
    both = (both - both[: len(rows)].mean(axis=0)).astype(np.float32)
    lengths = np.einsum("nd,nd->n", both, both)
    products = _products(both, both[: len(rows)])
    squared = lengths[:, None] + lengths[: len(rows)] - 2 * products
    np.fill_diagonal(squared, np.inf)
    apart = squared.min(axis=1)
    groups = (apart[: len(rows)], apart[len(rows) :])
    return not any(_cancels(_MARGIN * largest, part) for part in groups)


def chosen_rows(total: int) -> NDArray[np.int64]:
    """Up to 128 row numbers, ascending: int64 [n]; at random, for what is in a row may repeat."""
    if total <= _SAMPLE:
        return np.arange(total)
    return np.sort(np.random.default_rng(0).choice(total, _SAMPLE, replace=False))


def sample(descriptors: Descriptors, *, metric: Metric) -> NDArray[np.float64]:
    """Some rows [n, D], of unit length for cosine distance.

    Raises:
      UserError: for another metric.
    """
    if metric not in ("euclidean", "cosine"):
        raise UserError(f"unknown metric {metric!r}; choose 'euclidean' or 'cosine'")
    indices = chosen_rows(len(descriptors))
    # In float64, whatever distances are computed in, for what came may be float64.
    rows = dataclasses.replace(descriptors, squared_norms=np.zeros(0)).take(indices)
    return np.asarray(unit_rows(rows) if metric == "cosine" else rows, np.float64) + 0.0


def _squared_distances(
    rows: NDArray[np.float64], others: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Of different rows: never 0, but as small as rounding leaves of them."""
    lengths = np.einsum("nd,nd->n", rows, rows)[:, None] + np.einsum("nd,nd->n", others, others)
    return np.maximum(lengths - 2 * _products(rows, others), 1e-15 * lengths)


def _products(rows: NDArray[np.floating], others: NDArray[np.floating]) -> NDArray[np.floating]:
    """Dot products [n, m] on one thread.

    Those of a BLAS library wait for more work for a while, and keep XLA's from the cores.
    """
    return np.einsum("nd,md->nm", rows, others)
