"""The parser's loss and its step of learning."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import flax.struct
import jax
import jax.numpy as jnp
import optax

from input_pipeline.dataset import NUM_PARTS
from input_pipeline.part_labels.drawn.network import Parser, normalize

# Small classes count more: about one over the root of their share of the pixels.
_CLASS_WEIGHTS = (0.5, 1.2, 0.9, 1.3, 1.6, 1.0, 1.1, 1.7)
_EMA = 0.998


class State(flax.struct.PyTreeNode):
    """Everything that a step changes."""

    step: jax.Array
    variables: Any
    average: Any
    optimizer: Any


def make_optimizer(steps: int, *, learning_rate: float) -> optax.GradientTransformation:
    """AdamW, from a short warmup along half a cosine to nothing."""
    schedule = optax.warmup_cosine_decay_schedule(
        0.0, learning_rate, min(200, max(1, steps // 10)), steps, learning_rate * 0.01
    )
    return optax.chain(
        optax.clip_by_global_norm(1.0), optax.adamw(schedule, b2=0.99, weight_decay=0.02)
    )


def make_state(parser: Parser, optimizer: optax.GradientTransformation, seed: int) -> State:
    """The state before the first step."""
    size = parser.size
    images = jnp.zeros((1, size.height, size.width, 3))
    variables = jax.jit(parser.init)(jax.random.key(seed), images)
    return State(
        step=jnp.zeros((), jnp.int32),
        variables=variables,
        average=jax.tree.map(jnp.copy, variables),
        optimizer=optimizer.init(variables),
    )


def parsing_loss(logits: jax.Array, truth: jax.Array) -> jax.Array:
    """Weighted cross entropy plus half of one minus the soft Dice, on average over the classes.

    Args:
        logits: `[N, h, w, 8]`.
        truth: Share of each class in each cell, `[N, h, w, 8]`; a cell that does not count has
            none.
    """
    log_shares = jax.nn.log_softmax(logits)
    weighted = truth * jnp.asarray(_CLASS_WEIGHTS).reshape(1, 1, 1, -1)
    entropy = -jnp.sum(log_shares * weighted) / jnp.maximum(jnp.sum(weighted), 1)
    shares = jnp.exp(log_shares) * jnp.sum(truth, axis=-1, keepdims=True)
    both = jnp.sum(shares * truth, axis=(0, 1, 2))
    either = jnp.sum(shares * shares + truth * truth, axis=(0, 1, 2))
    return entropy + 0.5 * (1 - jnp.mean((2 * both + 1) / (either + 1)))


def shares_of_parts(parts: jax.Array, shown: jax.Array) -> jax.Array:
    """The share of each class in each 2 × 2 pixels, which the network answers for.

    Args:
        parts: Classes, `[N, H, W]`.
        shown: Which pixels count, bool `[N, H, W]`.

    Returns:
        float32 `[N, H/2, W/2, 8]`.
    """
    count, height, width = parts.shape
    of_pixels = jax.nn.one_hot(parts, NUM_PARTS) * shown[..., None]
    blocks = of_pixels.reshape(count, height // 2, 2, width // 2, 2, NUM_PARTS)
    return jnp.mean(blocks, axis=(2, 4))


def make_step(
    parser: Parser, optimizer: optax.GradientTransformation
) -> Callable[[State, jax.Array, jax.Array, jax.Array], tuple[State, jax.Array]]:
    """A compiled step: state, images uint8 `[N, H, W, 3]`, parts and shown `[N, H, W]`."""

    def step(
        state: State, images: jax.Array, parts: jax.Array, shown: jax.Array
    ) -> tuple[State, jax.Array]:
        truth = shares_of_parts(parts, shown)

        def loss(variables: Any) -> jax.Array:
            logits: Any = parser.apply(variables, normalize(images))
            return parsing_loss(logits, truth)

        value, gradient = jax.value_and_grad(loss)(state.variables)
        updates, optimizer_state = optimizer.update(gradient, state.optimizer, state.variables)
        variables = optax.apply_updates(state.variables, updates)
        # Shorter at first, so that the random beginning is forgotten.
        keep = jnp.minimum(_EMA, (1.0 + state.step) / (10.0 + state.step))
        average = jax.tree.map(lambda a, v: keep * a + (1 - keep) * v, state.average, variables)
        return State(state.step + 1, variables, average, optimizer_state), value

    return jax.jit(step, donate_argnums=0)
