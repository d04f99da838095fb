"""What a search of a gallery found, and what the gallery knows of its rows."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray


@dataclasses.dataclass(frozen=True)
class SearchResult:
    """What a search found, nearest first; ties in gallery order.

    A query can have fewer than k matches, where images were excluded or are too far: behind its
    last match indices are -1, distances infinite and names empty.

    Attributes:
      indices: int32 [Nq, k], rows of the gallery.
      distances: float32 [Nq, k].
      names: str [Nq, k].
      identities: [Nq, k], of the gallery's type; None if the gallery has none.
      cameras: [Nq, k], -1 (or empty text) where one is not known; None if the gallery has none.
      counts: int64 [Nq], the number of matches of each query; 0 is nobody.
      columns: [Nq, k] each, what else the gallery knows of the matches, such as `time`, `tracklet`
        and `path`; objects, None where it is not known.
    """

    indices: NDArray[np.int32]
    distances: NDArray[np.float32]
    names: NDArray[np.str_]
    identities: NDArray[Any] | None = None
    cameras: NDArray[Any] | None = None
    counts: NDArray[np.int64] = dataclasses.field(default_factory=lambda: np.zeros(0, np.int64))
    columns: Mapping[str, NDArray[np.object_]] = dataclasses.field(default_factory=dict)

    @property
    def nobody(self) -> NDArray[np.bool_]:
        """Whether a query has no match at all [Nq]."""
        return self.counts == 0


@dataclasses.dataclass(frozen=True)
class Rows:
    """What a gallery knows of some of its rows, each [n].

    Attributes:
      names: str.
      identities: Numbers or text; None if the gallery has none.
      cameras: Numbers or text; None if the gallery has none.
      columns: All else, as objects.
    """

    names: NDArray[np.str_]
    identities: NDArray[Any] | None
    cameras: NDArray[Any] | None
    columns: Mapping[str, NDArray[np.object_]] = dataclasses.field(default_factory=dict)


def found_rows(
    indices: NDArray[np.int32],
    distances: NDArray[np.float32],
    kept: NDArray[np.bool_],
    *,
    describe: Callable[[NDArray[np.int64]], Rows],
) -> SearchResult:
    """What is known of the matches [Nq, k] that are kept; nothing stands for the others."""
    rows, places = np.unique(indices[kept].astype(np.int64), return_inverse=True)
    known = describe(rows)

    def spread(values: NDArray[Any], missing: Any) -> NDArray[Any]:
        filled = np.full(indices.shape, missing, values.dtype)
        filled[kept] = values[places]
        return filled

    def labels(values: NDArray[Any] | None) -> NDArray[Any] | None:
        if values is None:
            return None
        return spread(values, "" if values.dtype.kind == "U" else -1)

    return SearchResult(
        indices=np.where(kept, indices, -1).astype(np.int32),
        distances=np.where(kept, distances, np.inf).astype(np.float32),
        names=spread(known.names, ""),
        identities=labels(known.identities),
        cameras=labels(known.cameras),
        counts=kept.sum(axis=1),
        columns={name: spread(values, None) for name, values in known.columns.items()},
    )


def nothing_found(*, queries: int) -> SearchResult:
    """What is found where nothing is searched, for each of the queries."""
    return SearchResult(
        indices=np.empty((queries, 0), np.int32),
        distances=np.empty((queries, 0), np.float32),
        names=np.empty((queries, 0), np.str_),
        counts=np.zeros(queries, np.int64),
    )
