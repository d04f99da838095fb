"""Evaluation of descriptors, from any model, under the protocols of the field."""

from __future__ import annotations

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from magnifier_jax.errors import UserError
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    check_descriptors,
    check_labels,
    check_pair,
)
from magnifier_jax.retrieval.distances import Blocks, Metric
from magnifier_jax.retrieval.metrics import AveragePrecision, Evaluation, summarise
from magnifier_jax.retrieval.ranking import Labels, rank_matches

Array = ArrayLike | jax.Array


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
    metric: Metric = "euclidean",
    average_precision: AveragePrecision = "rectangular",
    blocks: Blocks | None = None,
) -> Evaluation:
    """Ranks the gallery for every query under the Market-1501 protocol.

    Gallery pictures of the query's identity taken by the query's camera are ignored. Ties are
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
      metric: 'euclidean' or 'cosine'.
      average_precision: 'rectangular', or 'trapezoid' as in the Market-1501 MATLAB code.
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
    labels = make_labels(
        queries,
        candidates,
        ids=(query_ids, gallery_ids),
        cameras=(query_cameras, gallery_cameras),
        camera_filter=camera_filter,
    )
    ranks = rank_matches(queries, candidates, labels, metric=metric, blocks=blocks or Blocks())
    return summarise(
        list(ranks),
        queries=len(queries),
        gallery=len(candidates),
        max_rank=max_rank,
        average_precision=average_precision,
        metric=metric,
    )


def make_labels(
    query: Descriptors,
    gallery: Descriptors,
    *,
    ids: tuple[Array, Array],
    cameras: tuple[Array | None, Array | None],
    camera_filter: bool,
) -> Labels:
    """Checks identities and cameras of (query, gallery) and numbers them."""
    query_ids, gallery_ids = _number(query, gallery, values=ids, what="identities")
    if not camera_filter:
        query_cameras = np.zeros(len(query), np.int32)
        gallery_cameras = np.ones(len(gallery), np.int32)
    elif cameras[0] is None or cameras[1] is None:
        raise UserError(
            "the camera filter needs the cameras of the query and of the gallery; give both, or "
            "turn it off (camera_filter=False)"
        )
    else:
        query_cameras, gallery_cameras = _number(
            query, gallery, values=(cameras[0], cameras[1]), what="cameras"
        )
    return Labels(
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )


def _number(
    query: Descriptors, gallery: Descriptors, *, values: tuple[Array, Array], what: str
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct values of both sets as numbers from 0."""
    first = check_labels(values[0], descriptors=query, what=what)
    second = check_labels(values[1], descriptors=gallery, what=what)
    _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    numbers: NDArray[np.int32] = codes.astype(np.int32)
    return numbers[: len(first)], numbers[len(first) :]
