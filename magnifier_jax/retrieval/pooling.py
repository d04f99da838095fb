"""One descriptor for several images of a person: tracklets, and queries of several images.

Averaging the images of a tracklet is the strong baseline of video re-identification (Gao and
Nevatia, "Revisiting Temporal Modeling for Video-based Person ReID", 2018). A crop in which somebody
walks past is in that mean as much as a clear one, unless crops are weighted by what they show.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import is_unknown_tracklet
from magnifier_jax.retrieval.descriptors import (
    Vectors,
    check_descriptors,
    check_parts,
    unit_rows,
)
from magnifier_jax.retrieval.labels import read_labels

Weighting = Literal["visible", "uniform"]
WEIGHTINGS: tuple[Weighting, ...] = ("visible", "uniform")

_BYTES_AT_ONCE = 2**26


@dataclasses.dataclass(frozen=True, eq=False)
class Groups:
    """Which rows belong together, such as the images of a tracklet.

    Attributes:
      members: int64 [N], the group of each row; groups are numbered by their first rows.
      first: int64 [G], the first row of each group.
      sizes: int64 [G], rows of each group.
    """

    members: NDArray[np.int64]
    first: NDArray[np.int64]
    sizes: NDArray[np.int64]

    def __len__(self) -> int:
        """Number of groups, G."""
        return len(self.first)

    @classmethod
    def of(cls, labels: ArrayLike, *, within: Sequence[ArrayLike] = ()) -> Groups:
        """Rows of equal labels.

        A label that is not known, or junk, equals nothing: such a row is a group of its own.

        Args:
          labels: [N], numbers or text, such as tracklets; -1, None, NaN or empty text where one is
            not known.
          within: [N] each: rows whose values here differ are apart too, whatever they mean, as
            tracklets that each person and camera numbers anew are.

        Raises:
          UserError: if they are not as many, or cannot be compared.
        """
        values = read_labels(labels, name="groups", missing=True)
        if values.ndim != 1:
            raise UserError(f"groups must have shape [N], not {list(values.shape)}")
        names, codes = np.unique(values, return_inverse=True)
        unknown = np.array([is_unknown_tracklet(name) for name in names.tolist()], bool)[codes]
        codes[unknown] = len(names) + np.flatnonzero(unknown)
        for column in within:
            others = np.asarray(column)
            if others.shape != values.shape:
                raise UserError(
                    f"groups must be apart by {len(values)} values, not {list(others.shape)}"
                )
            _, more = np.unique(others, return_inverse=True)
            _, codes = np.unique(np.stack([codes, more]), axis=1, return_inverse=True)
        return cls._numbered(codes.reshape(-1))

    @classmethod
    def together(cls, total: int) -> Groups:
        """All rows as one group."""
        return cls._numbered(np.zeros(total, np.int64))

    @classmethod
    def _numbered(cls, codes: NDArray[np.int64]) -> Groups:
        _, first, inverse, sizes = np.unique(
            codes, return_index=True, return_inverse=True, return_counts=True
        )
        order = np.argsort(first, kind="stable")
        place = np.empty(len(order), np.int64)
        place[order] = np.arange(len(order))
        return cls(
            place[inverse.reshape(-1)],
            first[order].astype(np.int64),
            sizes[order].astype(np.int64),
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Pooled:
    """Groups of images as if each were one; goes wherever embeddings go.

    Attributes:
      descriptors: float32 [G, D].
      parts: float32 [G, P, E], or None.
      visible: bool [G, P], whether any image of the group shows the part; with `parts` only.
      groups: Which rows each was made of; `identities[groups.first]` are its identities.
      weights: float64 [N], the share of each row in its group.
    """

    descriptors: NDArray[np.float32]
    parts: NDArray[np.float32] | None
    visible: NDArray[np.bool_] | None
    groups: Groups
    weights: NDArray[np.float64]

    def __len__(self) -> int:
        """Number of groups, G."""
        return len(self.groups)


def pool(
    found: Vectors,
    groups: Groups | ArrayLike,
    *,
    visible: ArrayLike | None = None,
    weights: Weighting | ArrayLike = "visible",
) -> Pooled:
    """Makes one descriptor, and one embedding of each part, of each group of images.

    The descriptor points where the weighted mean of the group's does, and is as long as they are
    in the weighted mean: of unit length if they are. A part's embedding is made in the same way of
    the images that show it. A group of one image is that image, unchanged.

    Args:
      found: Embeddings, or descriptors [N, D]. Their parts are pooled too.
      groups: What `Groups.of` found, or labels for it [N].
      visible: bool [N, P], which parts each image shows; those of the embeddings if not given.
      weights: 'visible' weighs an image by how many parts it shows; 'uniform' weighs all alike; or
        weights [N], not below 0. Without `visible` all weigh alike, and so do the images of a group
        of which none shows any part.

    Returns:
      What stands for each group, in the order of their first images.

    Raises:
      UserError: if the arrays do not go together, or all weights of a group are 0.
    """
    anything: Any = found
    if not isinstance(groups, Groups):
        groups = Groups.of(groups)
    total = len(groups.members)
    checked = check_descriptors(found, name="pooled")
    if len(checked) != total:
        raise UserError(f"there are {len(checked)} descriptors to pool and {total} groups")
    parts = getattr(anything, "parts", None)
    visible = getattr(anything, "visible", None) if visible is None else visible
    seen = None if visible is None else np.asarray(visible).astype(bool)
    if seen is not None and (seen.ndim != 2 or len(seen) != total):
        raise UserError(f"visible parts must have shape [{total}, P], not {list(seen.shape)}")
    shares = _shares(weights, seen, groups)
    descriptors, _ = _means(checked.parts[0], shares, groups)
    if parts is None or seen is None:
        return Pooled(descriptors, None, None, groups, shares)
    embeddings, seen = check_parts(parts, seen, total=total, name="pooled")
    pooled = np.zeros((len(groups), *embeddings.shape[1:]), np.float32)
    shown = np.zeros((len(groups), embeddings.shape[1]), bool)
    for part in range(embeddings.shape[1]):
        pooled[:, part], shown[:, part] = _means(
            embeddings[:, part], np.where(seen[:, part], shares, 0), groups
        )
    return Pooled(descriptors, pooled, shown, groups, shares)


def _shares(
    weights: Weighting | ArrayLike, visible: NDArray[np.bool_] | None, groups: Groups
) -> NDArray[np.float64]:
    """The share of each row in its group [N]; those of a group add up to 1."""
    total = len(groups.members)
    if isinstance(weights, str):
        if weights not in WEIGHTINGS:
            raise UserError(f"unknown weights {weights!r}; choose {' or '.join(WEIGHTINGS)}")
        values = np.ones(total)
        if weights == "visible" and visible is not None:
            values = visible.sum(axis=1).astype(np.float64)
            nothing = np.bincount(groups.members, values, minlength=len(groups)) == 0
            values[nothing[groups.members]] = 1
    else:
        values = np.asarray(weights, np.float64)
        if values.shape != (total,):
            raise UserError(f"weights must have shape [{total}], not {list(values.shape)}")
        if not (np.isfinite(values) & (values >= 0)).all():
            raise UserError("weights must be finite and not below 0")
    sums = np.bincount(groups.members, values, minlength=len(groups))
    if not (sums > 0).all():
        row = int(groups.first[np.flatnonzero(sums == 0)[0]])
        raise UserError(f"all weights of the group of row {row} are 0; leave it out instead")
    shares: NDArray[np.float64] = values / sums[groups.members]
    return shares


def _means(
    rows: NDArray[np.floating], weights: NDArray[np.float64], groups: Groups
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """The means of groups of rows [N, D], and whether anything in a group has weight [G].

    Groups are taken some at a time, so that the memory in use does not grow with their number.
    """
    means = np.zeros((len(groups), rows.shape[1]), np.float32)
    order = np.argsort(groups.members, kind="stable")
    ends = np.cumsum(groups.sizes)
    most = max(1, _BYTES_AT_ONCE // (8 * rows.shape[1]))
    start = 0
    while start < len(groups):
        before = int(ends[start] - groups.sizes[start])
        stop = max(start + 1, int(np.searchsorted(ends, before + most, side="right")))
        taken = order[before : ends[stop - 1]]
        values = np.asarray(rows[taken], np.float64) * weights[taken, None]
        lengths = np.sqrt(np.einsum("nd,nd->n", values, values))
        bounds = ends[start:stop] - groups.sizes[start:stop] - before
        sums = np.add.reduceat(values, bounds)
        scale = np.add.reduceat(weights[taken], bounds)
        longest = np.add.reduceat(lengths, bounds) / np.where(scale > 0, scale, 1)
        means[start:stop] = unit_rows(sums) * longest[:, None]
        start = stop
    alone = groups.first[(groups.sizes == 1) & (weights[groups.first] > 0)]
    means[groups.members[alone]] = rows[alone]
    return means, np.bincount(groups.members, weights, minlength=len(groups)) > 0
