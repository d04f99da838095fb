"""True positive rates and thresholds against all pairs, collected and sorted."""

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from input_pipeline.errors import UserError
from magnifier_jax import retrieval

RATES = (0.3, 1e-2, 1e-3, 0.0)


def plain(case, *, rate, camera_filter):
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = case
    distances = np.linalg.norm(
        query[:, None].astype(np.float64) - gallery[None].astype(np.float64), axis=2
    )
    same = query_ids[:, None] == gallery_ids[None]
    counted = same
    if camera_filter:
        counted = same & (query_cameras[:, None] != gallery_cameras[None])
    different = np.sort(distances[~same])
    threshold = different[int(rate * len(different))]
    return threshold, np.mean(distances[counted] < threshold), np.mean(different < threshold)


@settings(max_examples=15, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(2, 30),
    gallery=st.integers(20, 150),
    camera_filter=st.booleans(),
    devices=st.sampled_from([1, 8]),
)
def test_agrees_with_all_pairs(seed, queries, gallery, camera_filter, devices):
    generator = np.random.default_rng(seed)
    # Distances between points on a grid have exact squares, so that ties are true ties.
    values = generator.integers(-2, 3, (queries + gallery, 5)).astype(np.float32)
    ids = generator.integers(0, 4, queries + gallery)
    cameras = generator.integers(0, 3, queries + gallery)
    parts = [part for both in (values, ids, cameras) for part in (both[:queries], both[queries:])]
    result = retrieval.verify(
        *parts,
        rates=RATES,
        camera_filter=camera_filter,
        blocks=retrieval.Blocks(row_bytes=1, gallery_rows=64, devices=jax.devices()[:devices]),
    )
    assert [point.allowed_rate for point in result.points] == list(RATES)
    for point in result.points:
        wanted = plain(parts, rate=point.allowed_rate, camera_filter=camera_filter)
        assert point.threshold == pytest.approx(wanted[0], rel=1e-6)
        assert point.true_positive_rate == pytest.approx(wanted[1])
        assert point.false_positive_rate == pytest.approx(wanted[2])
        assert point.false_positive_rate <= point.allowed_rate


def test_cosine_threshold_is_one_minus_cosine():
    query = np.array([[2.0, 0.0]])
    gallery = np.array([[3.0, 3.0], [5.0, 0.1], [0.0, 1.0]])
    result = retrieval.verify(
        query,
        gallery,
        np.array([0]),
        np.array([1, 0, 2]),
        rates=(0.0, 0.5),
        camera_filter=False,
        metric="cosine",
    )
    assert (result.same_pairs, result.different_pairs) == (1, 2)
    assert result.points[0].threshold == pytest.approx(1 - np.sqrt(0.5), abs=1e-6)
    assert result.points[0].true_positive_rate == 1
    assert result.points[1].threshold == pytest.approx(1, abs=1e-6)
    assert result.points[1].false_positive_rate == 0.5


def test_pairs_of_both_kinds_are_needed():
    values, ids = np.eye(3), np.arange(3)
    with pytest.raises(UserError, match="same person"):
        retrieval.verify(values, values, ids * 0, ids * 0, camera_filter=False)
    with pytest.raises(UserError, match="no query has a match"):
        retrieval.verify(values, values, ids, ids + 3, camera_filter=False)
    with pytest.raises(UserError, match="false positive rates"):
        retrieval.verify(values, values, ids, ids, camera_filter=False, rates=(1.0,))


def test_pairs_at_the_threshold_are_not_called_the_same():
    # One query; of two people, pairs at distances 1, 1, 1, 2; of one, at 0, 1 and 2.
    gallery = np.array([[1.0], [-1.0], [1.0], [2.0], [0.0], [1.0], [-2.0]])
    result = retrieval.verify(
        np.zeros((1, 1)),
        gallery,
        np.array([0]),
        np.array([1, 2, 3, 4, 0, 0, 0]),
        rates=(0.0, 0.5, 0.75, 0.76),
        camera_filter=False,
    )
    assert [point.threshold for point in result.points] == [1, 1, 2, 2]
    found = [(point.true_positive_rate, point.false_positive_rate) for point in result.points]
    np.testing.assert_allclose(found, [(1 / 3, 0), (1 / 3, 0), (2 / 3, 0.75), (2 / 3, 0.75)])


def test_bad_detections_are_in_no_pair():
    values, ids = np.random.default_rng(0).standard_normal((30, 4)), np.arange(30) % 5
    ids[[3, 4, 17]] = -1
    kept = ids != -1
    result = retrieval.verify(values[:10], values, ids[:10], ids, camera_filter=False)
    without = retrieval.verify(
        values[:10][kept[:10]], values[kept], ids[:10][kept[:10]], ids[kept], camera_filter=False
    )
    assert result == without
    everything = retrieval.verify(
        values[:10], values, ids[:10], ids, camera_filter=False, ignored_identity=None
    )
    assert everything.different_pairs > result.different_pairs


def test_rates_as_an_array():
    case = [[1.0], [2.0]], [[1.5], [3.0]], [0, 1], [0, 1]
    found = retrieval.verify(*case, rates=np.array([0.0, 0.5]), camera_filter=False)
    assert [point.allowed_rate for point in found.points] == [0, 0.5]
