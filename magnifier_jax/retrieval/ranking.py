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
    check_descriptors,
    check_widths,
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
    count_self_matches,
    label,
    make_labels,
)
from magnifier_jax.retrieval.metrics import AveragePrecision, Evaluation, MatchRanks, summarize
from magnifier_jax.retrieval.reranking import ReRanking, rerank_descriptors
from magnifier_jax.retrieval.spacing import align

_LARGEST_RANK = 10**6
_MOST_REPETITIONS = 10**4
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
    queries = check_descriptors(query, name="query")
    candidates = check_descriptors(gallery, name="gallery")
    check_widths(queries, candidates)
    if not camera_filter:
        query_cameras = gallery_cameras = None
    asked = label(queries, query_ids, query_cameras, ignored_identity=ignored_identity)
    searched = label(candidates, gallery_ids, gallery_cameras, ignored_identity=ignored_identity)
    labels = make_labels(asked, searched, camera_filter=camera_filter)
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
    own = count_self_matches(queries, candidates, labels)
    if own >= _OWN_MATCHES:
        warnings.warn(
            f"{own:,} of {len(queries):,} queries are in the gallery themselves and count as their "
            "own match, so the numbers are too good; leave these images out of the gallery, or "
            "give the cameras of all images and keep the camera filter on",
            SelfMatchWarning,
            stacklevel=2,
        )
    return _as_given(evaluation, asked, searched, own=own)


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


# --- The old CUHK03 protocol ---


@dataclasses.dataclass(frozen=True)
class SingleShot:
    """Settings of the single-gallery-shot protocol.

    Attributes:
      repetitions: How many galleries are drawn and averaged over.
      seed: Decides the draws, together with the identities and cameras alone.
    """

    repetitions: int = 100
    seed: int = 0

    def __post_init__(self) -> None:
        if not 1 <= self.repetitions <= _MOST_REPETITIONS:
            raise UserError(
                f"repetitions must be within 1 and {_MOST_REPETITIONS}, not {self.repetitions}"
            )
        if self.seed < 0:
            raise UserError(f"seed must be at least 0, not {self.seed}")


class SingleShotCounter:
    """Ranks of each query's match among one drawn image of every identity.

    Of the query's own identity an image that the camera filter leaves is drawn. A repetition
    counts as a query of its own: query q of repetition r is number r · Nq + q.
    """

    def __init__(self, labels: Labels, *, settings: SingleShot) -> None:
        self._labels = labels
        self._settings = settings
        self._finder = MatchFinder(labels)
        generator = np.random.default_rng(settings.seed)
        self._priority = np.stack(
            [generator.permutation(len(labels.gallery_ids)) for _ in range(settings.repetitions)]
        )
        by_priority = np.argsort(self._priority, axis=1)
        self._drawn = [
            order[np.unique(labels.gallery_ids[order], return_index=True)[1]]
            for order in by_priority
        ]

    def ranks(self, block: RowBlock) -> MatchRanks:
        """Ranks of the matches of one block of distance rows."""
        matches = self._finder.find(block.start, count=block.count)
        rows = np.asarray(block.values)[: block.count]
        queries, ranks = [], []
        total = len(self._labels.query_ids)
        for repetition in range(self._settings.repetitions):
            order = np.lexsort((self._priority[repetition][matches.gallery], matches.queries))
            valid, first = np.unique(matches.queries[order], return_index=True)
            own = matches.gallery[order][first]
            queries.append(repetition * total + block.start + valid)
            ranks.append(
                self._ranks_of(rows, valid, own, drawn=self._drawn[repetition], block=block)
            )
        return MatchRanks(queries=np.concatenate(queries), ranks=np.concatenate(ranks))

    def _ranks_of(
        self,
        rows: NDArray[np.floating],
        valid: NDArray[np.int64],
        own: NDArray[np.int64],
        *,
        drawn: NDArray[np.int64],
        block: RowBlock,
    ) -> NDArray[np.int64]:
        ids = self._labels.query_ids[block.start + valid]
        others = self._labels.gallery_ids[drawn][None, :] != ids[:, None]
        distance = rows[valid[:, None], drawn[None, :]]
        reference = rows[valid, own][:, None]
        earlier = (distance == reference) & (drawn[None, :] < own[:, None])
        return 1 + np.count_nonzero(others & ((distance < reference) | earlier), axis=1)


def fold_repetitions(evaluation: Evaluation, *, queries: int) -> Evaluation:
    """The same measures with the repetitions of a query counted as one query."""
    per_query = evaluation.average_precisions.reshape(-1, queries).mean(axis=0)
    return dataclasses.replace(
        evaluation,
        queries=queries,
        valid_queries=int(np.isfinite(per_query).sum()),
        average_precisions=per_query,
    )
