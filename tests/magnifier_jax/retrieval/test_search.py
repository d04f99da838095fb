"""The search for the nearest rows, block by block."""

import jax
import numpy as np
import pytest

from magnifier_jax import retrieval
from magnifier_jax.gallery import Gallery


def arrange(rows, query, *, order):
    """`rows` such that the nearest come first or last, one by one or in a single block."""
    distances = ((query[:1] - rows) ** 2).sum(axis=1)
    ascending = np.argsort(distances, kind="stable")
    if order == "nearest first":
        return rows[ascending]
    if order == "nearest last":
        return rows[ascending[::-1]]
    if order == "a few now and then":
        return rows[np.argsort(np.argsort(ascending) % 97, kind="stable")]
    return rows


@pytest.mark.parametrize(
    "order", ["nearest first", "nearest last", "a few now and then", "as drawn"]
)
@pytest.mark.parametrize(("top", "devices"), [(1, 8), (8, 1), (9, 8), (33, 1), (70, 8)])
def test_neighbors_are_exact_wherever_they_lie(order, top, devices):
    generator = np.random.default_rng(top)
    values = generator.integers(-2, 3, (900, 5)).astype(np.float32)  # With hundreds of ties.
    query = values[:17]
    rows = arrange(values[17:], query, order=order)
    gallery = Gallery.build(rows, names=[str(row) for row in range(len(rows))])
    blocks = retrieval.Blocks(gallery_rows=64, devices=jax.devices()[:devices])
    found = gallery.searcher(blocks=blocks).search(query, top=top)

    squared = ((query[:, None] - rows[None]) ** 2).sum(axis=2)
    expected = np.argsort(squared, axis=1, kind="stable")[:, :top]
    np.testing.assert_array_equal(found.indices, expected)
    nearest = np.sqrt(np.take_along_axis(squared, expected, axis=1))
    np.testing.assert_allclose(found.distances, nearest, atol=1e-6)


def test_a_search_works_on_more_rows_at_a_time_if_they_are_short():
    by_default = retrieval.Blocks()
    assert by_default.rows_searched(4 * 512) == 8192
    assert by_default.rows_searched(4 * 4096) == 1024
    assert by_default.rows_searched(8 * 10**6) == 1024
    assert by_default.rows_held() == 1024
    chosen = retrieval.Blocks(gallery_rows=100)
    assert chosen.rows_searched(4 * 512) == chosen.rows_held() == 128
