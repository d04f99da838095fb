"""Pooling over parts against masked copies of the map."""

from __future__ import annotations

from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model import pooling

PARTS = 5
ABSENT = 3
WAYS = {
    "chosen": pooling.part_max_pool,
    "scatter": pooling._by_scatter,
    "reduction": pooling._by_reduction,
}
Pool = Callable[..., jax.Array]


def case() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    features = rng.uniform(0.1, 1, (3, 6, 4, 7)).astype(np.float32)
    part_map = rng.integers(0, PARTS, (3, 6, 4))
    part_map[1][part_map[1] == ABSENT] = 0
    return features, part_map


def masked(features: jax.Array, part_map: np.ndarray) -> jax.Array:
    """The definition: multiply by each part's 0/1 mask and take the maximum."""
    copies = [features * (part_map == part)[..., None] for part in range(PARTS)]
    return jnp.stack([copy.max((1, 2)) for copy in copies], axis=1)


@pytest.mark.parametrize("way", WAYS)
def test_maximum_of_each_part(way: str) -> None:
    features, part_map = case()
    pooled = WAYS[way](jnp.asarray(features), jnp.asarray(part_map), num_parts=PARTS)
    assert pooled.shape == (3, PARTS, 7)
    np.testing.assert_array_equal(pooled, masked(jnp.asarray(features), part_map))
    np.testing.assert_array_equal(pooled[1, ABSENT], np.zeros(7))


@pytest.mark.parametrize("way", WAYS)
def test_gradient_of_each_part(way: str) -> None:
    features, part_map = case()
    weights = np.random.default_rng(1).standard_normal((3, PARTS, 7)).astype(np.float32)

    def total(pool: Pool, *rest: jax.Array, **names: int) -> jax.Array:
        gradient = jax.grad(lambda x: (pool(x, *rest, **names) * weights).sum())
        return gradient(jnp.asarray(features))

    expected = total(masked, part_map)
    found = total(WAYS[way], jnp.asarray(part_map), num_parts=PARTS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_gradient_of_a_part_goes_to_one_cell_of_it() -> None:
    """Comparing cells with their maximum, as `max` does, would give every equal one a share."""
    features = jnp.ones((1, 2, 2, 3))
    part_map = jnp.array([[[0, 1], [1, 1]]])
    gradient = jax.grad(lambda x: pooling._by_reduction(x, part_map, num_parts=2).sum())(features)
    expected = np.zeros((1, 2, 2, 3))
    expected[0, 0] = 1
    np.testing.assert_array_equal(gradient, expected)
    text = str(jax.make_jaxpr(jax.grad(lambda x: pooling.max_of_cells(x).sum()))(features))
    assert " eq " not in text
