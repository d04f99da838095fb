"""The optimizer and the learning rate of the published recipe."""

from __future__ import annotations

from collections.abc import Sequence

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


def learning_rate(
    epoch: jax.Array,
    *,
    base: float,
    warmup_epochs: int,
    warmup_factor: float,
    decay_epochs: Sequence[int],
    decay_factor: float,
) -> jax.Array:
    """The learning rate of an epoch: a linear warm-up, then steps.

    Args:
        epoch: Epochs completed, 0 in the first; a scalar.
        base: The rate after warm-up.
        warmup_epochs: Epochs until `base` is reached.
        warmup_factor: Share of `base` in the first epoch.
        decay_epochs: Epochs after which the rate is multiplied by `decay_factor`.
        decay_factor: See `decay_epochs`.

    Returns:
        float32 scalar.
    """
    progress = jnp.minimum(epoch / max(warmup_epochs, 1), 1.0) if warmup_epochs else 1.0
    warmup = warmup_factor + (1 - warmup_factor) * progress
    decays = sum(((epoch >= limit).astype(jnp.float32) for limit in decay_epochs), jnp.zeros(()))
    return jnp.asarray(base * warmup * decay_factor**decays, jnp.float32)
