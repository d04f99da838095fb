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
from magnifier_jax.retrieval.descriptors import check_descriptors, check_pair
from magnifier_jax.retrieval.distances import Blocks, inverse_norms
from magnifier_jax.retrieval.labels import Array
from magnifier_jax.retrieval.search import Searchable, find_nearest

_QUERIES_AT_ONCE = 256


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
        if self.alpha < 0:
            raise UserError(f"alpha must be at least 0, not {self.alpha}")


def expand_queries(
    query: Array,
    gallery: Array,
    *,
    settings: QueryExpansion | None = None,
    blocks: Blocks | None = None,
) -> NDArray[np.float32]:
    """Queries averaged with their nearest gallery descriptors.

    Args:
      query: Descriptors [Nq, D].
      gallery: Descriptors [Ng, D]; no identities or cameras are looked at.
      settings: Number of neighbors and α.
      blocks: How much is worked on at a time, and on which devices.

    Returns:
      Unit vectors [Nq, D], which are to be compared with unit vectors or by cosine.

    Raises:
      UserError: for descriptors that cannot be compared.
    """
    settings, blocks = settings or QueryExpansion(), blocks or Blocks()
    queries = check_descriptors(query, name="query")
    candidates = check_descriptors(gallery, name="gallery")
    check_pair(queries, candidates)
    nearest = find_nearest(
        Searchable(queries),
        Searchable(candidates),
        k=min(settings.neighbours, len(candidates)),
        metric="cosine",
        blocks=blocks,
    )
    weights = np.maximum(1 - nearest.distances, 0) ** np.float32(settings.alpha)
    weights *= inverse_norms(candidates.squared_norms)[nearest.indices]
    own = inverse_norms(queries.squared_norms)
    expanded = np.empty((len(queries), queries.width), np.float32)
    for start in range(0, len(queries), _QUERIES_AT_ONCE):
        rows = np.arange(start, min(start + _QUERIES_AT_ONCE, len(queries)))
        near = candidates.take(nearest.indices[rows].reshape(-1))
        near = near.reshape(len(rows), -1, queries.width)
        mixed = queries.take(rows) * own[rows, None]
        mixed += np.einsum("qk,qkd->qd", weights[rows], near)
        expanded[rows] = mixed * inverse_norms(np.einsum("qd,qd->q", mixed, mixed))[:, None]
    return expanded
