"""Pooling over parts against masked copies of the map."""

from __future__ import annotations

import re
from collections.abc import Callable

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model import pooling

PARTS = 5
ABSENT = 3
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


def test_maximum_of_each_part() -> None:
    features, part_map = case()
    pooled = pooling.part_max_pool(jnp.asarray(features), jnp.asarray(part_map), num_parts=PARTS)
    assert pooled.shape == (3, PARTS, 7)
    np.testing.assert_array_equal(pooled, masked(jnp.asarray(features), part_map))
    np.testing.assert_array_equal(pooled[1, ABSENT], np.zeros(7))


def test_gradient_of_each_part() -> None:
    features, part_map = case()
    weights = np.random.default_rng(1).standard_normal((3, PARTS, 7)).astype(np.float32)

    def total(pool: Pool, *rest: jax.Array, **names: int) -> jax.Array:
        gradient = jax.grad(lambda x: (pool(x, *rest, **names) * weights).sum())
        return gradient(jnp.asarray(features))

    expected = total(masked, part_map)
    found = total(pooling.part_max_pool, jnp.asarray(part_map), num_parts=PARTS)
    np.testing.assert_allclose(found, expected, rtol=1e-6)


def test_the_gradient_of_a_part_goes_to_one_cell_of_it() -> None:
    """Comparing cells with their maximum, as `max` does, would give every equal one a share."""
    features = jnp.ones((1, 2, 2, 3))
    part_map = jnp.array([[[0, 1], [1, 1]]])
    gradient = jax.grad(lambda x: pooling.part_max_pool(x, part_map, num_parts=2).sum())(features)
    expected = np.zeros((1, 2, 2, 3))
    expected[0, 0] = 1
    np.testing.assert_array_equal(gradient, expected)
    lowered = jax.jit(jax.grad(lambda x: pooling.max_of_cells(x).sum())).lower(features).as_text()
    comparisons = re.findall(r"stablehlo.compare +EQ.*", lowered)
    assert comparisons
    assert not any("FLOAT" in comparison for comparison in comparisons)


def test_cells_of_no_part_count_for_none() -> None:
    features = jnp.asarray([[[[1.0], [5.0]], [[2.0], [3.0]]]])
    part_map = jnp.array([[[0, 255], [1, 0]]])
    pooled, back = jax.vjp(lambda x: pooling.part_max_pool(x, part_map, num_parts=3), features)
    np.testing.assert_array_equal(pooled, [[[3], [2], [0]]])
    gradient = back(jnp.asarray([[[10.0], [20.0], [30.0]]]))[0]
    np.testing.assert_array_equal(gradient, [[[[0], [0]], [[20], [10]]]])


STEM_WAYS = {
    "slices": pooling._pool_by_slices,
    "window": pooling._pool_by_window,
    "cell": pooling._pool_by_cell,
}


@pytest.mark.parametrize("way", STEM_WAYS)
@pytest.mark.parametrize("size", [(6, 4), (5, 7), (1, 2)])
def test_stem_pool(way: str, size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pooling, "_pool_by_slices", STEM_WAYS[way])
    # Few values, so that many cells of a window are equal.
    x = np.random.default_rng(0).integers(-3, 3, (2, *size, 3)).astype(np.float32)
    height, width = -(-size[0] // 2), -(-size[1] // 2)
    weights = np.random.default_rng(1).standard_normal((2, height, width, 3)).astype(np.float32)
    found, back = jax.vjp(pooling.stem_max_pool, jnp.asarray(x))
    expected, gradient = np.zeros_like(weights), np.zeros_like(x)
    for n, i, j, c in np.ndindex(weights.shape):
        top, left = max(2 * i - 1, 0), max(2 * j - 1, 0)
        window = x[n, top : 2 * i + 2, left : 2 * j + 2, c]
        expected[n, i, j, c] = window.max()
        row, column = np.unravel_index(window.argmax(), window.shape)
        gradient[n, top + row, left + column, c] += weights[n, i, j, c]
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(back(jnp.asarray(weights))[0], gradient, rtol=1e-6, atol=1e-6)


def test_both_searches_find_the_first_of_the_greatest_cells() -> None:
    cells = np.random.default_rng(0).integers(0, 4, (3, 9, 5)).astype(np.float32)
    expected = cells.argmax(1)
    for search in (pooling._argmax_by_loop, pooling._argmax_by_reduction):
        found = search(jnp.asarray(cells))
        np.testing.assert_array_equal(found, expected)
        assert found.dtype == jnp.int32


def test_both_searches_find_the_first_of_the_greatest_cells_of_each_part() -> None:
    rng = np.random.default_rng(0)
    cells, parts = rng.integers(0, 4, (3, 9, 5)).astype(np.float32), rng.integers(0, 4, (3, 9))
    expected = [(cells * (parts == part)[..., None]).argmax(1) for part in range(3)]
    for search in (pooling._part_argmax_by_loop, pooling._part_argmax_by_reduction):
        found = search(jnp.asarray(cells), jnp.asarray(parts), num_parts=3)
        np.testing.assert_array_equal(found, np.stack(expected, 1))
        assert found.dtype == jnp.int32


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_tpus_pool_the_stem_by_windows(platform: str) -> None:
    """Elsewhere the gradient of a window reduction is slow, on GPUs a scatter."""
    total = jax.jit(jax.grad(lambda x: jnp.square(pooling.stem_max_pool(x)).sum()))
    lower = jax.export.export(total, platforms=[platform])
    module = lower(jax.ShapeDtypeStruct((2, 6, 4, 3), jnp.float32)).mlir_module()
    assert ("stablehlo.select_and_scatter" in module) == (platform == "tpu")
    # Only GPUs go by the numbers of cells.
    assert ("stablehlo.iota" in module) == (platform == "cuda")
    # A TPU would write a padded copy of the largest map there is.
    assert ("stablehlo.pad" in module) == (platform != "tpu")
