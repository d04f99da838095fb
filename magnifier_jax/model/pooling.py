"""Max-pooling: of the stem, and over the cells of each body part."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn


def stem_max_pool(features: jax.Array) -> jax.Array:
    """The 3×3 max-pool of stride 2, padded by one, `[N, H, W, C]` to `[N, ⌈H/2⌉, ⌈W/2⌉, C]`.

    The gradient goes to one cell of each window, the first of equals from the top left.
    """
    # The gradient of XLA's window reduction takes its CPU backend three times as long, and is a
    # scatter on GPUs. TPUs have an operation for it, and pad in it without a padded copy.
    return jax.lax.platform_dependent(
        features, tpu=_pool_by_window, cuda=_pool_by_cell, default=_pool_by_slices
    )


def _pool_by_window(features: jax.Array) -> jax.Array:
    return nn.max_pool(features, (3, 3), strides=(2, 2), padding=((1, 1), (1, 1)))


def _pool_by_slices(features: jax.Array) -> jax.Array:
    edges = ((0, 0), (1, 1), (1, 1), (0, 0))
    x = jnp.pad(features, edges, constant_values=-jnp.inf)
    for axis in (2, 1):
        stop = x.shape[axis] - 2
        pieces = [
            jax.lax.slice_in_dim(x, start, start + stop, stride=2, axis=axis) for start in range(3)
        ]
        x = functools.reduce(lambda best, piece: jnp.where(best >= piece, best, piece), pieces)
    return x


@jax.custom_vjp
def _pool_by_cell(features: jax.Array) -> jax.Array:
    """Keeps which cell of its window was chosen, for GPUs.

    XLA then makes the maximum in one pass and fuses the gradient into what uses it. Of the slices
    it writes the maxima of columns, four masks and a gradient for each.
    """
    return _greatest_of_windows(features)[0]


def _pool_by_cell_forward(
    features: jax.Array,
) -> tuple[jax.Array, tuple[jax.Array, tuple[int, int]]]:
    best, chosen = _greatest_of_windows(features)
    return best, (chosen, (features.shape[1], features.shape[2]))


def _greatest_of_windows(features: jax.Array) -> tuple[jax.Array, jax.Array]:
    """The maxima, and 4 × row + column of the chosen cell in its window, int8."""
    n, height, width, channels = features.shape
    edges = ((0, 0), (1, 1), (1, 1), (0, 0))
    padded = jnp.pad(features, edges, constant_values=-jnp.inf)
    pieces = {
        4 * row + column: jax.lax.slice(
            padded,
            (0, row, column, 0),
            (n, row + height - (1 - height % 2), column + width - (1 - width % 2), channels),
            (1, 2, 2, 1),
        )
        for row in range(3)
        for column in range(3)
    }
    best = pieces.pop(0)
    chosen = jnp.zeros(best.shape, jnp.int8)
    for number, piece in pieces.items():
        kept = best >= piece
        best, chosen = jnp.where(kept, best, piece), jnp.where(kept, chosen, jnp.int8(number))
    return best, chosen


def _pool_by_cell_backward(
    kept: tuple[jax.Array, tuple[int, int]], gradient: jax.Array
) -> tuple[jax.Array]:
    chosen, (height, width) = kept
    odd_row = jax.lax.broadcasted_iota(jnp.int8, (1, height, 1, 1), 1) % 2
    odd_column = jax.lax.broadcasted_iota(jnp.int8, (1, 1, width, 1), 2) % 2
    total: Any = 0
    # A cell is the last or the middle one of its own window, and the first of the next if odd. In
    # an even row or column, the number looked for in the next window is none of a cell.
    for below in range(2):
        for right in range(2):
            number = 4 * (odd_row + jnp.int8(1 - 2 * below)) + odd_column + jnp.int8(1 - 2 * right)
            own = _at_cells(chosen, below, right, size=(height, width)) == number
            value = _at_cells(gradient, below, right, size=(height, width))
            total = total + jnp.where(own, value, 0)
    return (total,)


def _at_cells(windows: jax.Array, below: int, right: int, *, size: tuple[int, int]) -> jax.Array:
    """What each cell of the map finds in window (row // 2 + below, column // 2 + right)."""
    # Past the edge is no window, and 11 is the number of no cell.
    fill = jnp.array(11, windows.dtype)
    moved = jax.lax.pad(
        windows, fill, ((0, 0, 0), (-below, below, 0), (-right, right, 0), (0, 0, 0))
    )
    n, rows, columns, channels = moved.shape
    twice = jnp.broadcast_to(moved[:, :, None, :, None], (n, rows, 2, columns, 2, channels))
    return twice.reshape(n, 2 * rows, 2 * columns, channels)[:, : size[0], : size[1]]


_pool_by_cell.defvjp(_pool_by_cell_forward, _pool_by_cell_backward)


def max_of_cells(features: jax.Array) -> jax.Array:
    """The maximum of each channel over the cells, `[N, h, w, C]` to `[N, C]`.

    The gradient goes to one cell, the first of equals. That of `max` looks for cells equal to it,
    and is undefined when XLA computes the features anew for that and rounds otherwise.
    """
    cells = features.reshape(features.shape[0], -1, features.shape[-1])
    # XLA's CPU backend goes through memory against the grain in an arg-max over cells.
    greatest = jax.lax.platform_dependent(
        jax.lax.stop_gradient(cells), cpu=_argmax_by_loop, default=_argmax_by_reduction
    )
    return _choose(cells, greatest)


@jax.custom_vjp
def _choose(cells: jax.Array, index: jax.Array) -> jax.Array:
    """The chosen cell of each channel, `[N, cells, C]` and `[N, C]` to `[N, C]`."""
    return jnp.take_along_axis(cells, index[:, None], axis=1)[:, 0]


def _choose_forward(cells: jax.Array, index: jax.Array) -> tuple[jax.Array, tuple[jax.Array, int]]:
    return _choose(cells, index), (index, cells.shape[1])


def _choose_backward(kept: tuple[jax.Array, int], gradient: jax.Array) -> tuple[jax.Array, None]:
    # Comparing writes the cells once for all parts; the stock gradient scatters into zeros, a map
    # for each part, which accelerators are slow at.
    index, count = kept
    chosen = jnp.arange(count, dtype=index.dtype)[None, :, None] == index[:, None]
    return jnp.where(chosen, gradient[:, None], 0), None


_choose.defvjp(_choose_forward, _choose_backward)


def _argmax_by_reduction(cells: jax.Array) -> jax.Array:
    """The first of the greatest cells, `[N, cells, C]` to int32 `[N, C]`."""
    return cells.argmax(1).astype(jnp.int32)


def _argmax_by_loop(cells: jax.Array) -> jax.Array:
    """The same."""
    return _search(functools.partial(_cell, cells), cells.shape[1])


def _cell(cells: jax.Array, index: jax.Array) -> jax.Array:
    """`[N, cells, …]` to `[N, …]`."""
    return jax.lax.dynamic_index_in_dim(cells, index, axis=1, keepdims=False)


def _search(cell_at: Callable[[jax.Array], jax.Array], count: int) -> jax.Array:
    """Which of `count` cells is the first of the greatest, for each number that a cell has."""

    def compare(index: jax.Array, found: tuple[jax.Array, jax.Array]) -> Any:
        best, first = found
        cell = cell_at(index)
        kept = best >= cell
        return jnp.where(kept, best, cell), jnp.where(kept, first, index)

    start = cell_at(jnp.int32(0))
    found = start, jnp.zeros(start.shape, jnp.int32)
    return jax.lax.fori_loop(jnp.int32(1), jnp.int32(count), compare, found)[1]


def part_max_pool(features: jax.Array, part_map: jax.Array, *, num_parts: int) -> jax.Array:
    """The maximum of each channel over the cells of each part.

    The same numbers as multiplying the map by each part's 0/1 mask and max-pooling the P copies,
    for features that are not negative (they follow a ReLU).

    Args:
        features: `[N, h, w, C]`, 0 or more.
        part_map: Part classes `[N, h, w]`, integers; cells of a class from P on are in no part.
        num_parts: P.

    Returns:
        `[N, P, C]`; zeros for a part that an image does not show.
    """
    cells = features.reshape(features.shape[0], -1, features.shape[-1])
    parts = part_map.reshape(part_map.shape[0], -1)
    # XLA's CPU backend would compute the features anew for the mask of each part.
    greatest = jax.lax.platform_dependent(
        jax.lax.stop_gradient(cells),
        parts,
        cpu=functools.partial(_part_argmax_by_loop, num_parts=num_parts),
        default=functools.partial(_part_argmax_by_reduction, num_parts=num_parts),
    )
    return _choose_of_parts(cells, parts, greatest)


def _part_argmax_by_reduction(cells: jax.Array, parts: jax.Array, *, num_parts: int) -> jax.Array:
    """The first of the greatest cells of each part, where the cells of others count 0.

    `[N, cells, C]` and `[N, cells]` to int32 `[N, P, C]`.
    """
    found = [
        _argmax_by_reduction(jnp.where((parts == part)[..., None], cells, 0))
        for part in range(num_parts)
    ]
    return jnp.stack(found, axis=1)


def _part_argmax_by_loop(cells: jax.Array, parts: jax.Array, *, num_parts: int) -> jax.Array:
    """The same."""

    def cell_of_each_part(index: jax.Array) -> jax.Array:
        own = _cell(parts, index)[:, None] == jnp.arange(num_parts)[None]
        return jnp.where(own[..., None], _cell(cells, index)[:, None], 0)

    return _search(cell_of_each_part, cells.shape[1])


@jax.custom_vjp
def _choose_of_parts(cells: jax.Array, parts: jax.Array, index: jax.Array) -> jax.Array:
    """The chosen cell of each part and channel, 0 where it is not of the part.

    `[N, cells, C]`, `[N, cells]` and `[N, P, C]` to `[N, P, C]`.
    """
    flat = index.reshape(index.shape[0], -1)
    part_of_chosen = jnp.take_along_axis(parts, flat, axis=1).reshape(index.shape)
    own = part_of_chosen == jnp.arange(index.shape[1])[None, :, None]
    return jnp.where(own, jnp.take_along_axis(cells, index, axis=1), 0)


def _choose_of_parts_forward(
    cells: jax.Array, parts: jax.Array, index: jax.Array
) -> tuple[jax.Array, tuple[jax.Array, jax.Array]]:
    return _choose_of_parts(cells, parts, index), (parts, index)


def _choose_of_parts_backward(
    kept: tuple[jax.Array, jax.Array], gradient: jax.Array
) -> tuple[jax.Array, None, None]:
    # A cell is of one part at most, so it is compared with that part's choice alone.
    parts, index = kept
    chosen, value = jnp.full_like(index[:, :1], -1), jnp.zeros_like(gradient[:, :1])
    for part in range(index.shape[1]):
        here = (parts == part)[..., None]
        chosen = jnp.where(here, index[:, part : part + 1], chosen)
        value = jnp.where(here, gradient[:, part : part + 1], value)
    numbers = jnp.arange(parts.shape[1], dtype=index.dtype)[None, :, None]
    return jnp.where(chosen == numbers, value, 0), None, None


_choose_of_parts.defvjp(_choose_of_parts_forward, _choose_of_parts_backward)
