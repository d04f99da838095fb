"""The old CUHK03 protocol."""

import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax import retrieval


def draw(seed):
    generator = np.random.default_rng(seed)
    query_ids, gallery_ids = generator.integers(0, 9, 30), generator.integers(0, 11, 120)
    centers = generator.standard_normal((11, 8))
    query, gallery = (
        centers[ids] + 1.5 * generator.standard_normal((len(ids), 8))
        for ids in (query_ids, gallery_ids)
    )
    cameras = generator.integers(0, 2, 30), generator.integers(0, 2, 120)
    return query, gallery, query_ids, gallery_ids, *cameras


def drawn_by_hand(case, *, repetitions, seed):
    """Mean of rank-1 and of 1 / rank over galleries of one random image an identity."""
    query, gallery, query_ids, gallery_ids, query_cameras, gallery_cameras = case
    generator = np.random.default_rng(seed)
    first, inverse = [], []
    for _ in range(repetitions):
        for row in range(len(query)):
            junk = (gallery_ids == query_ids[row]) & (gallery_cameras == query_cameras[row])
            chosen = [
                generator.choice(np.flatnonzero((gallery_ids == identity) & ~junk))
                for identity in range(11)
            ]
            nearest = np.argsort(((gallery[chosen] - query[row]) ** 2).sum(1))
            rank = 1 + int(np.flatnonzero(nearest == query_ids[row])[0])
            first.append(rank == 1)
            inverse.append(1 / rank)
    return np.mean(first), np.mean(inverse)


def test_agrees_with_drawing_by_hand():
    case = draw(0)
    result = retrieval.evaluate(*case, single_shot=retrieval.SingleShot(repetitions=400))
    rank_one, inverse = drawn_by_hand(case, repetitions=60, seed=5)
    assert result.cmc[0] == pytest.approx(rank_one, abs=0.03)
    assert result.mAP == pytest.approx(inverse, abs=0.03)
    assert result.cmc[10] == 1
    assert (result.queries, result.valid_queries, result.gallery) == (30, 30, 120)
    assert result.average_precisions.shape == (30,)
    assert np.nanmean(result.average_precisions) == pytest.approx(result.mAP)


def test_only_the_seed_decides_the_draws():
    case = draw(1)
    results = [
        retrieval.evaluate(*case, single_shot=retrieval.SingleShot(repetitions=3, seed=seed))
        for seed in (1, 1, 2)
    ]
    np.testing.assert_array_equal(results[0].average_precisions, results[1].average_precisions)
    assert (results[0].average_precisions != results[2].average_precisions).any()


def test_one_image_an_identity_is_the_ordinary_protocol():
    query, gallery, query_ids, _, *_ = draw(2)
    labels = query_ids % 9, np.arange(120)
    ordinary = retrieval.evaluate(query, gallery, *labels, camera_filter=False)
    shot = retrieval.evaluate(
        query,
        gallery,
        *labels,
        camera_filter=False,
        single_shot=retrieval.SingleShot(repetitions=2),
        blocks=retrieval.Blocks(row_bytes=1),
    )
    np.testing.assert_allclose(shot.average_precisions, ordinary.average_precisions)
    np.testing.assert_allclose(shot.cmc, ordinary.cmc)


def test_queries_without_a_match_are_not_counted():
    query, gallery, query_ids, gallery_ids, *cameras = draw(3)
    before = retrieval.evaluate(query, gallery, query_ids, gallery_ids, *cameras)
    row = int(np.flatnonzero(np.isfinite(before.average_precisions))[0])
    query_ids[row] = 77
    result = retrieval.evaluate(
        query,
        gallery,
        query_ids,
        gallery_ids,
        *cameras,
        single_shot=retrieval.SingleShot(repetitions=2),
    )
    assert result.valid_queries == before.valid_queries - 1
    assert np.isnan(result.average_precisions[row])


def test_no_repetitions_are_refused():
    with pytest.raises(UserError, match="repetitions"):
        retrieval.SingleShot(repetitions=0)
