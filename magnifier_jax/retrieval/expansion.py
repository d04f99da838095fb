"""α-weighted query expansion.

Radenović, Tolias and Chum, "Fine-tuning CNN Image Retrieval with No Human Annotation", 2018: a
query is replaced by a mean of itself and its nearest gallery descriptors, each weighted by its
cosine similarity to the power α.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import Vectors, check_descriptors, unit_rows
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.search import Searchable, find_nearest
from magnifier_jax.retrieval.spacing import align

_NEAR_BYTES = 2**26


@dataclasses.dataclass(frozen=True)
class QueryExpansion:
    """Settings of query expansion.

    Attributes:
      neighbours: Gallery descriptors that are averaged with the query.
      alpha: Power of the similarity; 0 weighs all neighbors alike.
    """

    neighbours: int = 5
    alpha: float = 3.0

    def __post_init__(self) -> None:
        if self.neighbours < 1:
            raise UserError(f"neighbours must be at least 1, not {self.neighbours}")
        if not 0 <= self.alpha < np.inf:
            raise UserError(f"alpha must be at least 0 and finite, not {self.alpha}")


def expand_queries(
    query: Vectors,
    gallery: Vectors,
    *,
    settings: QueryExpansion | None = None,
    blocks: Blocks | None = None,
) -> NDArray[np.floating]:
    """Queries averaged with their nearest gallery descriptors.

    Args:
      query: Descriptors [Nq, D].
      gallery: Descriptors [Ng, D]; no identities or cameras are looked at.
      settings: Number of neighbors and α.
      blocks: How much is worked on at a time, and on which devices.

    Returns:
      Unit vectors [Nq, D], which are to be compared with unit vectors or by cosine: float32, or
      float64 where float32 would not tell the descriptors apart.

    Raises:
      UserError: for descriptors that cannot be compared.
    """
    settings, blocks = settings or QueryExpansion(), blocks or Blocks()
    queries = check_descriptors(query, name="query")
    candidates = check_descriptors(gallery, name="gallery")
    queries, candidates = align(queries, candidates, metric="cosine")
    nearest = find_nearest(
        Searchable(queries),
        Searchable(candidates),
        k=min(settings.neighbours, len(candidates)),
        metric="cosine",
        blocks=blocks,
    )
    weights = np.maximum(1 - nearest.distances, 0) ** settings.alpha
    expanded = np.empty((len(queries), queries.width), queries.dtype)
    step = max(1, _NEAR_BYTES // (8 * nearest.indices.shape[1] * queries.width))
    for start in range(0, len(queries), step):
        rows = np.arange(start, min(start + step, len(queries)))
        near = unit_rows(candidates.take(nearest.indices[rows].reshape(-1)))
        near = near.reshape(len(rows), -1, queries.width)
        mixed = unit_rows(queries.take(rows))
        mixed += np.einsum("qk,qkd->qd", weights[rows], near)
        expanded[rows] = unit_rows(mixed)
    return expanded
