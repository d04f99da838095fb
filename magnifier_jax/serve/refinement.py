"""A query moved toward what a person marked right, and away from what they marked wrong.

Relevance feedback of J. J. Rocchio, "Relevance feedback in information retrieval", in The SMART
Retrieval System, 1971: q′ = α q + β · mean of the right − γ · mean of the wrong. The weights are
those that Manning, Raghavan and Schütze, Introduction to Information Retrieval, 2008, section
9.1.1, call reasonable: α = 1, β = 0.75, γ = 0.15. The result is brought back to unit length, since
distances compare vectors of unit length.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from magnifier_jax.serve.catalog.catalog import Vectors

QUERY, RIGHT, WRONG = 1.0, 0.75, 0.15
"""α, β and γ."""


def refine(query: Vectors, *, right: Vectors | None, wrong: Vectors | None) -> Vectors:
    """The query with a person's marks taken into account.

    Parts are refined one by one, by the images that show them; a part that the query hides and a
    right image shows becomes visible.

    Args:
        query: Of one image, `[1, …]`.
        right: Images marked right, or None.
        wrong: Images marked wrong, or None.

    Returns:
        Of one image, `[1, …]`, of unit length.
    """
    if right is None and wrong is None:
        return query
    descriptor = _moved(
        query.descriptors,
        None if right is None else right.descriptors,
        None if wrong is None else wrong.descriptors,
    )
    if query.parts is None or query.visible is None:
        return Vectors(descriptor[None])
    visible = query.visible[0].copy()
    if right is not None and right.visible is not None:
        visible |= right.visible.any(axis=0)
    parts = np.zeros_like(query.parts[0])
    for part in np.flatnonzero(visible).tolist():
        parts[part] = _moved(_showing(query, part), _showing(right, part), _showing(wrong, part))
    return Vectors(descriptor[None], parts[None], visible[None])


def _showing(vectors: Vectors | None, part: int) -> NDArray[np.floating] | None:
    """Embeddings of a part in the images that show it, `[n, E]`; None if there are none."""
    if vectors is None or vectors.parts is None or vectors.visible is None:
        return None
    rows = vectors.parts[vectors.visible[:, part], part]
    return rows if len(rows) else None


def _moved(
    query: NDArray[np.floating] | None,
    right: NDArray[np.floating] | None,
    wrong: NDArray[np.floating] | None,
) -> NDArray[np.float32]:
    terms = [
        weight * rows.mean(axis=0, dtype=np.float64)
        for weight, rows in ((QUERY, query), (RIGHT, right), (-WRONG, wrong))
        if rows is not None
    ]
    total = np.sum(terms, axis=0)
    return np.asarray(total / max(float(np.linalg.norm(total)), 1e-12), np.float32)
