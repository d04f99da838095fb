"""Identities and cameras of two sets of images, and who matches whom."""

from __future__ import annotations

import dataclasses

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Descriptors

Array = ArrayLike | jax.Array

_KINDS = dict.fromkeys("biuf", "numbers") | {"U": "text", "S": "bytes"}
_PIECES = 16


@dataclasses.dataclass(frozen=True)
class Labels:
    """Who is on each image and which camera took it, as small numbers shared by both sets.

    Attributes:
      query_ids: int32 [Nq].
      gallery_ids: int32 [Ng].
      query_cameras: int32 [Nq]; with the camera filter off a number that no gallery image has.
      gallery_cameras: int32 [Ng].
    """

    query_ids: NDArray[np.int32]
    gallery_ids: NDArray[np.int32]
    query_cameras: NDArray[np.int32]
    gallery_cameras: NDArray[np.int32]


@dataclasses.dataclass(frozen=True)
class Matches:
    """Gallery images of the same identity that the camera filter leaves, query by query.

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


@dataclasses.dataclass(frozen=True)
class Labeled:
    """One set of images without those of the ignored identity.

    Attributes:
      descriptors: Those that are left.
      identities: [N] of numbers, text or bytes.
      cameras: [N] of the same kinds, or None if they are not known.
      rows: int64 [N], where each stood before.
      ignored: How many images were left out.
    """

    descriptors: Descriptors
    identities: NDArray[np.generic]
    cameras: NDArray[np.generic] | None
    rows: NDArray[np.int64]
    ignored: int


def label(
    descriptors: Descriptors,
    identities: Array,
    cameras: Array | None,
    *,
    ignored_identity: int | str | None,
) -> Labeled:
    """Checks what belongs to each descriptor, and leaves out those of the ignored identity.

    Descriptors are copied only if the images that are left lie in many pieces.

    Raises:
      UserError: for labels that do not fit or cannot be compared, or if nothing is left.
    """
    ids = _check(identities, descriptors=descriptors, what="identities")
    views = None
    if cameras is not None:
        views = _check(cameras, descriptors=descriptors, what="cameras")
    ignored = is_ignored(ids, ignored_identity)
    rows = np.flatnonzero(~ignored)
    if not len(rows):
        raise UserError(
            f"all {descriptors.name} images have the ignored identity {ignored_identity}; check "
            "the identities, or keep it (ignored_identity=None, or --keep-junk)"
        )
    if len(rows) < len(ids):
        descriptors = _take(descriptors, rows)
        ids, views = ids[rows], None if views is None else views[rows]
    return Labeled(descriptors, ids, views, rows, int(ignored.sum()))


def is_ignored(identities: NDArray[np.generic], ignored: int | str | None) -> NDArray[np.bool_]:
    """Which identities are the ignored one, bool [N]; text is compared with its text."""
    if ignored is None:
        return np.zeros(identities.shape, bool)
    if identities.dtype.kind == "U":
        return np.asarray(identities == str(ignored))
    if identities.dtype.kind == "S":
        return np.asarray(identities == str(ignored).encode())
    if isinstance(ignored, str):
        return np.zeros(identities.shape, bool)
    return np.asarray(identities == ignored)


def make_labels(query: Labeled, gallery: Labeled, *, camera_filter: bool) -> Labels:
    """Numbers the identities and cameras of both sets."""
    query_ids, gallery_ids = _number(
        query, gallery, values=(query.identities, gallery.identities), what="identities"
    )
    if not camera_filter:
        query_cameras = np.zeros(len(query.rows), np.int32)
        gallery_cameras = np.ones(len(gallery.rows), np.int32)
    elif query.cameras is None or gallery.cameras is None:
        raise UserError(
            "the camera filter needs the cameras of the query and of the gallery; give both, or "
            "turn it off (camera_filter=False, or --no-camera-filter)"
        )
    else:
        query_cameras, gallery_cameras = _number(
            query, gallery, values=(query.cameras, gallery.cameras), what="cameras"
        )
    return Labels(
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )


def _check(values: Array, *, descriptors: Descriptors, what: str) -> NDArray[np.generic]:
    """Labels [N] that go with the descriptors, one for each row, and can be compared."""
    labels = np.asarray(values)
    name = f"{descriptors.name} {what}"
    if labels.shape != (len(descriptors),):
        raise UserError(
            f"{name} must have shape [{len(descriptors)}], one for each descriptor, "
            f"not {list(labels.shape)}"
        )
    if labels.dtype.kind == "O":
        types = {type(value) for value in labels.tolist()}
        if len(types) > 1:
            found = ", ".join(sorted(kind.__name__ for kind in types))
            raise UserError(f"{name} are of different types ({found}); give all as one type")
        labels = np.array(labels.tolist())
    if labels.dtype.kind not in _KINDS or labels.shape != (len(descriptors),):
        raise UserError(f"{name} must be numbers or text, not {labels.dtype}")
    if labels.dtype.kind == "f" and not np.isfinite(labels).all():
        row = np.flatnonzero(~np.isfinite(labels))[0]
        raise UserError(
            f"{name} hold {labels[row]} in row {row}; use the ignored identity -1 for images of "
            "nobody known, or leave them out"
        )
    return labels


def _take(descriptors: Descriptors, rows: NDArray[np.int64]) -> Descriptors:
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    array = descriptors.parts[0]
    if len(breaks) < _PIECES:  # As where names are sorted, for -1 comes first.
        parts = [array[run[0] : run[-1] + 1] for run in np.split(rows, breaks)]
    else:
        parts = [array[rows]]
    return Descriptors(descriptors.name, tuple(parts), descriptors.squared_norms[rows])


def _number(
    query: Labeled,
    gallery: Labeled,
    *,
    values: tuple[NDArray[np.generic], NDArray[np.generic]],
    what: str,
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct values of both sets as numbers from 0."""
    first, second = values
    if _KINDS[first.dtype.kind] != _KINDS[second.dtype.kind]:
        raise UserError(
            f"{query.descriptors.name} {what} are {_KINDS[first.dtype.kind]}, such as "
            f"{first.tolist()[0]!r}, and {gallery.descriptors.name} {what} "
            f"{_KINDS[second.dtype.kind]}, such as {second.tolist()[0]!r}, so that none can be "
            "equal; give both alike"
        )
    _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
    numbers: NDArray[np.int32] = codes.astype(np.int32)
    return numbers[: len(first)], numbers[len(first) :]
