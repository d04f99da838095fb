"""Identities and cameras of two sets of pictures, and who matches whom."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from magnifier_jax.errors import UserError
from magnifier_jax.retrieval.descriptors import Descriptors

Array = ArrayLike | jax.Array


@dataclasses.dataclass(frozen=True)
class Labels:
    """Who is on each picture and which camera took it, as small numbers shared by both sets.

    Attributes:
      query_ids: int32 [Nq].
      gallery_ids: int32 [Ng].
      query_cameras: int32 [Nq]; with the camera filter off a number that no gallery picture has.
      gallery_cameras: int32 [Ng].
    """

    query_ids: NDArray[np.int32]
    gallery_ids: NDArray[np.int32]
    query_cameras: NDArray[np.int32]
    gallery_cameras: NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Matches:
    """Gallery pictures of the same identity that the camera filter leaves, query by query.

    Attributes:
      queries: int64 [M], counted from the first query asked for, ascending.
      gallery: int64 [M], ascending for each query.
    """

    queries: NDArray[np.int64]
    gallery: NDArray[np.int64]


class MatchFinder:
    """Finds the true matches of queries in memory proportional to their number."""

    def __init__(self, labels: Labels) -> None:
        self._labels = labels
        self._order = np.argsort(labels.gallery_ids, kind="stable")
        self._sorted = labels.gallery_ids[self._order]

    def find(self, start: int, *, count: int) -> Matches:
        """The matches of the queries `start : start + count`."""
        labels = self._labels
        ids = labels.query_ids[start : start + count]
        first = np.searchsorted(self._sorted, ids, side="left")
        counts = np.searchsorted(self._sorted, ids, side="right") - first
        queries = np.repeat(np.arange(len(ids)), counts)
        within = np.arange(len(queries)) - np.repeat(np.cumsum(counts) - counts, counts)
        gallery = self._order[np.repeat(first, counts) + within]
        cameras = labels.query_cameras[start : start + count][queries]
        other_camera = cameras != labels.gallery_cameras[gallery]
        return Matches(queries=queries[other_camera], gallery=gallery[other_camera])


def check_labels(values: Array, *, descriptors: Descriptors, what: str) -> NDArray[np.generic]:
    """Labels `[N]` that go with the descriptors, one for each row."""
    labels = np.asarray(values)
    if labels.shape != (len(descriptors),):
        raise UserError(
            f"{descriptors.name} {what} must have shape [{len(descriptors)}], one for each "
            f"descriptor, not {list(labels.shape)}"
        )
    return labels


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
            "turn it off (camera_filter=False, or --no-camera-filter)"
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
