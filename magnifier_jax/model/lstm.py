"""The recurrent network that reads the part embeddings in sequence."""

from __future__ import annotations

import functools
from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import linen as nn

from magnifier_jax.model.layers import Dtype


def _uniform(key: jax.Array, shape: tuple[int, ...], dtype: Dtype, *, bound: float) -> jax.Array:
    return jax.random.uniform(key, shape, dtype, -bound, bound)


class LSTM(nn.Module):
    """A long short-term memory whose last hidden state sums up a sequence.

    Hochreiter and Schmidhuber, "Long Short-Term Memory", Neural Computation 1997, with PyTorch's
    parameters: gates in the order input, forget, cell, output, and a bias on the input's and on
    the hidden state's side. Both are kept because an optimizer moves their sum twice as fast as
    it would move a single one.

    The input's part of the gates does not depend on the recurrence, so one matrix product makes
    it for the whole sequence; a scan runs over what is left.
    """

    features: int
    unroll: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, sequence: jax.Array) -> jax.Array:
        """Maps `[N, T, C]` to the last hidden state `[N, features]`."""
        bound = self.features**-0.5

        def uniform(key: jax.Array, shape: tuple[int, ...], dtype: Dtype) -> jax.Array:
            return _uniform(key, shape, dtype, bound=bound)

        gates = 4 * self.features
        kernel = self.param("input_kernel", uniform, (sequence.shape[-1], gates), self.param_dtype)
        bias = self.param("input_bias", uniform, (gates,), self.param_dtype)
        inputs = jnp.einsum("ntc,cg->ntg", sequence.astype(self.dtype), kernel.astype(self.dtype))
        inputs = inputs.astype(self.param_dtype) + bias[None, None]
        step = _Step(self.features, uniform, self.unroll, self.dtype, self.param_dtype, name="step")
        return step(inputs).astype(self.dtype)


class _Step(nn.Module):
    """The part of the LSTM that is computed step by step, with its parameters."""

    features: int
    uniform: nn.initializers.Initializer
    unroll: bool
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(self, inputs: jax.Array) -> jax.Array:
        gates = 4 * self.features
        kernel = self.param("hidden_kernel", self.uniform, (self.features, gates), self.param_dtype)
        bias = self.param("hidden_bias", self.uniform, (gates,), self.param_dtype)
        return _recur(inputs + bias[None, None], kernel.astype(self.dtype), self.unroll)


@functools.partial(jax.custom_vjp, nondiff_argnums=(2,))
def _recur(inputs: jax.Array, kernel: jax.Array, unroll: bool) -> jax.Array:
    """The last hidden state `[N, F]` of gates `[N, T, 4 F]` and a recurrent kernel `[F, 4 F]`.

    The kernel's gradient is one matrix product over all steps. Differentiated as it stands, the
    loop would make a product for each step and read and write the whole sum of them every time.
    """
    return _run(inputs, kernel, unroll)[0]


def _run(inputs: jax.Array, kernel: jax.Array, unroll: bool) -> tuple[jax.Array, jax.Array]:
    """The last hidden state, and those before each step `[T, N, F]` in the kernel's type."""

    def step(
        carry: tuple[jax.Array, jax.Array], inputs: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], jax.Array]:
        hidden, cell = carry
        before = hidden.astype(kernel.dtype)
        into, forget, new, out = jnp.split(inputs + jnp.dot(before, kernel), 4, axis=-1)
        cell = nn.sigmoid(forget) * cell + nn.sigmoid(into) * jnp.tanh(new)
        return (nn.sigmoid(out) * jnp.tanh(cell), cell), before

    start = jnp.zeros((inputs.shape[0], kernel.shape[0]), inputs.dtype)
    steps = inputs.swapaxes(0, 1)
    (hidden, _), before = jax.lax.scan(
        step, (start, start), steps, unroll=len(steps) if unroll else 1
    )
    return hidden, before


_Kept = tuple[Callable[[jax.Array], tuple[jax.Array]], jax.Array]
"""What pulls a gradient back to the inputs, and the hidden states before each step."""


def _recur_forward(inputs: jax.Array, kernel: jax.Array, unroll: bool) -> tuple[jax.Array, _Kept]:
    run = functools.partial(_run, kernel=kernel, unroll=unroll)
    hidden, pull_back, before = jax.vjp(run, inputs, has_aux=True)
    return hidden, (pull_back, before)


def _recur_backward(unroll: bool, kept: _Kept, gradient: jax.Array) -> tuple[jax.Array, jax.Array]:
    pull_back, before = kept
    (inputs,) = pull_back(gradient)
    by_step = inputs.swapaxes(0, 1).astype(before.dtype)
    return inputs, jnp.einsum("tnf,tng->fg", before, by_step)


_recur.defvjp(_recur_forward, _recur_backward)
