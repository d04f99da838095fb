"""Evaluation of descriptors, from any model, under the protocols of the field."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import jax
import numpy as np
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Descriptors, check_descriptors, check_pair
from magnifier_jax.retrieval.distances import Blocks, Layout, Metric, RowBlock, stream_rows
from magnifier_jax.retrieval.labels import Array, Labelled, label, make_labels
from magnifier_jax.retrieval.metrics import AveragePrecision, Evaluation, summarise
from magnifier_jax.retrieval.ranking import RankCounter
from magnifier_jax.retrieval.reranking import ReRanking, rerank_descriptors
from magnifier_jax.retrieval.single_shot import SingleShot, SingleShotCounter, fold_repetitions


def evaluate(
    query: Array,
    gallery: Array,
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

    Gallery pictures of the query's identity taken by the query's camera are ignored, and so are
    all pictures of identity −1, which Market-1501 gives to bad detections. Ties are
    broken by gallery order. Ranks are exact for float32 distances, and the matrix of all
    distances never exists.

    Args:
      query: Descriptors [Nq, D], any floating type.
      gallery: Descriptors [Ng, D].
      query_ids: Identities [Nq].
      gallery_ids: Identities [Ng]; those that no query has are distractors.
      query_cameras: Cameras [Nq]; not needed without the camera filter.
      gallery_cameras: Cameras [Ng]; not needed without the camera filter.
      max_rank: Length of the CMC curve, which beyond the gallery keeps its last value.
      camera_filter: Whether same-identity pictures of the same camera are ignored.
      ignored_identity: Pictures of it count neither as queries nor in the gallery, as if they
        were not there, and are counted in the result; None for no such identity.
      metric: 'euclidean' or 'cosine'.
      average_precision: 'rectangular', or 'trapezoid' as in the Market-1501 MATLAB code.
      reranking: Settings of k-reciprocal re-ranking; None for the plain distances.
      single_shot: Settings of the old CUHK03 protocol; None for all gallery pictures at once.
      blocks: How much is worked on at a time, and on which devices.

    Returns:
      The measures, over the queries that have a match.

    Raises:
      UserError: for descriptors or labels that cannot be evaluated, or if no query has a match.
    """
    if max_rank < 1:
        raise UserError(f"max_rank must be at least 1, not {max_rank}")
    queries = check_descriptors(query, name="query")
    candidates = check_descriptors(gallery, name="gallery")
    check_pair(queries, candidates)
    if not camera_filter:
        query_cameras = gallery_cameras = None
    asked = label(queries, query_ids, query_cameras, ignored_identity=ignored_identity)
    searched = label(candidates, gallery_ids, gallery_cameras, ignored_identity=ignored_identity)
    labels = make_labels(asked, searched, camera_filter=camera_filter)
    queries, candidates = asked.descriptors, searched.descriptors
    blocks = blocks or Blocks()
    mesh = blocks.mesh()
    layout = Layout.plan(
        queries=len(queries), gallery=len(candidates), blocks=blocks, devices=mesh.size
    )
    if reranking is None:
        rows = stream_rows(queries, candidates, metric=metric, layout=layout, mesh=mesh)
    else:
        layout = dataclasses.replace(layout, query_rows=min(layout.query_rows, 8 * mesh.size))
        rows = _reranked_rows(
            queries, candidates, settings=reranking, metric=metric, blocks=blocks, layout=layout
        )
    counter: RankCounter | SingleShotCounter
    if single_shot is None:
        counter = RankCounter(labels, layout=layout, mesh=mesh)
    else:
        counter = SingleShotCounter(labels, settings=single_shot)
    evaluation = summarise(
        [counter.ranks(block) for block in rows],
        queries=len(queries) * (1 if single_shot is None else single_shot.repetitions),
        gallery=len(candidates),
        max_rank=max_rank,
        average_precision=average_precision,
        metric=metric,
    )
    if single_shot is not None:
        evaluation = fold_repetitions(evaluation, queries=len(queries))
    return _with_ignored(evaluation, asked, searched)


def _with_ignored(evaluation: Evaluation, query: Labelled, gallery: Labelled) -> Evaluation:
    """Says how much was ignored, and lets average precisions follow the queries as given."""
    precisions = np.full(len(query.rows) + query.ignored, np.nan)
    precisions[query.rows] = evaluation.average_precisions
    return dataclasses.replace(
        evaluation,
        average_precisions=precisions,
        ignored_queries=query.ignored,
        ignored_gallery=gallery.ignored,
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
            values = np.full((layout.query_rows, layout.columns), np.inf, np.float32)
            values[: len(part), : len(gallery)] = part
            yield RowBlock(
                start=block.start + start, count=len(part), values=jax.device_put(values, by_row)
            )
