"""Lays limbs on a canvas: which pixels see which place of their surfaces.

A limb is an axis in the image with a radius that varies along it. One at a time, limbs cost more
calls of numpy than arithmetic, so those that do not wait for each other are laid together.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from input_pipeline.synthetic.figure.palette import Color
from input_pipeline.synthetic.figure.shapes import HALF, ONE, ZERO, Canvas, Surface

_STEPS = 160
_MIDDLES = (np.arange(_STEPS) + 0.5) / _STEPS
_WHOLE = np.arange(64.0)
_MINUS_ONE = np.array(-1, np.float32)


@dataclasses.dataclass(frozen=True, eq=False)
class Limb:
    """A limb in the image.

    Attributes:
        start: First end of the axis, column and row.
        end: Other end; lower in the image, so that `Surface.across` grows to the right.
        radii: Radius in pixels at equal steps from `start` to `end`.
        caps: How far the rounded ends reach beyond, in pixels.
        yaw: Direction that the body's front points to; see `Pose.yaw`.
        color: Color of all of it, until `Surface.paint` changes some.
    """

    start: tuple[float, float]
    end: tuple[float, float]
    radii: np.ndarray
    caps: tuple[float, float]
    yaw: float
    color: Color


class _Axis(NamedTuple):
    """The window of a limb, the length of its axis, and the axis' direction."""

    rows: slice
    columns: slice
    length: float
    x: float
    y: float

    @property
    def shape(self) -> tuple[int, int]:
        return self.rows.stop - self.rows.start, self.columns.stop - self.columns.start


def _axis_of(canvas: Canvas, limb: Limb) -> _Axis:
    height, width = canvas.parts.shape
    (x0, y0), (x1, y1) = limb.start, limb.end
    dx, dy = x1 - x0, y1 - y0
    apart = math.hypot(dx, dy)
    length = max(apart, 1.0)
    ax, ay = (dx / length, dy / length) if apart > 1e-6 else (0.0, 1.0)
    reach = max(*limb.radii.tolist(), *limb.caps) + 1.5
    left = max(0, math.floor(min(x0, x1) - reach))
    right = max(left, min(width, math.ceil(max(x0, x1) + reach) + 1))
    top = max(0, math.floor(min(y0, y1) - reach))
    bottom = max(top, min(height, math.ceil(max(y0, y1) + reach) + 1))
    return _Axis(slice(top, bottom), slice(left, right), length, ax, ay)


def lay_limb(canvas: Canvas, limb: Limb) -> Surface:
    """The surface of one limb."""
    axis, (x0, y0), caps = _axis_of(canvas, limb), limb.start, limb.caps
    # Not in place: numbers of numpy as ends make these, and what follows, float64.
    columns = canvas.columns[axis.columns] + (0.5 - x0)
    rows = canvas.rows[axis.rows, None] + (0.5 - y0)
    along = columns * axis.x + rows * axis.y
    offset = columns * axis.y - rows * axis.x
    where = along + caps[0]
    where *= _STEPS / (axis.length + caps[0] + caps[1])
    tables = _table_of(limb, axis.length)
    radius, girth = tables.take(where.astype(np.intp), axis=1, mode="clip")
    along /= axis.length
    across, bulge, cover = _rounded(where, offset, radius, girth)
    return _surface(limb, axis, along, across, bulge, cover)


def lay_limbs(canvas: Canvas, limbs: Sequence[Limb]) -> list[Surface]:
    """The surfaces of limbs, each as from `lay_limb`, in less time; their ends are floats."""
    axes = [_axis_of(canvas, limb) for limb in limbs]
    sizes = [height * width for height, width in (axis.shape for axis in axes)]
    ends = np.cumsum(sizes).tolist()
    pieces = [slice(end - size, end) for end, size in zip(ends, sizes, strict=True)]
    along, offset = _along_and_across(canvas, limbs, axes, pieces)
    lengths = [axis.length for axis in axes]
    caps = [limb.caps for limb in limbs]
    numbers = np.array(
        [
            (cap[0], _STEPS / (length + cap[0] + cap[1]), length, index * (_STEPS + 1))
            for index, (cap, length) in enumerate(zip(caps, lengths, strict=True))
        ],
        np.float32,
    )
    start, pace, length, table = np.repeat(numbers.T, sizes, axis=1)
    where = along + start
    where *= pace
    # Exact, as these are small whole numbers.
    place = np.minimum(np.maximum(where, ZERO), np.float32(_STEPS)).astype(np.intp)
    place += table.astype(np.intp)
    tables = _tables_of(limbs, lengths).reshape(2, -1)
    radius, girth = tables.take(place, axis=1)
    along /= length
    laid = (along, *_rounded(where, offset, radius, girth))
    return [
        _surface(limb, axis, *(array[piece].reshape(axis.shape) for array in laid))
        for limb, axis, piece in zip(limbs, axes, pieces, strict=True)
    ]


