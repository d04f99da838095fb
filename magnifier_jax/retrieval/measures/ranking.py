"""Evaluation of descriptors, from any model, by the exact ranks of every query's true matches.

Nothing is sorted. The rank of a match is one more than the number of valid gallery images before
it: nearer ones, and equally near ones that come earlier in the gallery. Only the few true matches
of a query are counted for, which costs a small part of what sorting its row would.
"""

from __future__ import annotations

import dataclasses
import functools
import warnings
from collections.abc import Iterator

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    Metric,
    Vectors,
)
from magnifier_jax.retrieval.distances import (
    LANES,
    Blocks,
    Layout,
    RowBlock,
    precision,
    stream_rows,
)
from magnifier_jax.retrieval.labels import (
    Array,
    Labeled,
    Labels,
    Matches,
    MatchFinder,
    SelfMatchWarning,
    label_both,
)
from magnifier_jax.retrieval.measures.metrics import (
    AveragePrecision,
    Evaluation,
    MatchRanks,
    summarize,
)
from magnifier_jax.retrieval.measures.single_shot import (
    SingleShot,
    SingleShotCounter,
    fold_repetitions,
)
from magnifier_jax.retrieval.reranking import ReRanking, rerank_descriptors
from magnifier_jax.retrieval.spacing import align

_LARGEST_RANK = 10**6
# Fewer queries that are in the gallery may be there by chance, as in an example.
_OWN_MATCHES = 3


def evaluate(
    query: Vectors,
    gallery: Vectors,
    query_ids: Array,
    gallery_ids: Array,
    query_cameras: Array | None = None,
    gallery_cameras: Array | None = None,
    *,
    max_rank: int = 50,
    camera_filter: bool = True,
    ignored_identity: int | str | None = -1,
    metric: Metric = "euclidean",
    average_precision: AveragePrecision = "rectangular",
    reranking: ReRanking | None = None,
    single_shot: SingleShot | None = None,
    blocks: Blocks | None = None,
) -> Evaluation:
    """Ranks the gallery for every query under the Market-1501 protocol.

    Gallery images of the query's identity taken by the query's camera are ignored, and so are
    all images of identity −1, which Market-1501 gives to bad detections. Ties are
    broken by gallery order. Distances are computed in float32, or in float64 where that would not
    tell neighbors apart, and the matrix of all distances never exists.

    Args:
      query: Descriptors [Nq, D], any floating type, or embeddings that have them.
      gallery: Descriptors [Ng, D], or embeddings or a gallery that has them.
      query_ids: Identities [Nq], numbers or text; text is compared in one Unicode spelling.
      gallery_ids: Identities [Ng]; those that no query has are distractors.
      query_cameras: Cameras [Nq], numbers or text; not needed without the camera filter. One that
        is not known, −1 or empty text, equals no camera.
      gallery_cameras: Cameras [Ng]; the same.
      max_rank: Length of the CMC curve, which beyond the gallery keeps its last value.
      camera_filter: Whether same-identity images of the same camera are ignored.
      ignored_identity: Images of it count neither as queries nor in the gallery, as if they
        were not there, and are counted in the result; −1 in any spelling; None for no such
        identity.
      metric: 'euclidean' or 'cosine'.
      average_precision: 'rectangular', or 'trapezoid' as in the Market-1501 MATLAB code.
      reranking: Settings of k-reciprocal re-ranking; None for the plain distances.
      single_shot: Settings of the old CUHK03 protocol; None for all gallery images at once.
      blocks: How much is worked on at a time, and on which devices.

    Returns:
      The measures, over the queries that have a match.

    Warns:
      RetrievalWarning: if descriptors have collapsed, queries are their own match in the gallery,
        or text identities look like one number.

    Raises:
      UserError: for descriptors or labels that cannot be evaluated, or if no query has a match.
    """
    if not 1 <= max_rank <= _LARGEST_RANK:
        raise UserError(f"max_rank must be within 1 and {_LARGEST_RANK}, not {max_rank}")
    asked, searched, labels = label_both(
        query,
        gallery,
        query_ids,
        gallery_ids,
        query_cameras,
        gallery_cameras,
        camera_filter=camera_filter,
        ignored_identity=ignored_identity,
    )
    queries, candidates = align(asked.descriptors, searched.descriptors, metric=metric)
    ranks = _match_ranks(
        queries,
        candidates,
        labels,
        metric=metric,
        reranking=reranking,
        single_shot=single_shot,
        blocks=blocks or Blocks(),
    )
    evaluation = summarize(
        ranks,
        queries=len(queries) * (1 if single_shot is None else single_shot.repetitions),
        gallery=len(candidates),
        max_rank=max_rank,
        average_precision=average_precision,
        metric=metric,
    )
    if single_shot is not None:
        evaluation = fold_repetitions(evaluation, queries=len(queries))
    own = _count_self_matches(queries, candidates, labels)
    if own >= _OWN_MATCHES:
        _warn_of_self_matches(own, queries=len(queries))
    return _as_given(evaluation, asked, searched, own=own)


def _warn_of_self_matches(own: int, *, queries: int) -> None:
    warnings.warn(
        f"{own:,} of {queries:,} queries are in the gallery themselves and count as their "
        "own match, so the numbers are too good; leave these images out of the gallery, or "
        "give the cameras of all images and keep the camera filter on",
        SelfMatchWarning,
        stacklevel=3,
    )


