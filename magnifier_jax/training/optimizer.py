"""The optimizer and the learning rate of the published recipe."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
import optax


def make_optimizer(name: str, *, l2: float, momentum: float = 0.9) -> optax.GradientTransformation:
    """Adam or SGD with a coupled L2 penalty, without the learning rate.

    The penalty is added to the gradient, before the moments, as in PyTorch's `weight_decay` of
    Adam and SGD; AdamW would decouple it. The updates are still to be multiplied by minus the
    learning rate, which the caller knows from the epoch.

    Args:
        name: `adam` or `sgd`.
        l2: Factor of the parameters that is added to their gradients.
        momentum: Of SGD; 0 for none.

    Raises:
        ValueError: Another name.
    """
    penalty = optax.add_decayed_weights(l2)
    if name == "adam":
        return optax.chain(penalty, optax.scale_by_adam())
    if name == "sgd":
        return optax.chain(penalty, optax.trace(momentum) if momentum else optax.identity())
    raise ValueError(f"Unknown optimizer {name!r}: adam or sgd.")


def moving_average(average: Any, new: Any, *, step: jax.Array, decay: float) -> Any:
    """The exponential moving average of trees of arrays after one step more.

    Each leaf becomes `d · average + (1 − d) · new`, with d the lesser of `decay` and `(1 + step) /
    (10 + step)`, so that what training began with is soon forgotten; as the moving averages of
    TensorFlow's optimizers do.

    Args:
        average: The average so far.
        new: The same tree after this step.
        step: Steps before this one, a scalar.
        decay: Nearly 1.
    """
    at_first = (1 + step) / (10 + step)
    kept = jnp.minimum(decay, at_first).astype(jnp.float32)
    return jax.tree.map(lambda old, now: kept * old + (1 - kept) * now, average, new)


def learning_rate(
    epoch: jax.Array,
    *,
    base: float,
    warmup_epochs: int,
    warmup_factor: float,
    decay_epochs: Sequence[int],
    decay_factor: float,
    cosine_epochs: int | None = None,
) -> jax.Array:
    """The learning rate of an epoch: a linear warm-up, then steps or half a cosine.

    Args:
        epoch: Epochs completed, 0 in the first; a scalar.
        base: The rate after warm-up.
        warmup_epochs: Epochs until `base` is reached.
        warmup_factor: Share of `base` in the first epoch.
        decay_epochs: Epochs after which the rate is multiplied by `decay_factor`.
        decay_factor: See `decay_epochs`.
        cosine_epochs: Epochs of the whole schedule, for `base · (1 + cos πt) / 2` after the warm-up
            instead of the steps, with t from 0 to 1 (Loshchilov and Hutter, "SGDR", ICLR 2017,
            without restarts); None for steps.

    Returns:
        float32 scalar.
    """
    progress = jnp.minimum(epoch / max(warmup_epochs, 1), 1.0) if warmup_epochs else 1.0
    warmup = warmup_factor + (1 - warmup_factor) * progress
    if cosine_epochs is not None:
        done = (epoch - warmup_epochs) / max(cosine_epochs - warmup_epochs, 1)
        left = (1 + jnp.cos(jnp.pi * jnp.clip(done, 0, 1))) / 2
        return jnp.asarray(base * warmup * left, jnp.float32)
    decays = sum(((epoch >= limit).astype(jnp.float32) for limit in decay_epochs), jnp.zeros(()))
    return jnp.asarray(base * warmup * decay_factor**decays, jnp.float32)
