"""Descriptors as retrieval reads them: checked once, then handed out in blocks."""

from __future__ import annotations

import dataclasses
import warnings

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError

_ROWS_NAMED = 5
_ROWS_AT_ONCE = 2048
_COLLAPSE_SAMPLE = 512
# ‖q‖² + ‖g‖² − 2 q·g in float32 is wrong by about 1e-7 of the norms: where descriptors differ by
# less than this share of their length, by a tenth of the squared distance between neighbors.
_COLLAPSE_SPREAD = 3e-3


class CollapsedDescriptorsWarning(UserWarning):
    """All descriptors are nearly the same vector, so that a ranking by them means little."""


@dataclasses.dataclass(frozen=True)
class Descriptors:
    """Finite descriptors of one set of images.

    Attributes:
      name: What they are, for messages, such as 'query'.
      parts: Arrays [n, D] of any floating type, on the host, that follow each other; never copied
        as a whole.
      squared_norms: float32 [N].
    """

    name: str
    parts: tuple[NDArray[np.floating], ...]
    squared_norms: NDArray[np.float32]

    def __len__(self) -> int:
        """Number of descriptors, N."""
        return len(self.squared_norms)

    @property
    def width(self) -> int:
        """Numbers in a descriptor, D."""
        return self.parts[0].shape[1]

    def block(self, start: int, *, rows: int) -> NDArray[np.float32]:
        """Rows `start : start + rows` as float32, padded with zeros to exactly `rows`."""
        pieces, first = [], 0
        for part in self.parts:
            piece = part[max(start - first, 0) : max(start + rows - first, 0)]
            if len(piece):
                pieces.append(piece)
            first += len(part)
        if len(pieces) == 1 and len(pieces[0]) == rows:
            return np.asarray(pieces[0], np.float32)
        padded = np.zeros((rows, self.width), np.float32)
        filled = 0
        for piece in pieces:
            padded[filled : filled + len(piece)] = piece
            filled += len(piece)
        return padded

    def take(self, indices: NDArray[np.integer]) -> NDArray[np.float32]:
        """The rows of the given numbers as float32 [n, D]."""
        if len(self.parts) == 1:
            return np.asarray(self.parts[0][indices], np.float32)
        taken = np.empty((len(indices), self.width), np.float32)
        first = 0
        for part in self.parts:
            here = (indices >= first) & (indices < first + len(part))
            taken[here] = part[indices[here] - first]
            first += len(part)
        return taken


def join(first: Descriptors, second: Descriptors) -> Descriptors:
    """Both sets one after the other, without copying them."""
    return Descriptors(
        name=f"{first.name} and {second.name}",
        parts=(*first.parts, *second.parts),
        squared_norms=np.concatenate([first.squared_norms, second.squared_norms]),
    )


def check_descriptors(values: ArrayLike | jax.Array, *, name: str) -> Descriptors:
    """Refuses what cannot be compared.

    Args:
      values: [N, D], any floating type, NumPy or JAX.
      name: What the rows are, for messages.

    Raises:
      UserError: for a wrong shape or type, no rows, or rows that hold NaN or infinity, named.
    """
    array = np.asarray(values)
    if array.ndim != 2 or not array.shape[1]:
        raise UserError(f"{name} descriptors must have shape [N, D], not {list(array.shape)}")
    if not len(array):
        raise UserError(f"there are no {name} descriptors; check the folder or file they come from")
    if not np.issubdtype(array.dtype, np.floating):
        if array.dtype.name != "bfloat16":
            raise UserError(f"{name} descriptors must be floating-point, not {array.dtype}")
        array = array.astype(np.float32)
    squared_norms = np.empty(len(array), np.float32)
    for start in range(0, len(array), _ROWS_AT_ONCE):
        part = np.asarray(array[start : start + _ROWS_AT_ONCE], np.float32)
        with np.errstate(over="ignore", invalid="ignore"):
            squared_norms[start : start + len(part)] = np.einsum("nd,nd->n", part, part)
    _refuse_non_finite(array, squared_norms, name=name)
    return Descriptors(name=name, parts=(array,), squared_norms=squared_norms)


def _refuse_non_finite(
    array: NDArray[np.floating], squared_norms: NDArray[np.float32], *, name: str
) -> None:
    bad = np.flatnonzero(~np.isfinite(squared_norms))
    if not len(bad):
        return
    rows = ", ".join(str(row) for row in bad[:_ROWS_NAMED])
    more = f" and {len(bad) - _ROWS_NAMED} more" if len(bad) > _ROWS_NAMED else ""
    what = "NaN or infinity"
    if np.isfinite(np.asarray(array[bad[0]], np.float64)).all():
        what = "numbers too large for float32 distances"
    raise UserError(
        f"{name} descriptors hold {what} in rows {rows}{more} (of {len(array)}); "
        "check the model's weights and the images of these rows"
    )


def check_pair(query: Descriptors, gallery: Descriptors) -> None:
    """Refuses sets of different width, and warns when all descriptors have collapsed."""
    if query.width != gallery.width:
        raise UserError(
            f"{query.name} descriptors have {query.width} numbers and {gallery.name} descriptors "
            f"{gallery.width}; both must come from the same model"
        )
    sample = np.concatenate([_evenly(query), _evenly(gallery)]).astype(np.float64)
    if len(sample) < 3:
        return
    center = sample.mean(axis=0)
    spread = np.linalg.norm(sample - center, axis=1).max()
    if spread <= _COLLAPSE_SPREAD * np.linalg.norm(center):
        warnings.warn(
            "the descriptors have collapsed: all are nearly the same vector, so the ranking "
            "follows rounding and gallery order more than likeness; check the training, or "
            "subtract their mean if they are meant to be so",
            CollapsedDescriptorsWarning,
            stacklevel=3,
        )


def _evenly(descriptors: Descriptors) -> NDArray[np.floating]:
    step = -(-len(descriptors) // _COLLAPSE_SAMPLE)
    return descriptors.take(np.arange(0, len(descriptors), step))
