"""Verification: which distance means the same person, and how often that is right."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp
import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    Metric,
    Vectors,
)
from magnifier_jax.retrieval.distances import Blocks, Layout, precision, stream_rows
from magnifier_jax.retrieval.labels import Array, Labels, MatchFinder, label_both
from magnifier_jax.retrieval.measures.metrics import NO_VALID_QUERY
from magnifier_jax.retrieval.spacing import align

FALSE_POSITIVE_RATES = (1e-2, 1e-3, 1e-4, 1e-5)


@dataclasses.dataclass(frozen=True)
class OperatingPoint:
    """What happens if pairs nearer than a threshold are called the same person.

    Attributes:
      allowed_rate: The false positive rate that was asked for.
      threshold: Distance below which two images are called the same person: the largest that
        keeps within the allowed rate.
      true_positive_rate: Share of the pairs of one person that are nearer.
      false_positive_rate: Share of the pairs of two people that are nearer.
    """

    allowed_rate: float
    threshold: float
    true_positive_rate: float
    false_positive_rate: float


@dataclasses.dataclass(frozen=True)
class Verification:
    """Operating points over all pairs of a query and a gallery image.

    Attributes:
      points: One for each allowed rate.
      same_pairs: Pairs of one person, without those that the camera filter ignores.
      different_pairs: Pairs of two people.
      metric: Distance of the thresholds, 'euclidean' or 'cosine' (1 − cosine).
    """

    points: tuple[OperatingPoint, ...]
    same_pairs: int
    different_pairs: int
    metric: Metric


def verify(
    query: Vectors,
    gallery: Vectors,
    query_ids: Array,
    gallery_ids: Array,
    query_cameras: Array | None = None,
    gallery_cameras: Array | None = None,
    *,
    rates: Sequence[float] = FALSE_POSITIVE_RATES,
    camera_filter: bool = True,
    ignored_identity: int | str | None = -1,
    metric: Metric = "euclidean",
    blocks: Blocks | None = None,
) -> Verification:
    """True positive rate, and threshold, at false positive rates.

    Exact in one pass. Of the pairs of two people only the nearest are kept, as many as the
    largest rate allows to be wrong.

    Args:
      query: Descriptors [Nq, D].
      gallery: Descriptors [Ng, D].
      query_ids: Identities [Nq].
      gallery_ids: Identities [Ng].
      query_cameras: Cameras [Nq]; not needed without the camera filter.
      gallery_cameras: Cameras [Ng]; not needed without the camera filter.
      rates: Allowed false positive rates, each at least 0 and below 1.
      camera_filter: Whether same-identity pairs of the same camera are ignored.
      ignored_identity: Images of it are in no pair, as in `evaluate`; None for no such identity.
      metric: 'euclidean' or 'cosine'.
      blocks: How much is worked on at a time, and on which devices.

    Raises:
      UserError: for input that cannot be compared, or without pairs of either kind.
    """
    if not len(rates) or not all(0 <= rate < 1 for rate in rates):
        raise UserError(f"false positive rates must be at least 0 and below 1, not {list(rates)}")
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
    different = _count_different(labels)
    if not different:
        raise UserError("all images show the same person; verification needs pairs of two")
    queries, candidates = align(asked.descriptors, searched.descriptors, metric=metric)
    with precision(queries.dtype):
        same, nearest = _collect(
            queries,
            candidates,
            labels,
            keep=int(max(rates) * different) + 1,
            metric=metric,
            blocks=blocks or Blocks(),
        )
    if not len(same):
        raise UserError(NO_VALID_QUERY)
    points = tuple(
        _operating_point(same, nearest, rate=rate, different=different) for rate in rates
    )
    return Verification(
        points=points, same_pairs=len(same), different_pairs=different, metric=metric
    )


def _operating_point(
    same: NDArray[np.floating], nearest: NDArray[np.floating], *, rate: float, different: int
) -> OperatingPoint:
    # The first pair that is one too many; everything strictly nearer is within the rate.
    threshold = nearest[int(rate * different)]
    return OperatingPoint(
        allowed_rate=rate,
        threshold=float(threshold),
        true_positive_rate=float(np.mean(same < threshold)),
        false_positive_rate=float(np.searchsorted(nearest, threshold) / different),
    )


def _count_different(labels: Labels) -> int:
    size = int(max(labels.query_ids.max(), labels.gallery_ids.max())) + 1
    query = np.bincount(labels.query_ids, minlength=size)
    gallery = np.bincount(labels.gallery_ids, minlength=size)
    return len(labels.query_ids) * len(labels.gallery_ids) - int(query @ gallery)


@functools.partial(jax.jit, static_argnames="metric")
def _true_distances(rows: jax.Array, squared_norms: jax.Array, *, metric: Metric) -> jax.Array:
    if metric == "euclidean":
        return jnp.sqrt(jnp.maximum(rows + squared_norms[:, None], 0))
    norms = jnp.sqrt(squared_norms)[:, None]
    return 1 + jnp.where(norms > 0, rows / norms, 0)


@functools.partial(jax.jit, donate_argnums=0)
def _only_different(
    distances: jax.Array, query_ids: jax.Array, gallery_ids: jax.Array
) -> jax.Array:
    return jnp.where(query_ids[:, None] == gallery_ids[None, :], jnp.inf, distances)


def _collect(
    query: Descriptors,
    gallery: Descriptors,
    labels: Labels,
    *,
    keep: int,
    metric: Metric,
    blocks: Blocks,
) -> tuple[NDArray[np.floating], NDArray[np.floating]]:
    """Distances of all pairs of one person, and the `keep` nearest of two people, ascending."""
    mesh = blocks.mesh()
    layout = Layout.plan(query, gallery, blocks=blocks, mesh=mesh)
    finder = MatchFinder(labels)
    gallery_ids = np.full(layout.columns, -1, np.int32)
    gallery_ids[: len(gallery)] = labels.gallery_ids
    same, nearest, bound = [], np.empty(0, query.dtype), np.inf
    for block in stream_rows(query, gallery, metric=metric, layout=layout, mesh=mesh):
        chosen = slice(block.start, block.start + block.count)
        padding = (0, layout.query_rows - block.count)
        norms = np.pad(query.squared_norms[chosen], padding)
        distances = _true_distances(block.values, norms, metric=metric)
        matches = finder.find(block.start, count=block.count)
        same.append(np.asarray(distances)[matches.queries, matches.gallery])
        ids = np.pad(labels.query_ids[chosen], padding, constant_values=-2)
        others = np.asarray(_only_different(distances, ids, gallery_ids))
        others = others[: block.count, : len(gallery)]
        nearest = np.concatenate([nearest, others[others < bound]])
        if len(nearest) > keep:
            nearest = np.partition(nearest, keep - 1)[:keep]
            bound = nearest[-1]
    # Pairs as far apart as the bound were not looked at again once enough were nearer or equal.
    return np.concatenate(same), np.sort(nearest)
