"""Open-set identification: who is in the gallery, and who is not, by one threshold.

Half of the people who are searched for are taken out of the gallery. A query of one of them raises
a false alarm if its nearest image is below the threshold; a query of the others is found if its
nearest image is, and shows the right person. Both rates are those of Phillips, Grother and Micheals
("Evaluation Methods in Face Recognition", Handbook of Face Recognition, 2011): the false positive
identification rate, and the detection and identification rate at rank 1.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Metric, Vectors
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.labels import Array, Labels, MatchFinder, label_both
from magnifier_jax.retrieval.search import Searchable, find_nearest
from magnifier_jax.retrieval.spacing import align

FALSE_ALARM_RATES = (0.01, 0.1)


@dataclasses.dataclass(frozen=True)
class OpenSetPoint:
    """What happens if only images nearer than a threshold are shown.

    Attributes:
      allowed_rate: The false positive identification rate that was asked for.
      threshold: Distance below which a match is shown: the largest that keeps within the rate.
      found: Share of the queries of people in the gallery whose nearest image is shown, and right.
      false_alarms: Share of the queries of people who are not for whom an image is shown.
    """

    allowed_rate: float
    threshold: float
    found: float
    false_alarms: float


@dataclasses.dataclass(frozen=True)
class OpenSet:
    """Open-set identification at rank 1.

    Attributes:
      points: One for each allowed rate.
      known_queries: Queries of people who are in the gallery.
      unknown_queries: Queries of people who were taken out of it.
      metric: Distance of the thresholds.
    """

    points: tuple[OpenSetPoint, ...]
    known_queries: int
    unknown_queries: int
    metric: Metric


def evaluate_open_set(
    query: Vectors,
    gallery: Vectors,
    query_ids: Array,
    gallery_ids: Array,
    query_cameras: Array | None = None,
    gallery_cameras: Array | None = None,
    *,
    rates: Sequence[float] = FALSE_ALARM_RATES,
    seed: int = 0,
    camera_filter: bool = True,
    ignored_identity: int | str | None = -1,
    metric: Metric = "euclidean",
    blocks: Blocks | None = None,
) -> OpenSet:
    """Detection and identification rate at false positive identification rates.

    Of the people who have a valid match in the gallery, half, drawn by the seed, are taken out of
    it. Queries without a valid match to begin with count as unknown too.

    Args:
      query: Descriptors [Nq, D].
      gallery: Descriptors [Ng, D].
      query_ids: Identities [Nq].
      gallery_ids: Identities [Ng].
      query_cameras: Cameras [Nq]; not needed without the camera filter.
      gallery_cameras: Cameras [Ng]; not needed without the camera filter.
      rates: Allowed false positive identification rates, each at least 0 and below 1.
      seed: Decides who is taken out.
      camera_filter: Whether same-identity images of the same camera are ignored.
      ignored_identity: Images of it are left out, as in `evaluate`; None for no such identity.
      metric: 'euclidean' or 'cosine'.
      blocks: How much is worked on at a time, and on which devices.

    Raises:
      UserError: for input that cannot be compared, or fewer than two people to find.
    """
    if not len(rates) or not all(0 <= rate < 1 for rate in rates):
        raise UserError(f"false alarm rates must be at least 0 and below 1, not {list(rates)}")
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
    matched = np.zeros(len(labels.query_ids), bool)
    matched[MatchFinder(labels).find(0, count=len(matched)).queries] = True
    removed = _drawn(np.unique(labels.query_ids[matched]), seed=seed)
    unknown = np.isin(labels.query_ids, removed) | ~matched
    queries, candidates = align(asked.descriptors, searched.descriptors, metric=metric)
    mine, theirs = _same_view(labels)
    gone = np.where(np.isin(labels.gallery_ids, removed), 0, -1).astype(np.int32)
    here = np.zeros(len(queries), np.int32)
    nearest = find_nearest(
        Searchable(queries, groups=np.stack([mine, here], axis=1)),
        Searchable(candidates, groups=np.stack([theirs, gone], axis=1)),
        k=1,
        metric=metric,
        blocks=blocks or Blocks(),
    )
    first, distances = nearest.indices[:, 0], nearest.distances[:, 0]
    right = (first >= 0) & (labels.gallery_ids[first] == labels.query_ids)
    alarms = np.sort(distances[unknown])
    points = tuple(
        _point(alarms, distances[~unknown], right[~unknown], rate=rate) for rate in rates
    )
    return OpenSet(
        points=points,
        known_queries=int((~unknown).sum()),
        unknown_queries=int(unknown.sum()),
        metric=metric,
    )


def _point(
    alarms: NDArray[np.floating],
    distances: NDArray[np.floating],
    right: NDArray[np.bool_],
    *,
    rate: float,
) -> OpenSetPoint:
    # The first alarm that is one too many; everything strictly nearer is within the rate.
    threshold = min(alarms[int(rate * len(alarms))], np.finfo(np.float32).max)
    return OpenSetPoint(
        allowed_rate=rate,
        threshold=float(threshold),
        found=float(np.mean(right & (distances < threshold))),
        false_alarms=float(np.mean(alarms < threshold)),
    )


def _same_view(labels: Labels) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Numbers [Nq] and [Ng], equal for images of one person and one camera, which do not count."""
    query = np.stack([labels.query_ids, labels.query_cameras], axis=1)
    gallery = np.stack([labels.gallery_ids, labels.gallery_cameras], axis=1)
    places = np.unique(np.concatenate([query, gallery]), axis=0, return_inverse=True)[1]
    numbers = places.reshape(-1).astype(np.int32)
    return numbers[: len(query)], numbers[len(query) :]


def _drawn(people: NDArray[np.integer], *, seed: int) -> NDArray[np.integer]:
    """The half of the people who are taken out."""
    if len(people) < 2:
        raise UserError(
            "open-set evaluation needs two people or more who are in query and gallery, one to "
            "take out and one to find"
        )
    return np.random.default_rng(seed).permutation(people)[: len(people) // 2]
