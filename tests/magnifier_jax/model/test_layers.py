"""Layers against their definitions, written out in NumPy."""

from __future__ import annotations

import functools

import jax
import jax.export
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model import layers
from magnifier_jax.model.layers import (
    BatchNorm,
    Classifier,
    InstanceBatchNorm,
    InstanceNorm,
    UpConvolution,
    convolution,
)

NORM_CASES = {1: (6, 5, 4, 3), 2: (7, 2, 3)}


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def norm_variables(shape: tuple[int, ...], *, train_bias: bool = True) -> dict:
    rng = np.random.default_rng(1)
    scale, bias, mean, var = (rng.uniform(0.5, 1.5, shape).astype(np.float32) for _ in range(4))
    params, stats = {"scale": scale}, {"mean": mean, "var": var}
    (params if train_bias else stats)["bias"] = bias
    return {"params": params, "batch_stats": stats}


def test_running_statistics_by_hand() -> None:
    """Mean 2 and unbiased variance 4, of which PyTorch's running statistics take a tenth."""
    x = jnp.array([[0.0], [2.0], [4.0]])
    norm = BatchNorm()
    variables = norm.init(jax.random.key(0), x, train=True)
    y, new = norm.apply(variables, x, train=True, mutable=["batch_stats"])
    np.testing.assert_allclose(new["batch_stats"]["mean"], [0.2], rtol=1e-6)
    np.testing.assert_allclose(new["batch_stats"]["var"], [0.9 + 0.4], rtol=1e-6)
    # The batch itself is normalized by the biased variance, 8/3.
    np.testing.assert_allclose(y[:, 0], [-np.sqrt(1.5), 0, np.sqrt(1.5)], atol=1e-5)


def test_initialising_leaves_the_statistics_alone() -> None:
    variables = BatchNorm().init(jax.random.key(0), normal(4, 3) + 9, train=True)
    np.testing.assert_array_equal(variables["batch_stats"]["mean"], np.zeros(3))
    np.testing.assert_array_equal(variables["batch_stats"]["var"], np.ones(3))


@pytest.mark.parametrize("feature_axes", NORM_CASES)
@pytest.mark.parametrize("train", [True, False])
def test_batch_norm(feature_axes: int, train: bool) -> None:
    x = normal(*NORM_CASES[feature_axes]) * 3 + 1
    variables = norm_variables(x.shape[x.ndim - feature_axes :])
    stats = variables["batch_stats"]
    y, new = BatchNorm(feature_axes).apply(variables, x, train=train, mutable=["batch_stats"])

    axes = tuple(range(x.ndim - feature_axes))
    mean, var = (x.mean(axes), x.var(axes)) if train else (stats["mean"], stats["var"])
    expected = (x - mean) / np.sqrt(var + 1e-5) * variables["params"]["scale"]
    np.testing.assert_allclose(y, expected + variables["params"]["bias"], rtol=1e-4, atol=1e-5)
    if train:
        stats = {
            "mean": 0.9 * stats["mean"] + 0.1 * x.mean(axes),
            "var": 0.9 * stats["var"] + 0.1 * x.var(axes, ddof=1),
        }
    for name in ("mean", "var"):
        np.testing.assert_allclose(new["batch_stats"][name], stats[name], rtol=1e-5)


@pytest.mark.parametrize("feature_axes", NORM_CASES)
def test_gradient_of_batch_norm(feature_axes: int) -> None:
    """What differentiating the definition gives, through the mean and the variance."""
    x = jnp.asarray(normal(*NORM_CASES[feature_axes]) * 3 + 1)
    weights = normal(*x.shape, seed=1)
    variables = norm_variables(x.shape[x.ndim - feature_axes :])
    stats = variables["batch_stats"]

    def layer(params: dict, x: jax.Array) -> jax.Array:
        variables = {"params": params, "batch_stats": stats}
        y, _ = BatchNorm(feature_axes).apply(variables, x, train=True, mutable=["batch_stats"])
        return (y * weights).sum()

    def definition(params: dict, x: jax.Array) -> jax.Array:
        axes = tuple(range(x.ndim - feature_axes))
        centered = x - x.mean(axes, keepdims=True)
        normed = centered / jnp.sqrt(jnp.square(centered).mean(axes, keepdims=True) + 1e-5)
        lead = (1,) * len(axes)
        scale, bias = (
            params[name].reshape(lead + params[name].shape) for name in ("scale", "bias")
        )
        return ((normed * scale + bias) * weights).sum()

    found = jax.grad(layer, (0, 1))(variables["params"], x)
    expected = jax.grad(definition, (0, 1))(variables["params"], x)
    for mine, theirs in zip(jax.tree.leaves(found), jax.tree.leaves(expected), strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-4, atol=1e-5)


