"""Exact selection of the smallest numbers, ties included, and of the largest."""

import numpy as np
import pytest

from magnifier_jax.retrieval.extremes import largest, smallest


@pytest.mark.parametrize("width", [64, 640, 4096, 4100])
@pytest.mark.parametrize("values", [3, 50, 10**6])
@pytest.mark.parametrize("k", [1, 21])
def test_agrees_with_a_stable_sort(width, values, k):
    rows = np.random.default_rng(width + values).integers(0, values, (5, width)).astype(np.float32)
    rows[:, -width // 3 :] = np.inf
    order = np.argsort(rows, axis=1, kind="stable")[:, :k]
    found, places = smallest(rows, k)
    np.testing.assert_array_equal(places, order)
    np.testing.assert_array_equal(found, np.take_along_axis(rows, order, axis=1))


@pytest.mark.parametrize("width", [1, 31, 32, 33, 6_728, 6_784])
def test_largest_looks_at_no_padding(width):
    rows = np.random.default_rng(width).standard_normal((5, 6_784)).astype(np.float32)
    rows[:, width:] = np.inf
    np.testing.assert_array_equal(largest(rows, width), rows[:, :width].max(axis=1))
