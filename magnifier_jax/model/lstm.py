"""The recurrent network that reads the part embeddings in sequence."""

from __future__ import annotations

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
    it for the whole sequence; `nn.scan` runs over what is left.
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

        scan = nn.scan(
            _Step,
            variable_broadcast="params",
            split_rngs={"params": False},
            in_axes=1,
            out_axes=1,
            unroll=sequence.shape[1] if self.unroll else 1,
        )
        start = jnp.zeros((sequence.shape[0], self.features), self.param_dtype)
        step = scan(self.features, uniform, self.dtype, self.param_dtype, name="step")
        (hidden, _), _ = step((start, start), inputs)
        return hidden.astype(self.dtype)


class _Step(nn.Module):
    features: int
    uniform: nn.initializers.Initializer
    dtype: Dtype
    param_dtype: Dtype

    @nn.compact
    def __call__(
        self, carry: tuple[jax.Array, jax.Array], inputs: jax.Array
    ) -> tuple[tuple[jax.Array, jax.Array], None]:
        hidden, cell = carry
        gates = 4 * self.features
        kernel = self.param("hidden_kernel", self.uniform, (self.features, gates), self.param_dtype)
        bias = self.param("hidden_bias", self.uniform, (gates,), self.param_dtype)
        recurrent = jnp.dot(hidden.astype(self.dtype), kernel.astype(self.dtype))
        into, forget, new, out = jnp.split(inputs + recurrent + bias[None], 4, axis=-1)
        cell = nn.sigmoid(forget) * cell + nn.sigmoid(into) * jnp.tanh(new)
        hidden = nn.sigmoid(out) * jnp.tanh(cell)
        return (hidden, cell), None
