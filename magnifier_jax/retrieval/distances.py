"""Distances from blocks of queries to the whole gallery, a block of gallery rows at a time.

The matrix of all distances never exists. What exists at one time is a block of its rows, whose
size a setting bounds, so that ranking, re-ranking and verification can each look at complete rows.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import math
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import AxisType, Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Descriptors, Metric

LANES = 64
_ROW_UNIT = 8
_AXIS = "data"
_LEAST_ROWS = 1024
_SEARCHED_BYTES = 2**24


@dataclasses.dataclass(frozen=True)
class Blocks:
    """How much of the distance matrix is worked on at a time.

    Attributes:
      row_bytes: Bound on the distances held for one block of queries, over all devices.
      gallery_rows: Gallery descriptors multiplied at a time; rounded up to a multiple of 64. None
        for 1024 where all distances of a query are held, and in a search, which keeps only the
        nearest, for as many as take 16 MiB, but at least 1024.
      devices: Devices that share the queries; None for all of this process.
    """

    row_bytes: int = 48 * 2**20
    gallery_rows: int | None = None
    devices: Sequence[jax.Device] | None = None

    def __post_init__(self) -> None:
        if self.row_bytes < 1 or (self.gallery_rows is not None and self.gallery_rows < 1):
            raise UserError("row_bytes and gallery_rows of Blocks must be at least 1")

    def rows_held(self) -> int:
        """Gallery rows at a time where all distances of a query are held."""
        return round_up(_LEAST_ROWS if self.gallery_rows is None else self.gallery_rows, LANES)

    def rows_searched(self, row_bytes: int) -> int:
        """Gallery rows at a time in a search.

        For each block, a search picks the nearest and merges them with those before, which takes
        longer than the product if blocks are small.

        Args:
          row_bytes: Size of one descriptor.
        """
        if self.gallery_rows is not None:
            return round_up(self.gallery_rows, LANES)
        return round_up(max(_LEAST_ROWS, _SEARCHED_BYTES // row_bytes), LANES)

    def mesh(self) -> Mesh:
        """The devices as a mesh with one axis, `data`."""
        devices = list(self.devices if self.devices is not None else jax.local_devices())
        return jax.make_mesh(
            (len(devices),), (_AXIS,), axis_types=(AxisType.Auto,), devices=devices
        )


@dataclasses.dataclass(frozen=True)
class RowBlock:
    """Comparable distances of some queries to the whole gallery.

    Attributes:
      start: Index of the first query.
      count: Queries in the block; rows beyond are padding.
      values: [rows, columns] in the type of the descriptors, sharded by rows. A row orders the
        gallery as the metric does. Columns beyond the gallery hold +inf.
    """

    start: int
    count: int
    values: jax.Array


def precision(dtype: np.dtype[Any]) -> contextlib.AbstractContextManager[None]:
    """JAX with the numbers that descriptors of this type need, in this thread."""
    if dtype == np.float64:
        return jax.enable_x64(True)
    return contextlib.nullcontext()


def round_up(number: int, multiple: int) -> int:
    """The least multiple that is not below the number."""
    return -(-number // multiple) * multiple


def even_blocks(total: int, *, most: int, unit: int) -> int:
    """Size of the fewest equal blocks of at most `most` that cover `total`, in whole units."""
    most = max(most // unit, 1) * unit
    return round_up(-(-total // -(-total // most)), unit)


@dataclasses.dataclass(frozen=True)
class Layout:
    """Sizes of the blocks for one query set against one gallery."""

    query_rows: int
    gallery_rows: int
    columns: int

    @classmethod
    def plan(
        cls, query: Descriptors, gallery: Descriptors, *, blocks: Blocks, mesh: Mesh
    ) -> Layout:
        """Sizes that keep within `blocks`; every row of the gallery sees the same arithmetic."""
        gallery_rows = even_blocks(len(gallery), most=blocks.rows_held(), unit=_ROW_UNIT)
        columns = round_up(round_up(len(gallery), gallery_rows), LANES)
        fitting = blocks.row_bytes // (query.dtype.itemsize * columns)
        query_rows = even_blocks(len(query), most=fitting, unit=_ROW_UNIT * mesh.size)
        return cls(query_rows=query_rows, gallery_rows=gallery_rows, columns=columns)


@jax.jit
def product(rows: jax.Array, columns: jax.Array) -> jax.Array:
    """Products of `[M, D]` with `[N, D]` in their full precision on every device: `[M, N]`."""
    return jax.lax.dot_general(
        rows, columns, (((1,), (1,)), ((), ())), precision=jax.lax.Precision.HIGHEST
    )


@functools.partial(jax.jit, donate_argnums=0, static_argnames="mirrored")
def place(
    rows: jax.Array,
    products: jax.Array,
    base: jax.Array,
    scale: jax.Array,
    column: jax.Array,
    *,
    mirrored: bool = False,
) -> jax.Array:
    """Writes base + scale × products `[M, n]` into `rows [M, N]` from a column on.

    With `mirrored` the products are `[n, M]`, of the pairs the other way round.
    """
    distances = base[None, :] + scale[None, :] * (products.T if mirrored else products)
    return jax.lax.dynamic_update_slice(rows, distances, (jnp.int32(0), column))


@functools.partial(jax.jit, donate_argnums=0)
def _fill(
    rows: jax.Array,
    query: jax.Array,
    gallery: jax.Array,
    base: jax.Array,
    scale: jax.Array,
    column: jax.Array,
) -> jax.Array:
    return place(rows, product(query, gallery), base, scale, column)


def inverse_norms(squared_norms: NDArray[np.floating]) -> NDArray[np.floating]:
    """1 / norm, and 0 for a zero vector, so that its cosine with anything is 0."""
    norms = np.sqrt(squared_norms)
    return np.divide(norms.dtype.type(1), norms, out=np.zeros_like(norms), where=norms > 0)


def column_terms(
    gallery: Descriptors, *, metric: Metric, columns: int
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Per column, `base` and `scale` of distance = base + scale × product."""
    base = np.full(columns, np.inf, gallery.dtype)
    scale = np.zeros(columns, gallery.dtype)
    if metric == "euclidean":
        base[: len(gallery)] = gallery.squared_norms
        scale[: len(gallery)] = -2
    else:
        base[: len(gallery)] = 0
        scale[: len(gallery)] = -inverse_norms(gallery.squared_norms)
    return base, scale


