"""Identities and cameras of two sets of images, and who matches whom.

What a label means, such as which camera is not known, is decided in `input_pipeline.identities`.
"""

from __future__ import annotations

import dataclasses
import numbers
import warnings
from collections.abc import Sequence
from typing import Any

import jax
import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.spelling import near_spelling_notices, one_spelling
from input_pipeline.identities.unknown import JUNK, UNKNOWN_CAMERA, is_junk, is_unknown_camera
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    RetrievalWarning,
    Vectors,
    check_descriptors,
    check_widths,
)

Array = ArrayLike | jax.Array

_PIECES = 16


class SelfMatchWarning(RetrievalWarning):
    """Queries are in the gallery themselves and count as their own match."""


class SpellingWarning(RetrievalWarning):
    """Text labels that count as different are written almost alike, such as `4` and `0004`."""


@dataclasses.dataclass(frozen=True)
class Labels:
    """Who is on each image and which camera took it, as small numbers shared by both sets.

    Attributes:
      query_ids: int32 [Nq].
      gallery_ids: int32 [Ng].
      query_cameras: int32 [Nq]; where it is not known, or with the camera filter off, a number
        that no gallery image has.
      gallery_cameras: int32 [Ng]; where it is not known, a number that no query has.
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
      identities: [N] of numbers or text.
      cameras: [N] of numbers or text, or None if they are not looked at.
      rows: int64 [N], where each stood before.
      ignored: How many images were left out.
    """

    descriptors: Descriptors
    identities: NDArray[Any]
    cameras: NDArray[Any] | None
    rows: NDArray[np.int64]
    ignored: int


def label_both(
    query: Vectors,
    gallery: Vectors,
    query_ids: Array,
    gallery_ids: Array,
    query_cameras: Array | None,
    gallery_cameras: Array | None,
    *,
    camera_filter: bool,
    ignored_identity: int | str | None,
) -> tuple[Labeled, Labeled, Labels]:
    """Checks what `evaluate`, `verify` and `evaluate_open_set` are given.

    Args:
      query: Descriptors [Nq, D].
      gallery: Descriptors [Ng, D].
      query_ids: Identities [Nq].
      gallery_ids: Identities [Ng].
      query_cameras: Cameras [Nq]; not looked at without the camera filter.
      gallery_cameras: Cameras [Ng]; the same.
      camera_filter: Whether same-identity images of the same camera are ignored.
      ignored_identity: Images of it are left out; None for no such identity.

    Returns:
      Queries and gallery without what is ignored, and the numbers of their labels.

    Raises:
      UserError: for descriptors or labels that cannot be compared, or if nothing is left.
    """
    queries = check_descriptors(query, name="query")
    candidates = check_descriptors(gallery, name="gallery")
    check_widths(queries, candidates)
    if not camera_filter:
        query_cameras = gallery_cameras = None
    asked = _label(queries, query_ids, query_cameras, ignored_identity=ignored_identity)
    searched = _label(candidates, gallery_ids, gallery_cameras, ignored_identity=ignored_identity)
    return asked, searched, _make_labels(asked, searched, camera_filter=camera_filter)


