"""One descriptor for several images of a person."""

import dataclasses

import jax.numpy as jnp
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax import retrieval
from magnifier_jax.embedding.embeddings import Embeddings
from magnifier_jax.retrieval import Groups, pooling


def embeddings(total=60, *, parts=5, seed=0):
    """Unit descriptors and parts; part 0, the background, is never visible."""
    generator = np.random.default_rng(seed)

    def unit(*shape):
        values = generator.standard_normal(shape)
        return (values / np.linalg.norm(values, axis=-1, keepdims=True)).astype(np.float32)

    visible = generator.random((total, parts)) < 0.5
    visible[:, 0] = False
    return Embeddings(unit(total, 16), unit(total, parts, 8), visible)


def mean(rows, weights):
    """The mean of one group: its direction, as long as the rows are in the mean."""
    rows = np.asarray(rows, np.float64)
    summed = (weights[:, None] * rows).sum(0)
    length = (weights * np.linalg.norm(rows, axis=1)).sum() / weights.sum()
    return length * summed / np.linalg.norm(summed)


@pytest.mark.parametrize("weights", ["visible", "uniform", "given"])
def test_agrees_with_a_loop_over_groups(weights, monkeypatch):
    monkeypatch.setattr(pooling, "_BYTES_AT_ONCE", 8 * 16 * 7)  # several blocks of groups
    found = embeddings()
    labels = np.random.default_rng(1).integers(0, 12, 60)
    given = np.random.default_rng(2).random(60)
    pooled = retrieval.pool(found, labels, weights=given if weights == "given" else weights)
    order = list(dict.fromkeys(labels.tolist()))
    assert len(pooled) == len(order)
    for group, label in enumerate(order):
        rows = np.flatnonzero(labels == label)
        counts = found.visible[rows].sum(1).astype(float)
        alike = np.ones(len(rows))
        share = {"visible": counts if counts.any() else alike, "uniform": alike}
        share = share.get(weights, given[rows])
        wanted = mean(found.descriptors[rows], share)
        np.testing.assert_allclose(pooled.descriptors[group], wanted, atol=1e-6)
        assert pooled.groups.first[group] == rows[0]
        assert pooled.groups.sizes[group] == len(rows)
        for part in range(5):
            seen = found.visible[rows, part]
            assert pooled.visible[group, part] == seen.any()
            if seen.any():
                wanted = mean(found.parts[rows[seen], part], share[seen])
                np.testing.assert_allclose(pooled.parts[group, part], wanted, atol=1e-6)


def test_images_alone_are_unchanged_to_the_bit():
    found = embeddings(20)
    pooled = retrieval.pool(found, np.arange(20))
    np.testing.assert_array_equal(pooled.descriptors, found.descriptors)
    np.testing.assert_array_equal(pooled.visible, found.visible)
    np.testing.assert_array_equal(
        pooled.parts[found.visible], found.parts[found.visible], strict=True
    )