def _match_ranks(
    query: Descriptors,
    gallery: Descriptors,
    labels: Labels,
    *,
    metric: Metric,
    reranking: ReRanking | None,
    single_shot: SingleShot | None,
    blocks: Blocks,
) -> list[MatchRanks]:
    mesh = blocks.mesh()
    layout = Layout.plan(query, gallery, blocks=blocks, mesh=mesh)
    counter: RankCounter | SingleShotCounter
    with precision(query.dtype):
        if reranking is None:
            rows = stream_rows(query, gallery, metric=metric, layout=layout, mesh=mesh)
        else:
            layout = dataclasses.replace(layout, query_rows=min(layout.query_rows, 8 * mesh.size))
            rows = _reranked_rows(
                query, gallery, settings=reranking, metric=metric, blocks=blocks, layout=layout
            )
        if single_shot is None:
            counter = RankCounter(labels, layout=layout, mesh=mesh)
        else:
            counter = SingleShotCounter(labels, settings=single_shot)
        return [counter.ranks(block) for block in rows]


def _as_given(evaluation: Evaluation, query: Labeled, gallery: Labeled, *, own: int) -> Evaluation:
    """Says how much was ignored, and lets average precisions follow the queries as given."""
    precisions = np.full(len(query.rows) + query.ignored, np.nan)
    precisions[query.rows] = evaluation.average_precisions
    return dataclasses.replace(
        evaluation,
        average_precisions=precisions,
        ignored_queries=query.ignored,
        ignored_gallery=gallery.ignored,
        self_matches=own,
    )


def _reranked_rows(
    query: Descriptors,
    gallery: Descriptors,
    *,
    settings: ReRanking,
    metric: Metric,
    blocks: Blocks,
    layout: Layout,
) -> Iterator[RowBlock]:
    """Re-ranked distances in rows that ranking can read."""
    mesh = blocks.mesh()
    by_row = NamedSharding(mesh, P(*mesh.axis_names))
    stream = rerank_descriptors(query, gallery, settings=settings, metric=metric, blocks=blocks)
    for block in stream:
        for start in range(0, len(block.values), layout.query_rows):
            part = block.values[start : start + layout.query_rows]
            values = np.full((layout.query_rows, layout.columns), np.inf, part.dtype)
            values[: len(part), : len(gallery)] = part
            yield RowBlock(
                start=block.start + start, count=len(part), values=jax.device_put(values, by_row)
            )


# --- Counting ---

_MATCHES_PER_TASK = 8


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
    """Gallery images before each match: int32 [1, T, 8]."""
    lanes = rows.reshape(rows.shape[0], -1, LANES)
    place = jnp.arange(rows.shape[1], dtype=jnp.int32).reshape(1, -1, LANES)

    def count_task(task: jax.Array, before: jax.Array) -> jax.Array:
        row = jax.lax.dynamic_index_in_dim(lanes, task_rows[0, task], keepdims=True)
        columns = task_columns[0, task]
        own = row.reshape(-1)[jnp.maximum(columns, 0)]
        own = jnp.where(columns < 0, -jnp.inf, own)[:, None, None]
        first = columns[:, None, None]
        is_before = (row < own) | ((row == own) & (place < first))
        # A sum along the lanes vectorizes, and in float32 it is exact below 2^24 a lane.
        per_lane = jnp.sum(jnp.where(is_before, jnp.float32(1), jnp.float32(0)), axis=1)
        return before.at[0, task].set(jnp.sum(per_lane.astype(jnp.int32), axis=1, dtype=jnp.int32))

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


# --- Queries that are in the gallery ---

_COLUMNS = 32
_ROWS_AT_ONCE = 2048
_LIKELY = 4
_IDENTITY_FACTOR = np.uint64(0x9E3779B97F4A7C15)


def _count_self_matches(query: Descriptors, gallery: Descriptors, labels: Labels) -> int:
    """Queries, each other vector, that match a gallery image with the same descriptor.

    A hash of some columns and the identity finds candidates; only these are compared.
    """
    vectors = _row_keys(query)
    asked = vectors + labels.query_ids.astype(np.uint64) * _IDENTITY_FACTOR
    searched = _row_keys(gallery) + labels.gallery_ids.astype(np.uint64) * _IDENTITY_FACTOR
    order = np.argsort(searched, kind="stable")
    first = np.searchsorted(searched[order], asked, side="left")
    last = np.searchsorted(searched[order], asked, side="right")
    found = set()
    for row in np.flatnonzero(last > first).tolist():
        places = order[first[row] : last[row]]
        places = places[labels.gallery_cameras[places] != labels.query_cameras[row]][:_LIKELY]
        if len(places) and (gallery.take(places) == query.take(np.array([row]))).all(axis=1).any():
            found.add(int(vectors[row]))
    return len(found)


def _row_keys(descriptors: Descriptors) -> NDArray[np.uint64]:
    """A number for each descriptor, the same for equal ones: uint64 [N]."""
    width = descriptors.width
    columns = np.unique(np.linspace(0, width - 1, min(width, _COLUMNS)).astype(int))
    factors = np.random.default_rng(0).integers(2**63, size=len(columns), dtype=np.uint64) | 1
    keys = []
    for part in descriptors.parts:
        for start in range(0, len(part), _ROWS_AT_ONCE):
            values = np.asarray(part[start : start + _ROWS_AT_ONCE, columns], np.float32)
            bits = (values + np.float32(0)).view(np.uint32).astype(np.uint64)
            keys.append((bits * factors).sum(axis=1, dtype=np.uint64))
    return np.concatenate(keys)
