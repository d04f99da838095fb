"""Batch norms folded into convolutions."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model import BACKBONES, MagnifierNet
from magnifier_jax.model.folding import fold_norms
from magnifier_jax.model.layers import BATCH_NORM_EPSILON, BatchNorm

IMAGES = np.random.default_rng(0).normal(size=(2, 64, 32, 3)).astype(np.float32)


def drawn_network(spec):
    """A network with every kind of layer, and numbers as training leaves them."""
    model = MagnifierNet(3, spec, parsing_features=8)
    shapes = jax.eval_shape(lambda: model.init(jax.random.key(0), IMAGES, train=False))
    rng = np.random.default_rng(1)
    ranges = {"scale": (0.5, 2), "bias": (-1, 1), "mean": (-1, 1), "var": (0.1, 4)}

    def draw(path, leaf):
        low, high = ranges.get(path[-1].key, (-0.3, 0.3))
        return rng.uniform(low, high, leaf.shape).astype(np.float32)

    return model, jax.tree_util.tree_map_with_path(draw, shapes)


@pytest.fixture(scope="module")
def network():
    return drawn_network(BACKBONES["tiny"])


@pytest.mark.parametrize(
    "spec",
    [
        BACKBONES["tiny"],
        dataclasses.replace(BACKBONES["tiny_ibn_a"], stem_norm="instance"),
    ],
    ids=["batch", "instance"],
)
def test_descriptors_are_the_same(spec):
    model, variables = drawn_network(spec)
    apply = jax.jit(lambda v: model.apply(v, IMAGES, train=False))
    expected, found = apply(variables), apply(fold_norms(variables))
    scale = float(jnp.abs(expected.descriptor).max())
    np.testing.assert_allclose(found.descriptor, expected.descriptor, atol=1e-5 * scale)
    np.testing.assert_allclose(found.part_necks, expected.part_necks, atol=1e-5 * scale)
    np.testing.assert_array_equal(found.part_map, expected.part_map)


def test_every_norm_after_a_convolution_is_folded_and_no_neck(network):
    _, variables = network
    names = [
        jax.tree_util.keystr(path[:-1], simple=True, separator="/")
        for path, _ in jax.tree_util.tree_leaves_with_path(fold_norms(variables)["batch_stats"])
    ]
    assert {name.split("/")[-1] for name in names} == {"neck", "part_necks"}


def test_numbers_are_those_of_the_formula_in_float64(network):
    _, variables = network
    folded = fold_norms(variables)["params"]["backbone"]
    norm, stats = (variables[kind]["backbone"]["norm1"] for kind in ("params", "batch_stats"))
    scale = norm["scale"] / np.sqrt(stats["var"].astype(np.float64) + BATCH_NORM_EPSILON)
    kernel = variables["params"]["backbone"]["conv1"]["kernel"].astype(np.float64)
    np.testing.assert_array_equal(folded["conv1"]["kernel"], (kernel * scale).astype(np.float32))
    bias = (norm["bias"] - stats["mean"] * scale).astype(np.float32)
    np.testing.assert_array_equal(folded["norm1"]["bias"], bias)
    assert list(folded["norm1"]) == ["bias"]


def test_a_folded_network_cannot_be_trained(network):
    model, variables = network
    labels = jnp.zeros((2, 32, 16), jnp.int32)
    with pytest.raises(ValueError, match="folded"):
        jax.eval_shape(
            lambda v: model.apply(
                v, IMAGES, train=True, part_labels=labels, mutable=["batch_stats"]
            ),
            fold_norms(variables),
        )


def test_a_neck_without_its_parameters_is_no_folded_norm():
    norm = BatchNorm(1, False)
    with pytest.raises(ValueError, match="folded"):
        norm.apply({"params": {}}, jnp.ones((2, 3)), train=False)
