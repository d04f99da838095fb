"""Distances of pairs: of one person and of two, with thresholds, and camera by camera."""

from __future__ import annotations

import dataclasses

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from magnifier_jax.config import EvaluateConfig
from magnifier_jax.datasets import TestSet
from magnifier_jax.evaluation.robustness.look_alikes import blocks, matching
from magnifier_jax.retrieval import OperatingPoint, verify

_BINS = 60
_QUERIES = 2000
_CAMERAS = 16
_RATES = (1e-2, 1e-3, 1e-4)


@dataclasses.dataclass(frozen=True, eq=False)
class Pairs:
    """What the distances of a test set's pairs are like.

    Attributes:
        metric: `euclidean` or `cosine` (1 − cosine).
        queries: How many queries were looked at: all, or evenly chosen ones of very many.
        edges: Borders of the bins, `[bins + 1]`.
        matches: Share of the pairs of one person in each bin, `[bins]`; sums to 1.
        others: The same of pairs of two people.
        points: Thresholds of verification.
        cameras: Numbers of the cameras, in the order of `by_camera`.
        by_camera: Mean average precision of queries of one camera among the gallery images of
            another, `[query camera, gallery camera]`; NaN where there is no match.
    """

    metric: str
    queries: int
    edges: np.ndarray
    matches: np.ndarray
    others: np.ndarray
    points: tuple[OperatingPoint, ...]
    cameras: tuple[int, ...]
    by_camera: np.ndarray


def study_pairs(
    query: np.ndarray, gallery: np.ndarray, test_set: TestSet, settings: EvaluateConfig
) -> Pairs:
    """Looks at the distances of all pairs, in blocks.

    Args:
        query: Descriptors of unit length, `[Nq, D]`.
        gallery: The same of the gallery, `[Ng, D]`.
        test_set: Whose they are.
        settings: Metric and camera filter.
    """
    asked, searched = test_set.query, test_set.gallery
    chosen = np.unique(np.linspace(0, len(asked) - 1, min(_QUERIES, len(asked))).astype(int))
    known = np.unique(searched.cameras[searched.cameras != UNKNOWN_CAMERA])[:_CAMERAS]
    most = 2.0
    edges = np.linspace(0, most, _BINS + 1)
    counts = np.zeros((2, _BINS))
    sums = np.zeros((2, len(known), len(known)))
    gallery = np.asarray(gallery, np.float32)
    for rows in blocks(len(chosen), len(searched)):
        places = chosen[rows]
        cosines = np.asarray(query[places], np.float32) @ gallery.T
        if settings.distance == "cosine":
            distances = 1 - cosines
        else:
            distances = np.sqrt(np.maximum(2 - 2 * cosines, 0))
        for offset, place in enumerate(places):
            one = slice(int(place), int(place) + 1)
            same, junk = matching(asked, searched, one, camera_filter=settings.camera_filter)
            different = ~(same[0] | junk[0])
            row = distances[offset]
            counts[0] += np.histogram(np.clip(row[same[0]], 0, most), edges)[0]
            counts[1] += np.histogram(np.clip(row[different], 0, most), edges)[0]
            mine = np.flatnonzero(known == asked.cameras[place])
            if not len(mine):
                continue
            for column, camera in enumerate(known):
                seen = (searched.cameras == camera) & ~junk[0]
                if same[0][seen].any():
                    sums[0, mine[0], column] += _precision(row[seen], same[0][seen])
                    sums[1, mine[0], column] += 1
    shares = counts / np.maximum(counts.sum(1, keepdims=True), 1)
    by_camera = np.divide(sums[0], sums[1], out=np.full_like(sums[0], np.nan), where=sums[1] > 0)
    return Pairs(
        metric=settings.distance,
        queries=len(chosen),
        edges=edges,
        matches=shares[0],
        others=shares[1],
        points=_thresholds(query[chosen], gallery, test_set, chosen, settings),
        cameras=tuple(int(camera) for camera in known),
        by_camera=by_camera,
    )


def _thresholds(
    query: np.ndarray,
    gallery: np.ndarray,
    test_set: TestSet,
    chosen: np.ndarray,
    settings: EvaluateConfig,
) -> tuple[OperatingPoint, ...]:
    asked, searched = test_set.query, test_set.gallery
    try:
        return verify(
            query,
            gallery,
            asked.identities[chosen],
            searched.identities,
            asked.cameras[chosen],
            searched.cameras,
            rates=_RATES,
            camera_filter=settings.camera_filter,
            metric=settings.distance,
        ).points
    except UserError:  # One person alone: there is nothing to tell apart.
        return ()


def _precision(distances: np.ndarray, same: np.ndarray) -> float:
    """Average precision (rectangular) of one row."""
    ranks = np.flatnonzero(same[np.argsort(distances, kind="stable")]) + 1
    return float(np.mean(np.arange(1, len(ranks) + 1) / ranks))
