import numpy as np

from magnifier_jax.serve.catalog.catalog import Vectors
from magnifier_jax.serve.refinement import refine


def unit(*numbers):
    vector = np.array(numbers, np.float64)
    return vector / np.linalg.norm(vector)


def test_rocchio_by_hand():
    """1·(1, 0, 0) + 0.75·(0, 1, 0) − 0.15·(0, 0, 1); the right ones average to (0, 1, 0)."""
    query = Vectors(np.array([[1, 0, 0]], np.float32))
    right = Vectors(np.array([[0, 1, 0.5], [0, 1, -0.5]], np.float32))
    wrong = Vectors(np.array([[0, 0, 1]], np.float32))
    found = refine(query, right=right, wrong=wrong)
    np.testing.assert_allclose(found.descriptors[0], unit(1, 0.75, -0.15), rtol=1e-6)
    assert found.parts is None
    only_wrong = refine(query, right=None, wrong=wrong)
    np.testing.assert_allclose(only_wrong.descriptors[0], unit(1, 0, -0.15), rtol=1e-6)


def test_without_marks_the_query_stays_bit_by_bit():
    query = Vectors(np.array([[0.3, 0.1]], np.float32))
    assert refine(query, right=None, wrong=None) is query


def test_each_part_is_refined_by_the_images_that_show_it():
    """Part 1 is seen by the query and one right image, part 2 by that only, part 3 by nobody."""
    x, y, other = [1, 0], [0, 1], [9, 9]
    query = Vectors(
        np.ones((1, 1), np.float32),
        np.array([[other, x, other, other]], np.float32),
        np.array([[False, True, False, False]]),
    )
    right = Vectors(
        np.ones((2, 1), np.float32),
        np.array([[other, y, x, other], [other, other, other, other]], np.float32),
        np.array([[False, True, True, False], [False, False, False, False]]),
    )
    wrong = Vectors(
        np.ones((1, 1), np.float32),
        np.array([[other, other, y, other]], np.float32),
        np.array([[False, False, True, False]]),
    )
    found = refine(query, right=right, wrong=wrong)
    np.testing.assert_array_equal(found.visible, [[False, True, True, False]])
    np.testing.assert_allclose(found.parts[0, 1], unit(1, 0.75), rtol=1e-6)
    np.testing.assert_allclose(found.parts[0, 2], unit(0.75, -0.15), rtol=1e-6)
    np.testing.assert_array_equal(found.parts[0, [0, 3]], 0)
