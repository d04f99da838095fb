"""Exact ranks of every query's true matches, without sorting.

The rank of a match is one more than the number of valid gallery pictures before it: nearer ones,
and equally near ones that come earlier in the gallery. Only the few true matches of a query are
counted for, which costs a small part of what sorting its row would.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from magnifier_jax.retrieval.distances import LANES, Layout, RowBlock
from magnifier_jax.retrieval.labels import Labels, Matches, MatchFinder

_MATCHES_PER_TASK = 8


@dataclasses.dataclass(frozen=True)
class MatchRanks:
    """Ranks of the true matches, best first for each query.

    Attributes:
      queries: int64 [M], query of each match, ascending.
      ranks: int64 [M], 1 for the best place among the query's valid gallery, ascending per query.
    """

    queries: NDArray[np.int64]
    ranks: NDArray[np.int64]


@dataclasses.dataclass(frozen=True)
class _Tasks:
    """Matches in groups of eight of one query, laid out device by device.

    Attributes:
      rows: int32 [devices, T], the query's row on its device.
      columns: int32 [devices, T, 8], the matches, -1 where there is none.
      counts: int32 [devices], tasks in use.
      slots: int64 [M], where each match went in the flattened columns.
    """

    rows: NDArray[np.int32]
    columns: NDArray[np.int32]
    counts: NDArray[np.int32]
    slots: NDArray[np.int64]


def _make_tasks(matches: Matches, *, devices: int, rows_per_device: int) -> _Tasks:
    per_query = np.bincount(matches.queries, minlength=devices * rows_per_device)
    tasks_per_query = -(-per_query // _MATCHES_PER_TASK)
    counts = tasks_per_query.reshape(devices, rows_per_device).sum(axis=1)
    capacity = 8
    while capacity < counts.max():
        capacity *= 2
    device = np.arange(devices * rows_per_device) // rows_per_device
    before = np.cumsum(tasks_per_query) - tasks_per_query
    before_device = np.cumsum(counts) - counts
    first_task = device * capacity + before - before_device[device]
    rows = np.zeros(devices * capacity, np.int32)
    task_query = np.repeat(np.arange(len(per_query)), tasks_per_query)
    task_within = np.arange(len(task_query)) - before[task_query]
    rows[first_task[task_query] + task_within] = task_query % rows_per_device
    first_match = np.cumsum(per_query) - per_query
    within = np.arange(len(matches.queries)) - first_match[matches.queries]
    slots = first_task[matches.queries] * _MATCHES_PER_TASK + within
    columns = np.full(devices * capacity * _MATCHES_PER_TASK, -1, np.int32)
    columns[slots] = matches.gallery
    return _Tasks(
        rows=rows.reshape(devices, capacity),
        columns=columns.reshape(devices, capacity, _MATCHES_PER_TASK),
        counts=counts.astype(np.int32),
        slots=slots,
    )


@functools.partial(jax.jit, donate_argnums=0)
def _drop_junk(
    rows: jax.Array,
    query_ids: jax.Array,
    query_cameras: jax.Array,
    gallery_ids: jax.Array,
    gallery_cameras: jax.Array,
) -> jax.Array:
    junk = (query_ids[:, None] == gallery_ids[None, :]) & (
        query_cameras[:, None] == gallery_cameras[None, :]
    )
    return jnp.where(junk, jnp.inf, rows)


def _count_on_device(
    rows: jax.Array, task_rows: jax.Array, task_columns: jax.Array, counts: jax.Array
) -> jax.Array:
    """Gallery pictures before each match: int32 [1, T, 8]."""
    lanes = rows.reshape(rows.shape[0], -1, LANES)
    place = jnp.arange(rows.shape[1], dtype=jnp.int32).reshape(1, -1, LANES)

    def count_task(task: jax.Array, before: jax.Array) -> jax.Array:
        row = jax.lax.dynamic_index_in_dim(lanes, task_rows[0, task], keepdims=True)
        columns = task_columns[0, task]
        own = row.reshape(-1)[jnp.maximum(columns, 0)]
        own = jnp.where(columns < 0, -jnp.inf, own)[:, None, None]
        first = columns[:, None, None]
        is_before = (row < own) | ((row == own) & (place < first))
        # A sum along the lanes vectorises, and in float32 it is exact below 2^24 a lane.
        per_lane = jnp.sum(jnp.where(is_before, jnp.float32(1), jnp.float32(0)), axis=1)
        return before.at[0, task].set(jnp.sum(per_lane.astype(jnp.int32), axis=1))

    return jax.lax.fori_loop(0, counts[0], count_task, jnp.zeros_like(task_columns))


@functools.partial(jax.jit, static_argnames="mesh")
def _count_before(
    rows: jax.Array, task_rows: jax.Array, task_columns: jax.Array, counts: jax.Array, *, mesh: Mesh
) -> jax.Array:
    spec = P(*mesh.axis_names)
    return jax.shard_map(
        _count_on_device, mesh=mesh, in_specs=(spec, spec, spec, spec), out_specs=spec
    )(rows, task_rows, task_columns, counts)


def _pad(values: NDArray[np.int32], size: int, *, fill: int) -> NDArray[np.int32]:
    return np.pad(values, (0, size - len(values)), constant_values=fill)


class RankCounter:
    """Turns blocks of distance rows into ranks of true matches."""

    def __init__(self, labels: Labels, *, layout: Layout, mesh: Mesh) -> None:
        self._labels = labels
        self._layout = layout
        self._mesh = mesh
        self._finder = MatchFinder(labels)
        everywhere = NamedSharding(mesh, P())
        self._gallery_ids = jax.device_put(
            _pad(labels.gallery_ids, layout.columns, fill=-1), everywhere
        )
        self._gallery_cameras = jax.device_put(
            _pad(labels.gallery_cameras, layout.columns, fill=-1), everywhere
        )

    def ranks(self, block: RowBlock) -> MatchRanks:
        """Ranks of the matches of one block; the block's values are used up."""
        labels, layout = self._labels, self._layout
        matches = self._finder.find(block.start, count=block.count)
        if not len(matches.queries):
            return MatchRanks(queries=matches.queries, ranks=matches.gallery)
        chosen = slice(block.start, block.start + block.count)
        by_row = NamedSharding(self._mesh, P(*self._mesh.axis_names))
        rows = _drop_junk(
            block.values,
            jax.device_put(_pad(labels.query_ids[chosen], layout.query_rows, fill=-2), by_row),
            jax.device_put(_pad(labels.query_cameras[chosen], layout.query_rows, fill=-2), by_row),
            self._gallery_ids,
            self._gallery_cameras,
        )
        tasks = _make_tasks(
            matches,
            devices=self._mesh.size,
            rows_per_device=layout.query_rows // self._mesh.size,
        )
        on_devices = jax.device_put((tasks.rows, tasks.columns, tasks.counts), by_row)
        before = np.asarray(_count_before(rows, *on_devices, mesh=self._mesh))
        ranks = before.reshape(-1)[tasks.slots].astype(np.int64) + 1
        order = np.lexsort((ranks, matches.queries))
        return MatchRanks(queries=matches.queries + block.start, ranks=ranks[order])
