"""α-weighted query expansion."""

import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax import retrieval


def plain(query, gallery, *, neighbors, alpha):
    query, gallery = (
        values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-30)
        for values in (query.astype(np.float64), gallery.astype(np.float64))
    )
    expanded = []
    for row in query:
        likeness = gallery @ row
        near = np.argsort(-likeness, kind="stable")[:neighbors]
        mixed = row + (np.maximum(likeness[near], 0) ** alpha) @ gallery[near]
        expanded.append(mixed / np.linalg.norm(mixed))
    return np.array(expanded)


@pytest.mark.parametrize(("neighbors", "alpha"), [(1, 0.0), (5, 3.0), (500, 1.0)])
def test_agrees_with_the_formula(neighbors, alpha):
    generator = np.random.default_rng(0)
    query = generator.standard_normal((300, 7)).astype(np.float32)
    gallery = 3 * generator.standard_normal((90, 7)).astype(np.float32)
    result = retrieval.expand_queries(
        query,
        gallery,
        settings=retrieval.QueryExpansion(neighbours=neighbors, alpha=alpha),
        blocks=retrieval.Blocks(gallery_rows=64),
    )
    wanted = plain(query, gallery, neighbors=min(neighbors, 90), alpha=alpha)
    np.testing.assert_allclose(result, wanted, atol=1e-5)


def test_settings_out_of_range_are_refused():
    with pytest.raises(UserError, match="neighbours"):
        retrieval.QueryExpansion(neighbours=0)
    with pytest.raises(UserError, match="alpha"):
        retrieval.QueryExpansion(alpha=-1)
