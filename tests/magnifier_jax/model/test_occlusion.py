"""Which parts semantic occlusion hides, and where."""

from __future__ import annotations

import collections

import jax
import jax.numpy as jnp
import numpy as np

from magnifier_jax.model import OcclusionGroup, draw_occluded_parts, visibility_mask

UPPER = (1, 2, 3, 4)
LOWER = (5, 6, 7)
GROUPS = (OcclusionGroup(UPPER, 2), OcclusionGroup(LOWER, 1))


def test_two_upper_and_one_lower_part_are_hidden_evenly() -> None:
    draws = 3600
    draw = jax.vmap(lambda key: draw_occluded_parts(key, GROUPS, num_parts=8)[0])
    hidden = np.asarray(jax.jit(draw)(jax.random.split(jax.random.key(0), draws)))
    assert not hidden[:, 0].any()
    np.testing.assert_array_equal(hidden[:, UPPER].sum(1), 2)
    np.testing.assert_array_equal(hidden[:, LOWER].sum(1), 1)
    counts = collections.Counter(map(tuple, hidden))
    # 6 pairs of upper parts × 3 lower parts: each combination 200 times, give or take 5 sigma.
    assert len(counts) == 18
    assert max(abs(count - 200) for count in counts.values()) < 5 * np.sqrt(200)


def test_the_whole_batch_hides_the_same_unless_told() -> None:
    key = jax.random.key(3)
    assert draw_occluded_parts(key, GROUPS, num_parts=8).shape == (1, 8)
    each = np.asarray(draw_occluded_parts(key, GROUPS, num_parts=8, images=40))
    assert each.shape == (40, 8)
    np.testing.assert_array_equal(each.sum(1), 3)
    assert len(np.unique(each, axis=0)) > 5


def test_same_key_same_parts() -> None:
    first, second = (draw_occluded_parts(jax.random.key(1), GROUPS, num_parts=8) for _ in range(2))
    np.testing.assert_array_equal(first, second)


def test_mask_is_zero_where_a_hidden_part_is() -> None:
    part_map = np.random.default_rng(0).integers(0, 8, (3, 5, 4))
    hidden = np.zeros((1, 8), bool)
    hidden[0, [2, 4, 5]] = True
    mask = visibility_mask(jnp.asarray(part_map), jnp.asarray(hidden))
    np.testing.assert_array_equal(mask, ~np.isin(part_map, [2, 4, 5]))


def test_mask_follows_each_images_own_parts() -> None:
    part_map = np.random.default_rng(0).integers(0, 8, (2, 5, 4))
    hidden = np.zeros((2, 8), bool)
    hidden[0, 1] = hidden[1, 7] = True
    mask = visibility_mask(jnp.asarray(part_map), jnp.asarray(hidden))
    np.testing.assert_array_equal(mask[0], part_map[0] != 1)
    np.testing.assert_array_equal(mask[1], part_map[1] != 7)