def test_gradient_of_a_relu() -> None:
    """At 0 too, where it is 0."""
    x = jnp.array([-1.5, 0.0, 2.0])
    for function in (layers.relu, layers._relu_by_result):
        y, back = jax.vjp(function, x)
        np.testing.assert_array_equal(y, [0, 0, 2])
        np.testing.assert_array_equal(back(jnp.array([3.0, 4.0, 5.0]))[0], [0, 0, 5])


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_gpus_look_at_the_result_of_a_relu(platform: str) -> None:
    total = jax.jit(jax.grad(lambda x: jnp.square(layers.relu(x + 1)).sum()))
    module = jax.export.export(total, platforms=[platform])(jnp.ones(3)).mlir_module()
    assert ("stablehlo.optimization_barrier" in module) == (platform == "cuda")


def test_batch_norm_keeps_digits_beside_a_large_mean() -> None:
    noise = normal(1000, 1)
    y, new = BatchNorm().apply(
        norm_variables((1,)), 100 + 0.01 * noise, train=True, mutable=["batch_stats"]
    )
    assert np.std(y) == pytest.approx(norm_variables((1,))["params"]["scale"][0], rel=0.1)
    assert new["batch_stats"]["var"] >= 0


def test_a_necks_bias_is_no_parameter_and_stays() -> None:
    x = normal(4, 3)
    neck = BatchNorm(train_bias=False)
    variables = norm_variables((3,), train_bias=False)
    y, new = neck.apply(variables, x, train=True, mutable=["batch_stats"])
    assert set(neck.init(jax.random.key(0), x, train=True)["params"]) == {"scale"}
    bias = variables["batch_stats"]["bias"]
    np.testing.assert_array_equal(new["batch_stats"]["bias"], bias)
    np.testing.assert_allclose(y.mean(0), bias, atol=1e-6)


def test_one_image_does_not_divide_by_zero() -> None:
    _, new = BatchNorm().apply(
        norm_variables((3,)), normal(1, 3), train=True, mutable=["batch_stats"]
    )
    assert np.isfinite(new["batch_stats"]["var"]).all()


