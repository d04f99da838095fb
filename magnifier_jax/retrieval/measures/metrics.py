"""CMC, mAP and mINP from the ranks of true matches."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError


@dataclasses.dataclass(frozen=True)
class MatchRanks:
    """Ranks of the true matches, best first for each query.

    Attributes:
      queries: int64 [M], query of each match, ascending.
      ranks: int64 [M], 1 for the best place among the query's valid gallery, ascending per query.
    """

    queries: NDArray[np.int64]
    ranks: NDArray[np.int64]


AveragePrecision = Literal["rectangular", "trapezoid"]


@dataclasses.dataclass(frozen=True)
class Evaluation:
    """How well the gallery is ranked.

    Attributes:
      cmc: float64 [max_rank], share of valid queries with a match among the first 1, 2, ….
      mAP: Mean average precision over the valid queries, 0 to 1.
      mINP: Mean inverse negative penalty (Ye et al., "Deep Learning for Person
        Re-identification", 2021): matches divided by the rank of the last one, averaged.
      queries: Number of queries, without ignored ones.
      valid_queries: Queries with at least one match; only they are averaged.
      gallery: Number of gallery images, without ignored ones.
      average_precision: 'rectangular', or 'trapezoid' as in the Market-1501 MATLAB code.
      metric: 'euclidean' or 'cosine'.
      average_precisions: float64, one for each query that was given; NaN where it is ignored or
        has no match.
      ignored_queries: Queries of the ignored identity.
      ignored_gallery: Gallery images of the ignored identity.
      self_matches: Queries that are in the gallery themselves and count as their own match.
    """

    cmc: NDArray[np.float64]
    mAP: float  # noqa: N815
    mINP: float  # noqa: N815
    queries: int
    valid_queries: int
    gallery: int
    average_precision: AveragePrecision
    metric: str
    average_precisions: NDArray[np.float64]
    ignored_queries: int = 0
    ignored_gallery: int = 0
    self_matches: int = 0

    def __repr__(self) -> str:
        """The measures that papers report."""
        ranks = ", ".join(
            f"rank-{k} {self.cmc[k - 1]:.2%}" for k in (1, 5, 10) if k <= len(self.cmc)
        )
        return (
            f"Evaluation(mAP {self.mAP:.2%}, mINP {self.mINP:.2%}, {ranks}, "
            f"{self.valid_queries} of {self.queries} queries, gallery of {self.gallery})"
        )

    def summary(self) -> dict[str, object]:
        """What a report or a JSON file keeps: everything but the per-query numbers."""
        return {
            "mAP": self.mAP,
            "mINP": self.mINP,
            "cmc": [float(value) for value in self.cmc],
            "queries": self.queries,
            "valid_queries": self.valid_queries,
            "gallery": self.gallery,
            "ignored_queries": self.ignored_queries,
            "ignored_gallery": self.ignored_gallery,
            "self_matches": self.self_matches,
            "average_precision": self.average_precision,
            "metric": self.metric,
        }


def ranks_to_show(cmc: Sequence[float] | NDArray[np.float64]) -> tuple[int, ...]:
    """The ranks that a table of results gives, as far as the CMC curve goes."""
    return tuple(rank for rank in (1, 5, 10) if rank <= len(cmc))


NO_VALID_QUERY = (
    "no query has a match in the gallery: no gallery image shows the identity of a query (from "
    "another camera, if the camera filter is on); check the identities or, if one camera took all "
    "images, turn the camera filter off (camera_filter=False, or --no-camera-filter)"
)


def summarize(
    ranks: Sequence[MatchRanks],
    *,
    queries: int,
    gallery: int,
    max_rank: int,
    average_precision: AveragePrecision,
    metric: str,
) -> Evaluation:
    """Measures from the ranks of all matches.

    Args:
      ranks: Blocks of ranks that together hold every match.
      queries: Number of queries, with or without match.
      gallery: Number of gallery images.
      max_rank: Length of the CMC curve.
      average_precision: Which area under the precision–recall curve.
      metric: Name of the distance, to be reported.

    Raises:
      UserError: when no query has a match.
    """
    query_of = np.concatenate([block.queries for block in ranks])
    rank = np.concatenate([block.ranks for block in ranks])
    matches = np.bincount(query_of, minlength=queries)
    valid = np.flatnonzero(matches)
    if not len(valid):
        raise UserError(NO_VALID_QUERY)
    last = np.cumsum(matches)
    first = last - matches
    found = np.arange(len(rank)) - first[query_of] + 1
    precision = found / rank
    if average_precision == "trapezoid":
        # Just before a match the precision is that of the ranks above it, and 1 at the very top.
        above = np.divide(found - 1, rank - 1, out=np.ones_like(precision), where=rank > 1)
        precision = (precision + above) / 2
    elif average_precision != "rectangular":
        raise UserError(
            f"unknown average precision {average_precision!r}; choose 'rectangular' or 'trapezoid'"
        )
    sums = np.bincount(query_of, weights=precision, minlength=queries)
    average_precisions = np.full(queries, np.nan)
    average_precisions[valid] = sums[valid] / matches[valid]
    hits = np.bincount(np.minimum(rank[first[valid]], max_rank + 1), minlength=max_rank + 2)
    return Evaluation(
        cmc=np.cumsum(hits[1 : max_rank + 1]) / len(valid),
        mAP=float(average_precisions[valid].mean()),
        mINP=float((matches[valid] / rank[last[valid] - 1]).mean()),
        queries=queries,
        valid_queries=len(valid),
        gallery=gallery,
        average_precision=average_precision,
        metric=metric,
        average_precisions=average_precisions,
    )
