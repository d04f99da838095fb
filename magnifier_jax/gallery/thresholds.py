"""Distances from which images show nobody who was asked for, as a gallery notes them.

A threshold belongs to a false positive rate: the share of pairs of two people that are nearer. It
is a rate per pair, so that a query against a gallery of N strangers meets about N times as many.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import is_junk, is_unknown_camera
from magnifier_jax.retrieval.descriptors import Metric
from magnifier_jax.retrieval.measures.verification import FALSE_POSITIVE_RATES, Verification, verify

_NOTE = "thresholds"
_COMMAND = "`magnifier gallery verify` writes them, for a gallery that knows who is on its images"


def verify_images(
    vectors: Callable[[NDArray[np.int64]], NDArray[np.floating]],
    *,
    identities: NDArray[Any] | None,
    cameras: NDArray[Any] | None,
    most: int,
    rates: Sequence[float] = FALSE_POSITIVE_RATES,
    metric: Metric,
) -> Verification:
    """Verification over all pairs of different images of one set.

    Args:
      vectors: Gives descriptors [n, D], by the numbers of rows [n].
      identities: [N], where they are known; None if none is.
      cameras: [N], or None; pairs of one person and one camera do not count.
      most: Images to look at; of more with a known identity, so many are drawn.
      rates: Allowed false positive rates.
      metric: 'euclidean' or 'cosine'.

    Raises:
      UserError: if no identity is known, or there are no pairs of one person, or none of two.
    """
    labels = [] if identities is None else identities.tolist()
    rows = _chosen(labels, most=most)
    names = np.array([labels[row] for row in rows])
    seen = [None] * len(rows) if cameras is None else cameras[rows].tolist()
    # An image whose camera is not known shares one with itself alone.
    places = np.array(
        [
            f"image {row}" if is_unknown_camera(camera) else f"camera {camera}"
            for row, camera in enumerate(seen)
        ]
    )
    descriptors = vectors(rows)
    return verify(
        descriptors, descriptors, names, names, places, places, rates=rates, metric=metric
    )


def _chosen(labels: Sequence[Any], *, most: int) -> NDArray[np.int64]:
    """Rows of up to `most` images whose identity is known, drawn at random but always the same."""
    known = np.flatnonzero([label is not None and not is_junk(label) for label in labels])
    if not len(known):
        raise UserError("the gallery knows the identity of no image; verification needs them")
    if len(known) > most:
        known = np.sort(np.random.default_rng(0).choice(known, most, replace=False))
    return known.astype(np.int64)


def without_thresholds(notes: Mapping[str, Any]) -> dict[str, Any]:
    """A gallery's notes as they were before any verification."""
    return {name: value for name, value in notes.items() if name != _NOTE}


def with_thresholds(notes: Mapping[str, Any], found: Verification) -> dict[str, Any]:
    """A gallery's notes with the thresholds of a verification, for its metric."""
    points = [
        {
            "allowed_rate": point.allowed_rate,
            "threshold": point.threshold,
            "true_positive_rate": point.true_positive_rate,
            "false_positive_rate": point.false_positive_rate,
        }
        for point in found.points
    ]
    counts = {"same_pairs": found.same_pairs, "different_pairs": found.different_pairs}
    return {**notes, _NOTE: {"metric": found.metric, **counts, "points": points}}


def greatest_distance(
    notes: Mapping[str, Any],
    *,
    metric: Metric,
    max_distance: float | None,
    fpr: float | None,
    parts: bool = False,
) -> float | None:
    """How far a match may be.

    Args:
      notes: Those of the gallery.
      metric: That of the search.
      max_distance: As it was asked for.
      fpr: The false positive rate that was asked for, whose threshold the gallery notes.
      parts: Whether images are compared by parts, for which there are no thresholds.

    Returns:
      The smaller of both; None for any distance.

    Raises:
      UserError: if the gallery notes no threshold for the rate.
    """
    if max_distance is not None and not max_distance >= 0:
        raise UserError(f"the greatest distance must be at least 0, not {max_distance}")
    if fpr is None:
        return max_distance
    if parts:
        raise UserError(
            "thresholds by false positive rate are for whole images; give the greatest distance "
            "of a search by parts itself"
        )
    known = _noted(notes, metric)
    near = [threshold for rate, threshold in known.items() if math.isclose(rate, fpr)]
    if not near:
        there = f"it has {', '.join(f'{rate:g}' for rate in known)}; " if known else ""
        raise UserError(
            f"the gallery notes no threshold for the false positive rate {fpr:g}: {there}{_COMMAND}"
        )
    # Images nearer than the threshold are matches, those at the threshold are not.
    below = float(np.nextafter(np.float32(near[0]), np.float32(-np.inf)))
    return below if max_distance is None else min(below, max_distance)


def _noted(notes: Mapping[str, Any], metric: Metric) -> dict[float, float]:
    """The thresholds by their rates; notes can be anybody's."""
    note = notes.get(_NOTE)
    if not isinstance(note, dict) or note.get("metric") != metric:
        return {}
    found = {}
    points = note.get("points")
    for point in points if isinstance(points, list) else []:
        if isinstance(point, dict):
            rate, threshold = point.get("allowed_rate"), point.get("threshold")
            if isinstance(rate, int | float) and isinstance(threshold, int | float):
                found[float(rate)] = float(threshold)
    return found
