"""k-reciprocal re-ranking against golden distances and the N × N algorithm in float64."""

import tracemalloc
from pathlib import Path

import jax
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import retrieval_reference as plain
from input_pipeline.errors import UserError
from magnifier_jax import retrieval
from magnifier_jax.retrieval.neighbors import reciprocal_sets

GOLDEN = Path(__file__).parents[2] / "golden" / "retrieval_seed0.npz"


def reranked(query, gallery, **options):
    blocks = list(retrieval.rerank(query, gallery, **options))
    starts = np.cumsum([0] + [len(block.values) for block in blocks])[:-1]
    assert [block.start for block in blocks] == starts.tolist()
    return np.concatenate([block.values for block in blocks])


def draw(seed, *, queries, gallery, identities, width=12):
    """Unit vectors around one center an identity, as descriptors are."""
    generator = np.random.default_rng(seed)
    ids = generator.integers(0, identities, queries + gallery)
    centers = generator.standard_normal((identities, width))
    values = centers[ids] + 0.7 * generator.standard_normal((len(ids), width))
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    values = values.astype(np.float32)
    return values[:queries], values[queries:]


@pytest.mark.parametrize("held_bytes", [0, 2**28])
@pytest.mark.parametrize("case", ["easy", "hard"])
def test_golden(case, held_bytes):
    golden = np.load(GOLDEN)
    result = reranked(
        golden[f"{case}_query"],
        golden[f"{case}_gallery"],
        settings=retrieval.ReRanking(held_bytes=held_bytes),
        blocks=retrieval.Blocks(row_bytes=2**15),
    )
    np.testing.assert_allclose(result, golden[f"{case}_reranked"], atol=2e-6)


def test_cosine_ignores_the_length_of_descriptors():
    golden = np.load(GOLDEN)
    lengths = np.random.default_rng(0).uniform(0.5, 3, (60, 1)).astype(np.float32)
    result = reranked(golden["easy_query"] * lengths, golden["easy_gallery"] * 7, metric="cosine")
    np.testing.assert_allclose(result, golden["easy_reranked"], atol=2e-6)


@settings(max_examples=12, deadline=None, derandomize=True, database=None)
@given(
    seed=st.integers(0, 10**6),
    queries=st.integers(1, 30),
    gallery=st.integers(1, 90),
    identities=st.sampled_from([1, 8]),
    neighbors=st.sampled_from([(20, 6), (5, 1), (3, 9)]),
    original_weight=st.sampled_from([0.0, 0.3, 1.0]),
    devices=st.sampled_from([1, 8]),
)
def test_agrees_with_full_matrices(
    seed, queries, gallery, identities, neighbors, original_weight, devices
):
    query, candidates = draw(seed, queries=queries, gallery=gallery, identities=identities)
    k1, k2 = neighbors
    result = reranked(
        query,
        candidates,
        settings=retrieval.ReRanking(k1=k1, k2=k2, original_weight=original_weight),
        blocks=retrieval.Blocks(gallery_rows=64, devices=jax.devices()[:devices]),
    )
    wanted = plain.rerank_in_full(
        query.astype(np.float64),
        candidates.astype(np.float64),
        k1=k1,
        k2=k2,
        original_weight=original_weight,
    )
    np.testing.assert_allclose(result, wanted, atol=2e-5)


def test_descriptors_all_alike_stay_finite():
    same = np.full((40, 5), 0.3, np.float32)
    with pytest.warns(retrieval.CollapsedDescriptorsWarning):
        result = reranked(same[:7], same)
    assert result.shape == (7, 40)
    assert np.isfinite(result).all()


@pytest.mark.parametrize(
    "setting", [{"k1": 0}, {"k2": 0}, {"original_weight": 1.2}, {"original_weight": -0.1}]
)
def test_settings_out_of_range_are_refused(setting):
    with pytest.raises(UserError, match=next(iter(setting))):
        retrieval.ReRanking(**setting)


def test_descriptors_are_checked_before_anything_is_read():
    with pytest.raises(UserError, match="rows 1"):
        retrieval.rerank(np.ones((2, 3)), np.array([[1.0, 2, 3], [np.nan, 0, 0]]))


@pytest.mark.parametrize("k1", [59, 60, 2_000, 2**70])
def test_more_neighbors_than_images_are_all_of_them(k1):
    query, candidates = draw(3, queries=10, gallery=50, identities=8)
    found = reranked(query, candidates, settings=retrieval.ReRanking(k1=k1))
    wanted = plain.rerank_in_full(
        query.astype(np.float64), candidates.astype(np.float64), k1=min(k1, 2_000)
    )
    np.testing.assert_allclose(found, wanted, atol=2e-5)
    many = reranked(query, candidates, settings=retrieval.ReRanking(k2=2**70))
    assert np.isfinite(many).all()


def test_memory_grows_with_the_lists_and_not_with_their_square():
    generator = np.random.default_rng(0)
    total = 600
    lists = np.argsort(generator.random((total, total)), axis=1).astype(np.int32)
    peaks = []
    for k in (150, 600):
        tracemalloc.start()
        starts, _ = reciprocal_sets(lists[:, :k], half=k // 2)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        assert len(starts) == total + 1
    # A comparison of every list with every other would take 600 × 600 × 300 bytes and more.
    assert max(peaks) < 120 * total * 600