def stream_rows(
    query: Descriptors, gallery: Descriptors, *, metric: Metric, layout: Layout, mesh: Mesh
) -> Iterator[RowBlock]:
    """Yields the distances of one block of queries after the other.

    A row holds ‖g‖² − 2 q·g (Euclidean) or −q·g / ‖g‖ (cosine): the metric's order without the
    terms that are the same for the whole row. Products are in the full precision of the descriptors
    on every device; for float64 the caller is within `precision`. A block is to be done with before
    the next one is asked for, which takes its memory.
    """
    by_row, everywhere = NamedSharding(mesh, P(_AXIS)), NamedSharding(mesh, P())
    base, scale = column_terms(gallery, metric=metric, columns=layout.columns)
    step = layout.gallery_rows
    rows: jax.Array | None = None
    for start in range(0, len(query), layout.query_rows):
        queries = jax.device_put(query.block(start, rows=layout.query_rows), by_row)
        # Memory is taken once, unless the reader of the last block has used it up.
        if rows is None or rows.is_deleted():
            shape = (layout.query_rows, layout.columns)
            rows = jnp.full(shape, jnp.inf, query.dtype, device=by_row)
        for column in range(0, len(gallery), step):
            part = jax.device_put(gallery.block(column, rows=step), everywhere)
            # One block is copied while the one before is multiplied, and no more.
            rows.block_until_ready()
            rows = _fill(
                rows,
                queries,
                part,
                base[column : column + step],
                scale[column : column + step],
                np.int32(column),
            )
        yield RowBlock(start=start, count=min(layout.query_rows, len(query) - start), values=rows)


# --- All pairs of one set ---
#
# The product of images i and j is that of j and i. On a CPU, where a product costs more than moving
# its result, tiles of it are kept until they are needed a second time, within a bound on memory.

# Smaller tiles cost more in calls than they save in products.
_LEAST_TILE = 512


