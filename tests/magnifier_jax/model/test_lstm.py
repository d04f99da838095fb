"""The LSTM against its definition, written out in NumPy."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model.lstm import LSTM


def sigmoid(x: np.ndarray) -> np.ndarray:
    return 1 / (1 + np.exp(-x))


def last_hidden_state(sequence: np.ndarray, params: dict) -> np.ndarray:
    step = params["step"]
    features = step["hidden_kernel"].shape[0]
    hidden = cell = np.zeros((len(sequence), features))
    for x in sequence.transpose(1, 0, 2):
        gates = x @ params["input_kernel"] + params["input_bias"]
        gates = gates + hidden @ step["hidden_kernel"] + step["hidden_bias"]
        into, forget, new, out = np.split(gates, 4, axis=1)
        cell = sigmoid(forget) * cell + sigmoid(into) * np.tanh(new)
        hidden = sigmoid(out) * np.tanh(cell)
    return hidden


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("length", [1, 8])
def test_last_hidden_state(unroll: bool, length: int) -> None:
    sequence = np.random.default_rng(0).standard_normal((3, length, 4)).astype(np.float32)
    lstm = LSTM(5, unroll=unroll)
    variables = jax.device_get(lstm.init(jax.random.key(0), sequence))
    hidden = lstm.apply(variables, sequence)
    assert hidden.shape == (3, 5)
    expected = last_hidden_state(sequence, variables["params"])
    np.testing.assert_allclose(hidden, expected, rtol=1e-4, atol=1e-6)


def test_parameters_are_pytorchs() -> None:
    variables = LSTM(5).init(jax.random.key(0), np.zeros((1, 2, 4), np.float32))
    leaves = jax.tree_util.tree_leaves_with_path(variables["params"])
    shapes = {jax.tree_util.keystr(path): leaf.shape for path, leaf in leaves}
    assert shapes == {
        "['input_kernel']": (4, 20),
        "['input_bias']": (20,),
        "['step']['hidden_kernel']": (5, 20),
        "['step']['hidden_bias']": (20,),
    }
    largest = max(float(abs(leaf).max()) for _, leaf in leaves)
    assert 0.8 * 5**-0.5 < largest <= 5**-0.5


def as_defined(params: dict, sequence: jax.Array) -> jax.Array:
    """The last hidden state, step by step, for JAX to differentiate as it stands."""
    step = params["step"]
    hidden = cell = jnp.zeros((len(sequence), step["hidden_kernel"].shape[0]))
    for x in sequence.swapaxes(0, 1):
        gates = jnp.dot(x, params["input_kernel"]) + params["input_bias"][None]
        gates = gates + jnp.dot(hidden, step["hidden_kernel"]) + step["hidden_bias"][None]
        into, forget, new, out = jnp.split(gates, 4, axis=1)
        cell = jax.nn.sigmoid(forget) * cell + jax.nn.sigmoid(into) * jnp.tanh(new)
        hidden = jax.nn.sigmoid(out) * jnp.tanh(cell)
    return hidden


@pytest.mark.parametrize("unroll", [False, True])
@pytest.mark.parametrize("length", [1, 8])
def test_gradient_is_that_of_the_definition(unroll: bool, length: int) -> None:
    random = np.random.default_rng(0)
    sequence = random.standard_normal((3, length, 4)).astype(np.float32)
    weight = random.standard_normal((3, 5)).astype(np.float32)
    lstm = LSTM(5, unroll=unroll)
    params = lstm.init(jax.random.key(0), sequence)["params"]

    def ours(params: dict, sequence: jax.Array) -> jax.Array:
        return (weight * lstm.apply({"params": params}, sequence)).sum()

    def theirs(params: dict, sequence: jax.Array) -> jax.Array:
        return (weight * as_defined(params, sequence)).sum()

    found = jax.jit(jax.grad(ours, argnums=(0, 1)))(params, sequence)
    expected = jax.jit(jax.grad(theirs, argnums=(0, 1)))(params, sequence)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-6), found, expected
    )


def test_gradient_in_bf16_has_the_types_of_the_parameters() -> None:
    sequence = np.random.default_rng(0).standard_normal((3, 6, 4)).astype(np.float32)
    params = LSTM(5).init(jax.random.key(0), sequence)["params"]

    def total(params: dict, dtype: jnp.dtype) -> jax.Array:
        hidden = LSTM(5, dtype=dtype).apply({"params": params}, sequence)
        return hidden.astype(jnp.float32).sum()

    exact = jax.grad(total)(params, jnp.float32)
    rough = jax.grad(total)(params, jnp.bfloat16)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, rtol=0.05, atol=0.05), rough, exact)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(rough))