def test_classifier() -> None:
    x = normal(4, 3)
    variables = Classifier(5).init(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: normal(*leaf.shape), variables)
    expected = x @ variables["params"]["kernel"] + variables["params"]["bias"]
    np.testing.assert_allclose(Classifier(5).apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def test_classifiers_of_parts_are_separate() -> None:
    x = normal(4, 2, 3)
    layer = Classifier(5, parts=2)
    variables = layer.init(jax.random.key(0), x)
    variables = jax.tree.map(lambda leaf: normal(*leaf.shape), variables)
    kernel, bias = variables["params"]["kernel"], variables["params"]["bias"]
    expected = np.stack([x[:, p] @ kernel[p] + bias[p] for p in range(2)], axis=1)
    np.testing.assert_allclose(layer.apply(variables, x), expected, rtol=1e-5, atol=1e-5)


def transposed_convolution(x: np.ndarray, kernel: np.ndarray) -> np.ndarray:
    """Stride 2, padding 1, output padding 1: each input cell adds its stamp to the output."""
    n, h, w, _ = x.shape
    full = np.zeros((n, 2 * h + 2, 2 * w + 2, kernel.shape[3]))
    for i in range(h):
        for j in range(w):
            stamp = np.einsum("nc,abcd->nabd", x[:, i, j], kernel)
            full[:, 2 * i : 2 * i + 3, 2 * j : 2 * j + 3] += stamp
    return full[:, 1 : 2 * h + 1, 1 : 2 * w + 1]


DOUBLING = {"product": layers._double_by_product, "convolution": layers._double_by_convolution}


@pytest.fixture(params=DOUBLING)
def each_way_of_doubling(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(layers, "_double_by_product", DOUBLING[request.param])


@pytest.mark.usefixtures("each_way_of_doubling")
@pytest.mark.parametrize(("height", "width"), [(1, 1), (3, 2), (4, 5)])
def test_up_convolution(height: int, width: int) -> None:
    x = normal(2, height, width, 3)
    kernel = normal(3, 3, 3, 4, seed=1)
    y = UpConvolution(4).apply({"params": {"kernel": kernel}}, x)
    assert y.shape == (2, 2 * height, 2 * width, 4)
    np.testing.assert_allclose(y, transposed_convolution(x, kernel), rtol=1e-4, atol=1e-5)


@pytest.mark.usefixtures("each_way_of_doubling")
def test_gradient_of_up_convolution() -> None:
    x, kernel = normal(1, 3, 2, 2), normal(3, 3, 2, 2, seed=1)
    weights = normal(1, 6, 4, 2, seed=2)

    def total(kernel: jax.Array) -> jax.Array:
        return (UpConvolution(2).apply({"params": {"kernel": kernel}}, x) * weights).sum()

    gradient = jax.grad(total)(jnp.asarray(kernel))
    # The layer is linear in its kernel: the gradient is what each single tap makes.
    expected = np.zeros(kernel.size)
    for tap in range(kernel.size):
        single = np.zeros(kernel.size)
        single[tap] = 1
        expected[tap] = (transposed_convolution(x, single.reshape(kernel.shape)) * weights).sum()
    np.testing.assert_allclose(gradient.ravel(), expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    ("kernel", "stride", "shape"),
    [(1, 1, (6, 4)), (1, 2, (3, 2)), (3, 2, (3, 2)), (7, 2, (3, 2))],
)
def test_convolution_pads_as_pytorch_does(kernel: int, stride: int, shape: tuple[int, int]) -> None:
    layer = convolution(1, kernel, stride=stride, name="conv", dtype=jnp.float32)
    x = normal(1, 6, 4, 1)
    weights = normal(kernel, kernel, 1, 1, seed=1)
    y = layer.apply({"params": {"kernel": weights}}, x)
    padded = np.pad(x[0, :, :, 0], kernel // 2)
    windows = np.lib.stride_tricks.sliding_window_view(padded, (kernel, kernel))[::stride, ::stride]
    expected = np.einsum("hwij,ij->hw", windows, weights[:, :, 0, 0])
    assert y.shape == (1, *shape, 1)
    np.testing.assert_allclose(y[0, :, :, 0], expected, rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("stride", [1, 2])
@pytest.mark.parametrize("size", [(6, 4), (5, 7)])
def test_a_pointwise_convolution_is_a_product(stride: int, size: tuple[int, int]) -> None:
    x, kernel = jnp.asarray(normal(2, *size, 5)), jnp.asarray(normal(1, 1, 5, 3, seed=1))
    product, back = jax.vjp(
        functools.partial(layers._pointwise_by_product, stride=stride), x, kernel
    )
    convolved, back_of_convolution = jax.vjp(
        functools.partial(layers._pointwise_by_convolution, stride=stride), x, kernel
    )
    np.testing.assert_allclose(product, convolved, rtol=1e-5, atol=1e-6)
    weights = jnp.asarray(normal(*product.shape, seed=2))
    for one, other in zip(back(weights), back_of_convolution(weights), strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_cpus_multiply_where_others_convolve(platform: str) -> None:
    """On a GPU, XLA aborts where the left side of a product is every other cell of a map."""
    layer = convolution(3, 1, stride=2, name="conv", dtype=jnp.float32)
    variables = {"params": {"kernel": jnp.ones((1, 1, 5, 3))}}

    def total(x: jax.Array) -> jax.Array:
        return jnp.square(layer.apply(variables, x)).sum()

    lower = jax.export.export(jax.jit(jax.grad(total)), platforms=[platform])
    module = lower(jax.ShapeDtypeStruct((2, 6, 4, 5), jnp.float32)).mlir_module()
    assert ("stablehlo.dot_general" in module) == (platform == "cpu")
    assert ("stablehlo.convolution" in module) == (platform != "cpu")


@pytest.mark.parametrize("platform", ["cpu", "cuda", "tpu"])
def test_only_tpus_double_by_convolution(platform: str) -> None:
    layer = UpConvolution(3)
    variables = {"params": {"kernel": jnp.ones((3, 3, 5, 3))}}
    lower = jax.export.export(jax.jit(lambda x: layer.apply(variables, x)), platforms=[platform])
    module = lower(jax.ShapeDtypeStruct((2, 6, 4, 5), jnp.float32)).mlir_module()
    assert ("stablehlo.convolution" in module) == (platform == "tpu")


def instance_normalized(x: np.ndarray, scale: np.ndarray, bias: np.ndarray) -> np.ndarray:
    found = np.empty_like(x)
    for n in range(x.shape[0]):
        for c in range(x.shape[-1]):
            cells = x[n, :, :, c]
            found[n, :, :, c] = (cells - cells.mean()) / np.sqrt(cells.var() + 1e-5)
    return found * scale + bias


@pytest.mark.parametrize("train", [True, False])
def test_instance_norm(train: bool) -> None:
    x = normal(4, 5, 3, 2) * 3 + 7
    scale, bias = np.float32([0.5, 2]), np.float32([1, -1])
    variables = {"params": {"scale": scale, "bias": bias}}
    y = InstanceNorm().apply(variables, x, train=train)
    np.testing.assert_allclose(y, instance_normalized(x, scale, bias), rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("train", [True, False])
def test_half_of_the_channels_by_instance_and_half_by_batch(train: bool) -> None:
    x = normal(4, 5, 3, 6) * 3 + 7
    batch = norm_variables((3,))
    scale, bias = np.float32([0.5, 2, 1]), np.float32([1, -1, 0])
    variables = {
        "params": {"instance": {"scale": scale, "bias": bias}, "batch": batch["params"]},
        "batch_stats": {"batch": batch["batch_stats"]},
    }
    y, new = InstanceBatchNorm().apply(variables, x, train=train, mutable=["batch_stats"])
    first = instance_normalized(x[..., :3], scale, bias)
    second, _ = BatchNorm().apply(batch, x[..., 3:], train=train, mutable=["batch_stats"])
    np.testing.assert_allclose(y[..., :3], first, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(y[..., 3:], second, rtol=1e-5)
    assert new["batch_stats"]["batch"]["mean"].shape == (3,)