@dataclasses.dataclass(frozen=True)
class Plan:
    """How all pairs are gone through.

    Attributes:
      layout: Sizes of the blocks.
      band: After each block of rows, products with so many of the next blocks are kept; 0 computes
        everything.
    """

    layout: Layout
    band: int

    @classmethod
    def make(cls, everyone: Descriptors, *, blocks: Blocks, mesh: Mesh, kept_bytes: int) -> Plan:
        """The widest band that `kept_bytes` allow.

        Args:
          everyone: Descriptors [N, D].
          blocks: How much is worked on at a time.
          mesh: The devices.
          kept_bytes: Bound on the products that are kept.
        """
        total = len(everyone)
        layout = Layout.plan(everyone, everyone, blocks=blocks, mesh=mesh)
        rows = layout.query_rows
        # At most band · (band + 1) / 2 tiles are alive at a time.
        tiles = kept_bytes // (everyone.dtype.itemsize * rows**2)
        band = min((math.isqrt(8 * tiles + 1) - 1) // 2, -(-total // rows) - 1)
        only_cpu = mesh.size == 1 and mesh.devices.flat[0].platform == "cpu"
        if not only_cpu or band < 1 or rows < _LEAST_TILE:
            return cls(layout=layout, band=0)
        columns = round_up(round_up(total, rows), LANES)
        return cls(layout=Layout(query_rows=rows, gallery_rows=rows, columns=columns), band=band)


def stream_all_pairs(
    everyone: Descriptors, *, metric: Metric, plan: Plan, mesh: Mesh
) -> Iterator[RowBlock]:
    """Yields what `stream_rows` yields of a set against itself."""
    if not plan.band:
        yield from stream_rows(everyone, everyone, metric=metric, layout=plan.layout, mesh=mesh)
        return
    layout = plan.layout
    step = layout.query_rows
    base, scale = column_terms(everyone, metric=metric, columns=layout.columns)
    count = -(-len(everyone) // step)
    kept: dict[tuple[int, int], jax.Array] = {}
    rows = jnp.full((step, layout.columns), jnp.inf, everyone.dtype)
    for own in range(count):
        mine = jax.device_put(everyone.block(own * step, rows=step))
        for other in range(count):
            mirrored = (other, own) in kept
            if mirrored:
                tile = kept.pop((other, own))
            else:
                tile = product(mine, jax.device_put(everyone.block(other * step, rows=step)))
                if 0 < other - own <= plan.band:
                    kept[own, other] = tile
            columns = slice(other * step, (other + 1) * step)
            terms = base[columns], scale[columns], np.int32(columns.start)
            rows = place(rows, tile, *terms, mirrored=mirrored)
        real = min(step, len(everyone) - own * step)
        yield RowBlock(start=own * step, count=real, values=rows)


# --- The smallest and the largest of a row ---

_GROUP = 32


def smallest(rows: jax.Array, k: int) -> tuple[jax.Array, jax.Array]:
    """The k smallest values of each row, ties in order of their place.

    The k smallest values lie in the k groups of neighboring places whose own smallest values are
    smallest, so that a top-k looks only at group minima and at the members of those groups.

    Args:
      rows: Floating [B, W], without NaN.
      k: At most W.

    Returns:
      Values [B, k], ascending, and places int32 [B, k].
    """
    count, width = rows.shape
    if width % _GROUP or width < 4 * k * _GROUP:
        values, places = jax.lax.top_k(-rows, k)
        return -values, places
    groups = rows.reshape(count, -1, _GROUP)
    chosen = jnp.sort(jax.lax.top_k(-jnp.min(groups, axis=2), k)[1], axis=1)
    members = jnp.take_along_axis(groups, chosen[:, :, None], axis=1).reshape(count, -1)
    values, within = jax.lax.top_k(-members, k)
    places = jnp.take_along_axis(chosen, within // _GROUP, axis=1) * _GROUP + within % _GROUP
    return -values, places


def largest(rows: jax.Array, width: int) -> jax.Array:
    """The largest of the first `width` values of each row.

    Args:
      rows: float32 [B, W], W a multiple of 32; what lies beyond `width` is not looked at.
      width: At least 1.

    Returns:
      float32 [B].
    """
    # A slice of the whole would be copied first; one of the groups' maxima is small.
    whole = width // _GROUP
    rest = jnp.max(rows[:, whole * _GROUP : width], axis=1, initial=-jnp.inf)
    groups = jnp.max(rows.reshape(len(rows), -1, _GROUP), axis=2)
    return jnp.maximum(jnp.max(groups[:, :whole], axis=1, initial=-jnp.inf), rest)
