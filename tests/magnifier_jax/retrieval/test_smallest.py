"""Exact selection of the smallest numbers, ties included."""

import numpy as np
import pytest

from magnifier_jax.retrieval.smallest import smallest


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
