"""How much the loss of the body parts must count, or weight decay takes their classifiers away.

    python -m benchmarks.part_losses
    python -m benchmarks.part_losses --identities 200 --weights 0.0125 0.05

A classifier and the neck before it are trained alone, as `magnifier_jax` trains those of a body
part: Adam with the L2 penalty added to the gradient, batches of 16 identities with 4 images each,
the loss times `config.loss.parts` and 0.5 (the weight of a part that no image shows). The features
stand for a network that has learned to tell people apart: a random vector for each identity makes
up 30 % of their variance, noise the rest. What is printed is the neck's mean scale, which begins
at 1, and the mean loss beside that of guessing. It says where decay wins, not how good a network
becomes.
"""

from __future__ import annotations

import argparse
import dataclasses
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax

from magnifier_jax.tables import table

PEOPLE, IMAGES = 16, 4
SIGNAL = 0.3
HIDDEN = 0.5  # Sigmoid of a share of 0, which multiplies the loss of a part.


@dataclasses.dataclass(frozen=True)
class Course:
    """What became of a neck and its classifier.

    Attributes:
        identities: Classes.
        weight: `config.loss.parts`.
        scales: Mean absolute scale of the neck after each quarter of the steps.
        loss: Mean loss of the last quarter.
    """

    identities: int
    weight: float
    scales: tuple[float, ...]
    loss: float

    def row(self) -> list[str]:
        """For the table."""
        scales = ", ".join(f"{scale:.2f}" for scale in self.scales)
        guess = np.log(self.identities)
        return [f"{self.identities:,}", f"{self.weight:g}", scales, f"{self.loss:.2f}/{guess:.2f}"]


def batches(identities: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Labels `[64]`; every identity comes once before any comes again."""
    waiting: list[int] = []
    while True:
        if len(waiting) < PEOPLE:
            waiting = rng.permutation(identities).tolist()
        chosen, waiting = waiting[:PEOPLE], waiting[PEOPLE:]
        yield np.repeat(chosen, IMAGES)


def course(identities: int, weight: float, *, steps: int, rate: float, channels: int) -> Course:
    """Trains one neck and its classifier."""
    rng = np.random.default_rng(0)
    people = jnp.asarray(rng.normal(size=(identities, channels)), jnp.float32)
    params: Any = {
        "scale": jnp.ones(channels),
        "kernel": jnp.asarray(rng.normal(0, 1e-3, (channels, identities)), jnp.float32),
    }
    optimizer = optax.chain(optax.add_decayed_weights(5e-4), optax.adam(rate))

    def loss(params: Any, features: jax.Array, labels: jax.Array) -> jax.Array:
        logits = (features * params["scale"][None]) @ params["kernel"]
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    @jax.jit
    def step(params: Any, state: Any, key: jax.Array, labels: jax.Array) -> Any:
        noise = jax.random.normal(key, (len(labels), channels))
        features = SIGNAL**0.5 * people[labels] + (1 - SIGNAL) ** 0.5 * noise
        value, slopes = jax.value_and_grad(loss)(params, features, labels)
        slopes = jax.tree.map(lambda slope: slope * weight * HIDDEN, slopes)
        updates, state = optimizer.update(slopes, state, params)
        return optax.apply_updates(params, updates), state, value

    state, losses, scales = optimizer.init(params), [], []
    for number, labels in zip(range(steps), batches(identities, rng), strict=False):
        params, state, value = step(params, state, jax.random.key(number), jnp.asarray(labels))
        losses.append(value)
        if (number + 1) % (steps // 4) == 0:
            scales.append(float(jnp.abs(params["scale"]).mean()))
    return Course(identities, weight, tuple(scales), float(np.mean(losses[-(steps // 4) :])))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    add = parser.add_argument
    add("--identities", type=int, nargs="+", default=[751, 10_000])
    add("--weights", type=float, nargs="+", default=[0.0125, 0.1, 1.0], help="config.loss.parts")
    add("--steps", type=int, default=2000)
    add("--learning-rate", type=float, default=5e-4)
    add("--channels", type=int, default=128)
    given = parser.parse_args(arguments)
    rows = []
    for identities in given.identities:
        for weight in given.weights:
            found = course(
                identities,
                weight,
                steps=given.steps,
                rate=given.learning_rate,
                channels=given.channels,
            )
            print(" ".join(found.row()), flush=True)
            rows.append(found.row())
    print(table(["identities", "loss.parts", "scale of the neck", "loss/guess"], rows))


if __name__ == "__main__":
    main()