def _along_and_across(
    canvas: Canvas, limbs: Sequence[Limb], axes: Sequence[_Axis], pieces: Sequence[slice]
) -> tuple[np.ndarray, np.ndarray]:
    """How far along its axis and off it each pixel of each limb is: float32 `[pixels]` twice."""
    numbers = np.array(
        [
            (
                axis.columns.start,
                axis.rows.start,
                0.5 - limb.start[0],
                0.5 - limb.start[1],
                *axis[3:],
            )
            for limb, axis in zip(limbs, axes, strict=True)
        ],
        np.float32,
    )
    left, top, x0, y0, ax, ay = numbers.T[:, :, None]
    widest = max(axis.shape[1] for axis in axes)
    tallest = max(axis.shape[0] for axis in axes)
    columns = canvas.columns[:widest] + left + x0
    rows = canvas.rows[:tallest] + top + y0
    columns_x, columns_y, rows_x, rows_y = columns * ax, columns * ay, rows * ax, rows * ay
    along, offset = np.empty((2, pieces[-1].stop), np.float32)
    for index, (axis, piece) in enumerate(zip(axes, pieces, strict=True)):
        shape = height, width = axis.shape
        column, row = (index, slice(width)), (index, slice(height), None)
        np.add(columns_x[column], rows_y[row], out=along[piece].reshape(shape))
        np.subtract(columns_y[column], rows_x[row], out=offset[piece].reshape(shape))
    return along, offset


def _rounded(
    where: np.ndarray, offset: np.ndarray, radius: np.ndarray, girth: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`across`, `bulge` and `cover` of a surface; `offset` and `radius` are changed."""
    np.putmask(radius, where <= ZERO, -1)
    across = offset / girth
    np.minimum(np.maximum(across, _MINUS_ONE, out=across), ONE, out=across)
    bulge = across * across
    np.sqrt(np.subtract(ONE, bulge, out=bulge), out=bulge)
    radius += HALF
    radius -= np.abs(offset, out=offset)
    np.minimum(np.maximum(radius, ZERO, out=radius), ONE, out=radius)
    return across, bulge, radius


def _surface(
    limb: Limb,
    axis: _Axis,
    along: np.ndarray,
    across: np.ndarray,
    bulge: np.ndarray,
    cover: np.ndarray,
) -> Surface:
    return Surface(
        window=(axis.rows, axis.columns),
        u=along,
        across=across,
        bulge=bulge,
        cover=cover,
        normal=(axis.y, -axis.x),
        yaw=limb.yaw,
        color=limb.color,
    )


def _tables_of(limbs: Sequence[Limb], lengths: Sequence[float]) -> np.ndarray:
    """The tables of several limbs, float32 `[2, limbs, _STEPS + 1]`."""
    numbers = [
        (
            length + first + last,
            first,
            length,
            (len(limb.radii) - 1) / length,
            max(first, 1e-3),
            max(last, 1e-3),
        )
        for limb, length in zip(limbs, lengths, strict=True)
        for first, last in (limb.caps,)
    ]
    whole, start, length, pace, first, last = np.array(numbers).T[:, :, None]
    along = _MIDDLES * whole
    along -= start
    table = along * pace
    for row, limb in zip(table, limbs, strict=True):
        row[:] = np.interp(row, _WHOLE[: len(limb.radii)], limb.radii)
    return _tables(table, along, length, (first, last))


def _table_of(limb: Limb, length: float) -> np.ndarray:
    """The tables of one limb, float32 `[2, _STEPS + 1]`."""
    first, last = limb.caps
    along = _MIDDLES * (length + first + last)
    along -= first
    pace = (len(limb.radii) - 1) / length
    table = np.interp(along * pace, _WHOLE[: len(limb.radii)], limb.radii)
    caps = None if limb.caps == (0, 0) else (max(first, 1e-3), max(last, 1e-3))
    return _tables(table, along, length, caps)


def _tables(
    table: np.ndarray,
    along: np.ndarray,
    length: float | np.ndarray,
    caps: tuple[float, float] | tuple[np.ndarray, np.ndarray] | None,
) -> np.ndarray:
    """Radii at `_STEPS` positions from the tip of one rounded end to that of the other.

    The first is the outline's; the second does not shrink at the ends, so that the shading of
    a limb runs smoothly into its neighbor's. A last column is for all positions beyond the tip,
    where nothing is seen of the limb.

    Args:
        table: Radii without rounded ends, float64 `[..., _STEPS]`; changed in place.
        along: The positions in pixels from the start of the axis, of the same shape.
        length: Length of the axis; or of each, `[..., 1]`, as the numbers in `caps`.
        caps: How far the rounded ends reach, more than 0; None without any.

    Returns:
        float32 `[2, ..., _STEPS + 1]`.
    """
    tables = np.empty((2, *table.shape[:-1], _STEPS + 1), np.float32)
    tables[0, ..., _STEPS], tables[1, ..., _STEPS] = -1, 1
    tables[1, ..., :_STEPS] = np.maximum(table, 0.3)
    if caps is not None:
        over = np.maximum(along / -caps[0], (along - length) / caps[1])
        np.maximum(over, 0, out=over)
        over *= over
        np.subtract(1, over, out=over)
        table *= np.sqrt(over, out=over)
    tables[0, ..., :_STEPS] = table
    return tables
