"""The benchmark of refinement, on vectors in the plane whose rankings can be seen."""

import numpy as np
import pytest

from benchmarks.refinement import average_precision, gain


def at(*degrees: float) -> np.ndarray:
    """Unit vectors at these angles."""
    angles = np.radians(degrees)
    return np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)


def test_average_precision():
    # At places 2 and 4: (1/2 + 2/4) / 2.
    assert average_precision(np.array([False, True, False, True])) == pytest.approx(0.5)


def test_marks_turn_the_query_toward_the_right_images():
    # The query is at 0, the person's images at 10 and 30, another person's at -20 and 12.
    gallery = at(10, 30, -20, 12)
    same = np.array([[True, True, False, False]])
    nothing = np.zeros_like(same)
    # One mark: the image at 10, right. What is left is 12, -20, 30: the right one is third. The
    # query turns to about 4 degrees, from where it still is third (26 degrees) of 8, 24 and 26.
    found = gain(at(0), gallery, same, nothing, marked=1)
    assert (found.queries, found.right) == (1, 1)
    assert (found.before, found.after) == pytest.approx((1 / 3, 1 / 3))
    # Two marks: 10 right, 12 wrong. Of -20 and 30 the first is nearer before. The query turns to
    # 1 + 0.75 at 10 degrees - 0.15 at 12 degrees, which is about 3.5 degrees: -20 stays nearer.
    found = gain(at(0), gallery, same, nothing, marked=2)
    assert (found.right, found.before, found.after) == pytest.approx((1, 1 / 2, 1 / 2))
    # With the other person's image at -24, 30 is nearer from beyond 3 degrees.
    found = gain(at(0), at(10, 30, -24, 12), same, nothing, marked=2)
    assert (found.before, found.after) == pytest.approx((1 / 2, 1))
    assert (found.better, found.worse) == (1, 0)


def test_queries_without_a_right_image_left_do_not_count():
    same = np.array([[True, False, False], [True, True, False]])
    hidden = np.zeros_like(same)
    found = gain(at(0, 0), at(5, 40, 10), same, hidden, marked=1)
    assert found.queries == 1
