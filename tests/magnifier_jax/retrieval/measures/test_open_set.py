"""Open-set identification against counting by hand and by brute force."""

import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax import retrieval


def brute_force(query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras, *, rate):
    """Rates by sorting every query's distances; the people to take out as documented."""
    matched = [
        any((gallery_ids == who) & (gallery_cameras != view))
        for who, view in zip(query_ids, query_cameras, strict=True)
    ]
    people = np.unique(query_ids[matched])
    removed = np.random.default_rng(0).permutation(people)[: len(people) // 2]
    alarms, known = [], []
    for row, (who, view) in enumerate(zip(query_ids, query_cameras, strict=True)):
        left = ~np.isin(gallery_ids, removed)
        left &= ~((gallery_ids == who) & (gallery_cameras == view))
        distances = np.linalg.norm(gallery[left] - query[row], axis=1)
        if who in removed or not matched[row]:
            alarms.append(distances.min())
        else:
            known.append((distances.min(), gallery_ids[left][distances.argmin()] == who))
    alarms = np.sort(alarms)
    threshold = alarms[int(rate * len(alarms))]
    found = np.mean([near < threshold and right for near, right in known])
    return threshold, found, np.mean(alarms < threshold), len(known), len(alarms)


@pytest.mark.parametrize("metric", ["euclidean", "cosine"])
def test_rates_are_those_of_brute_force(metric):
    generator = np.random.default_rng(3)
    centers = generator.standard_normal((12, 6))
    query_ids, gallery_ids = generator.integers(0, 12, 90), generator.integers(0, 14, 200) % 12
    query_cameras, gallery_cameras = generator.integers(0, 3, 90), generator.integers(0, 3, 200)
    query = centers[query_ids] + 0.7 * generator.standard_normal((90, 6))
    gallery = centers[gallery_ids] + 0.7 * generator.standard_normal((200, 6))
    if metric == "cosine":  # ‖a − b‖² = 2 (1 − cos) of unit vectors
        query /= np.linalg.norm(query, axis=1, keepdims=True)
        gallery /= np.linalg.norm(gallery, axis=1, keepdims=True)
    data = (query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras)
    result = retrieval.evaluate_open_set(*data, rates=(0.0, 0.1, 0.5), metric=metric)
    assert len(result.points) == 3
    for point in result.points:
        expected = brute_force(*data, rate=point.allowed_rate)
        threshold = expected[0] if metric == "euclidean" else expected[0] ** 2 / 2
        assert point.threshold == pytest.approx(threshold, rel=1e-5)
        assert (point.found, point.false_alarms) == pytest.approx(expected[1:3])
        assert (result.known_queries, result.unknown_queries) == expected[3:]
    assert 0 < result.points[1].found < result.points[2].found


def test_strangers_need_two_people():
    one = np.eye(3, dtype=np.float32)
    with pytest.raises(UserError, match="two people or more"):
        retrieval.evaluate_open_set(one, one, [5] * 3, [5] * 3, camera_filter=False)
    with pytest.raises(UserError, match="false alarm rates"):
        retrieval.evaluate_open_set(one, one, [1, 2, 3], [1, 2, 3], camera_filter=False, rates=[1])


def test_a_query_in_the_gallery_twice_seen_is_found_at_any_rate():
    """Two people, each seen once more at 0.1; strangers are 5 away."""
    query = np.array([[0.0, 0], [5, 0]])
    result = retrieval.evaluate_open_set(
        query, query + np.array([0.1, 0]), [1, 2], [1, 2], camera_filter=False, rates=(0.0,)
    )
    (point,) = result.points
    assert (point.found, point.false_alarms) == (1.0, 0.0)
    assert point.threshold == pytest.approx(4.9, abs=0.21)  # 4.9 or 5.1, by who was taken out