def _label(
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
    ignored = _is(ids, ignored_identity)
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


def is_ignored(identities: Array, ignored: int | str | None) -> NDArray[np.bool_]:
    """Which identities are the ignored one, bool [N]; −1 in every spelling."""
    return _is(read_labels(identities, name="identities"), ignored)


def _is(identities: NDArray[Any], ignored: int | str | None) -> NDArray[np.bool_]:
    if ignored is None:
        return np.zeros(identities.shape, bool)
    if identities.dtype.kind == "U":
        text = one_spelling(str(ignored))
        junk = is_junk(ignored)
        names, places = np.unique(identities, return_inverse=True)
        found = [is_junk(name) if junk else name == text for name in names.tolist()]
        return np.array(found, bool)[places]
    if is_junk(ignored):
        ignored = JUNK
    if isinstance(ignored, str):
        raise UserError(
            f"the ignored identity is text, {ignored!r}, and the identities are numbers"
        )
    return np.asarray(identities == ignored, bool)


def _make_labels(query: Labeled, gallery: Labeled, *, camera_filter: bool) -> Labels:
    """Numbers the identities and cameras of both sets.

    Raises:
      UserError: if labels of the two sets are of different kinds, or cameras are needed and not
        there.
    """
    names = (query.descriptors.name, gallery.descriptors.name)
    query_ids, gallery_ids = _number(
        query.identities, gallery.identities, names=[f"{name} identities" for name in names]
    )
    _warn_of_spellings(query.identities, gallery.identities, kind="identities")
    query_cameras = np.full(len(query.rows), -2, np.int32)
    gallery_cameras = np.full(len(gallery.rows), -1, np.int32)
    if camera_filter:
        if query.cameras is None or gallery.cameras is None:
            raise UserError(
                "the camera filter needs the cameras of the query and of the gallery; give both, "
                "or turn it off (camera_filter=False, or --no-camera-filter)"
            )
        asked, searched = _known(query.cameras), _known(gallery.cameras)
        _warn_of_spellings(query.cameras[asked], gallery.cameras[searched], kind="cameras")
        if asked.any() and searched.any():
            query_cameras[asked], gallery_cameras[searched] = _number(
                query.cameras[asked],
                gallery.cameras[searched],
                names=[f"{name} cameras" for name in names],
            )
    return Labels(
        query_ids=query_ids,
        gallery_ids=gallery_ids,
        query_cameras=query_cameras,
        gallery_cameras=gallery_cameras,
    )


def _known(cameras: NDArray[Any]) -> NDArray[np.bool_]:
    """Which cameras are known: one that is not equals none, not even another unknown one."""
    values, places = np.unique(cameras, return_inverse=True)
    return ~np.array([is_unknown_camera(value) for value in values.tolist()], bool)[places]


# --- Reading --------------------------------------------------------------------------------------


def read_labels(values: Array, *, name: str, missing: bool = False) -> NDArray[Any]:
    """Labels as they can be compared: numbers, or text in one Unicode spelling.

    Args:
      values: [N], numbers, text or UTF-8 bytes, also as objects.
      name: What they are, for messages.
      missing: Whether None and NaN may stand for one that is not known.

    Returns:
      [N] of integers, float64 or text; Python's numbers where no type of NumPy holds them exactly.

    Raises:
      UserError: if they are anything else, or of different kinds.
    """
    labels = np.asarray(values)
    if isinstance(values, np.ma.MaskedArray) and np.ma.getmaskarray(values).any():
        labels = np.array(values.tolist(), object)
    if labels.dtype.kind == "O":
        labels = _from_objects(labels, name=name, missing=missing)
    if labels.dtype.kind == "S":
        labels = np.char.decode(labels, "utf-8", "surrogateescape")
    if labels.dtype.kind in "UT":
        names, places = np.unique(labels.astype(str), return_inverse=True)
        if not missing and "" in names:
            row = np.flatnonzero(labels == "")[0]
            raise UserError(f"{name} are empty text in row {row}; leave these images out")
        return np.array([one_spelling(text) for text in names.tolist()], str)[places]
    if labels.dtype.kind not in "biufO":
        raise UserError(f"{name} must be numbers or text, not {labels.dtype}")
    if labels.dtype.kind == "f":
        labels = labels.astype(np.float64)
        if missing:
            labels[np.isnan(labels)] = UNKNOWN_CAMERA
        if not np.isfinite(labels).all():
            row = np.flatnonzero(~np.isfinite(labels))[0]
            raise UserError(
                f"{name} hold {labels[row]} in row {row}; use -1 for what is not known, or leave "
                "these images out"
            )
    return labels


def _from_objects(labels: NDArray[Any], *, name: str, missing: bool) -> NDArray[Any]:
    values = [_plain(value) for value in labels.reshape(-1).tolist()]
    if missing:
        values = [None if value != value else value for value in values]  # NaN is not itself.
    absent = [value is None for value in values]
    if any(absent) and not missing:
        raise UserError(f"{name} hold None in row {absent.index(True)}; leave these images out")
    known = [value for value in values if value is not None]
    text = [isinstance(value, str) for value in known]
    odd = [value for value in known if not isinstance(value, str | int | float)]
    if odd or (any(text) and not all(text)):
        found = ", ".join(sorted({type(value).__name__ for value in labels.reshape(-1).tolist()}))
        what = "of a type that cannot be compared" if odd else "of different types"
        raise UserError(f"{name} are {what} ({found}); give all as numbers or all as text")
    values = [("" if any(text) else UNKNOWN_CAMERA) if value is None else value for value in values]
    if any(text):
        return np.array(values, str).reshape(labels.shape)
    if all(isinstance(value, int) and -(2**63) <= value < 2**63 for value in values):
        return np.array(values, np.int64).reshape(labels.shape)
    if all(isinstance(value, float) for value in values):
        return np.array(values, np.float64).reshape(labels.shape)
    exact = np.empty(len(values), object)
    exact[:] = values
    return exact.reshape(labels.shape)


def _plain(value: object) -> object:
    """A number or text as Python's own type, and anything else as it is."""
    if isinstance(value, bytes):
        return value.decode("utf-8", "surrogateescape")
    if isinstance(value, numbers.Integral | np.bool_):
        return int(value)
    if isinstance(value, numbers.Real):
        return float(value)
    return str(value) if isinstance(value, str) else value


def _check(values: Array, *, descriptors: Descriptors, what: str) -> NDArray[Any]:
    """Labels [N] that go with the descriptors, one for each row, and can be compared."""
    name = f"{descriptors.name} {what}"
    shape = np.shape(values)
    if shape != (len(descriptors),):
        raise UserError(
            f"{name} must have shape [{len(descriptors)}], one for each descriptor, "
            f"not {list(shape)}"
        )
    return read_labels(values, name=name, missing=what == "cameras")


def _take(descriptors: Descriptors, rows: NDArray[np.int64]) -> Descriptors:
    breaks = np.flatnonzero(np.diff(rows) > 1) + 1
    array = descriptors.parts[0]
    if len(breaks) < _PIECES:  # As where names are sorted, for -1 comes first.
        parts = [array[run[0] : run[-1] + 1] for run in np.split(rows, breaks)]
    else:
        parts = [array[rows]]
    return dataclasses.replace(
        descriptors, parts=tuple(parts), squared_norms=descriptors.squared_norms[rows]
    )


# --- Numbering ------------------------------------------------------------------------------------


def _number(
    first: NDArray[Any], second: NDArray[Any], *, names: Sequence[str]
) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """The distinct values of both sets as numbers from 0; equal exactly if the values are."""
    kinds = ["text" if values.dtype.kind == "U" else "numbers" for values in (first, second)]
    if kinds[0] != kinds[1]:
        raise UserError(
            f"{names[0]} are {kinds[0]}, such as {first.tolist()[0]!r}, and {names[1]} "
            f"{kinds[1]}, such as {second.tolist()[0]!r}, so that none can be "
            "equal; give both alike"
        )
    if np.result_type(first, second).kind in "biuU" or first.dtype == second.dtype != object:
        _, codes = np.unique(np.concatenate([first, second]), return_inverse=True)
        return codes[: len(first)].astype(np.int32), codes[len(first) :].astype(np.int32)
    # No type of NumPy holds both exactly, as of int64 and uint64; Python compares its numbers so.
    values: dict[object, int] = {}
    found = []
    for array in (first, second):
        unique, places = np.unique(array, return_inverse=True)
        numbered = [values.setdefault(value, len(values)) for value in unique.tolist()]
        found.append(np.array(numbered, np.int32)[places])
    return found[0], found[1]


def _warn_of_spellings(*labels: NDArray[Any], kind: str) -> None:
    """Says so if text that counts as different may well be meant as one."""
    names = {name for each in labels if each.dtype.kind == "U" for name in np.unique(each).tolist()}
    for notice in near_spelling_notices(names, kind=kind):
        warnings.warn(f"{notice}, or give numbers", SpellingWarning, stacklevel=5)