def test_pooled_descriptors_are_of_unit_length_where_those_of_images_are():
    pooled = retrieval.pool(embeddings(), np.arange(60) // 7)
    np.testing.assert_allclose(np.linalg.norm(pooled.descriptors, axis=1), 1, atol=1e-6)
    lengths = np.linalg.norm(pooled.parts, axis=2)
    np.testing.assert_allclose(lengths[pooled.visible], 1, atol=1e-6)


def test_a_crop_that_shows_more_counts_more():
    clear, covered = np.eye(2, dtype=np.float32)
    seen = np.array([[False, True, True, True], [False, True, False, False]])
    pooled = retrieval.pool(np.stack([clear, covered]), ["a", "a"], visible=seen)
    np.testing.assert_allclose(pooled.weights, [0.75, 0.25])
    np.testing.assert_allclose(pooled.descriptors[0], np.array([3, 1]) / np.sqrt(10), atol=1e-7)
    assert pooled.parts is None


@pytest.mark.parametrize(
    ("labels", "members"),
    [
        ([4, -1, 4, -1, 0], [0, 1, 0, 2, 3]),
        (["b", "", "a", "b", "unknown"], [0, 1, 2, 0, 3]),
        ([None, "a", None, "a", "-1"], [0, 1, 2, 1, 3]),
        ([1.0, np.nan, 1.0, np.nan, 2.0], [0, 1, 0, 2, 3]),
        (["Zoë", "Zoe\u0308", "zoe", "x", "x"], [0, 0, 1, 2, 2]),
    ],
)
def test_what_is_not_known_is_a_group_of_its_own(labels, members):
    groups = Groups.of(labels)
    assert groups.members.tolist() == members
    assert groups.first.tolist() == [members.index(group) for group in range(len(groups))]
    assert groups.sizes.tolist() == [members.count(group) for group in range(len(groups))]


def test_tracklets_that_each_person_and_camera_numbers_anew_stay_apart():
    tracklets, people, cameras = [1, 1, 1, 1, -1, -1], [5, 5, 6, 5, 5, 5], [1, 1, 1, -1, 1, 1]
    groups = Groups.of(tracklets, within=(people, cameras))
    assert groups.members.tolist() == [0, 0, 1, 2, 3, 4]


def test_all_images_of_one_query_become_one():
    found = embeddings(5)
    pooled = retrieval.pool(found, Groups.together(5), weights="uniform")
    wanted = mean(found.descriptors, np.ones(5))
    np.testing.assert_allclose(pooled.descriptors, wanted[None], atol=1e-6)


def test_opposite_descriptors_leave_nothing_rather_than_nan():
    rows = np.array([[1, 0], [-1, 0]], np.float32)
    pooled = retrieval.pool(rows, [0, 0])
    np.testing.assert_array_equal(pooled.descriptors, [[0, 0]])


def test_arrays_of_jax_and_of_half_precision_are_taken():
    rows = embeddings(6).descriptors.astype(np.float16)
    wanted = retrieval.pool(rows.astype(np.float32), [0, 0, 1, 1, 1, 2]).descriptors
    for given in (rows, jnp.asarray(rows)):
        pooled = retrieval.pool(given, [0, 0, 1, 1, 1, 2])
        assert pooled.descriptors.dtype == np.float32
        np.testing.assert_allclose(pooled.descriptors, wanted, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"groups": [0, 1]}, "6 descriptors to pool and 2 groups"),
        ({"groups": np.zeros((2, 3))}, r"shape \[N\], not \[2, 3\]"),
        ({"weights": "clear"}, "'clear'; choose visible or uniform"),
        ({"weights": [1, 1, 1]}, r"shape \[6\], not \[3\]"),
        ({"weights": [1, 1, 1, 1, 1, -1]}, "not below 0"),
        ({"weights": [1, 1, 1, 0, 0, 0]}, "all weights of the group of row 3 are 0"),
        ({"visible": np.ones(6)}, r"shape \[6, P\], not \[6\]"),
    ],
)
def test_what_does_not_go_together_is_refused(change, message):
    arguments = {"groups": [0, 0, 0, 1, 1, 1]} | change
    with pytest.raises(UserError, match=message):
        retrieval.pool(embeddings(6), **arguments)


def test_columns_of_other_lengths_are_refused():
    with pytest.raises(UserError, match=r"apart by 3 values, not \[2\]"):
        Groups.of([1, 2, 3], within=([1, 2],))


def test_tracklets_are_found_by_what_any_of_their_images_shows():
    """An occluder passes: each crop hides one half, and both together show what the query does."""
    found = embeddings(3, parts=3)
    found = dataclasses.replace(
        found,
        parts=np.tile(np.eye(3, 8, dtype=np.float32), (3, 1, 1)),
        visible=np.array([[False, True, False], [False, False, True], [False, True, True]]),
    )
    tracklet = retrieval.pool(found, [1, 1, 2])
    np.testing.assert_array_equal(tracklet.visible, [[False, True, True]] * 2)
    gallery = retrieval.Gallery.build(tracklet, names=["both halves", "whole"])
    matches = gallery.search_parts(tracklet.parts[1:], tracklet.visible[1:], top=2)
    np.testing.assert_allclose(matches.distances, 0, atol=1e-6)
