"""The network against the numbers that the original MagnifierNet computed in float64.

In float64 the comparison shows whether the mathematics is the same; float32 then shows what the
shorter numbers cost.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from collections.abc import Iterator
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from magnifier_jax.interop import from_torch_state_dict, to_torch_state_dict
from magnifier_jax.model import BACKBONES, MagnifierNet, Outputs
from magnifier_jax.training.losses import LossWeights, total_loss
from magnifier_jax.training.optimizer import make_optimizer
from tests.reference_weights import GOLDEN, NUM_IDENTITIES, ReferenceBatch, batch, torch_state

pytestmark = pytest.mark.slow

L2 = 5e-4
EVALUATION = {"small": (4, 128, 64), "full": (2, 384, 192)}
TRAINING_OUTPUTS = [
    *(
        f"{branch}_{kind}"
        for branch in ("global", "adversarial", "fusion")
        for kind in ("logits", "embedding")
    ),
    "part_embeddings",
]
# A gradient below this is zero in exact arithmetic: a part's weight before a batch norm.
ZERO_GRADIENT = 1e-9


@pytest.fixture(scope="module", autouse=True)
def _optimized() -> Iterator[None]:
    """Programs as users run them: the original's network is large enough to need them."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    yield
    jax.config.update("jax_disable_most_optimizations", before)


@dataclasses.dataclass(frozen=True)
class Trained:
    """What one pass over the training batch gives."""

    terms: dict[str, jax.Array]
    outputs: Outputs
    gradients: Any


@dataclasses.dataclass(frozen=True)
class System:
    """The network in one precision, with the reference weights."""

    model: MagnifierNet
    params: Any
    batch_stats: Any
    wide: bool

    @contextlib.contextmanager
    def precision(self) -> Iterator[None]:
        with jax.enable_x64(self.wide):
            yield

    def evaluate(self, reference: ReferenceBatch) -> Outputs:
        with self.precision():
            return _evaluate(self.model, self.params, self.batch_stats, self._images(reference))

    def train(self, params: Any | None = None) -> Trained:
        reference = batch(8, height=128, width=64)
        hidden = np.zeros((1, 8), bool)
        hidden[0, golden()["erased_parts"]] = True
        params = self.params if params is None else params
        with self.precision():
            (_, (terms, outputs)), gradients = _train(
                self.model,
                params,
                self.batch_stats,
                self._images(reference),
                jnp.asarray(reference.labels),
                jnp.asarray(reference.part_labels),
                jnp.asarray(hidden),
            )
        return Trained(terms, outputs, gradients)

    def totals(
        self, optimizer: optax.GradientTransformation, rate: float, steps: int
    ) -> list[float]:
        """The totals before each step, on the same batch."""
        params = self.params
        found = []
        with self.precision():
            state = optimizer.init(params)
            step = jax.jit(functools.partial(_step, optimizer, rate))
            for _ in range(steps):
                trained = self.train(params)
                found.append(float(trained.terms["total"]))
                params, state = step(params, state, trained.gradients)
        return found

    def _images(self, reference: ReferenceBatch) -> jax.Array:
        return jnp.asarray(reference.images, self.model.dtype)


@functools.partial(jax.jit, static_argnums=0)
def _evaluate(model: MagnifierNet, params: Any, batch_stats: Any, images: jax.Array) -> Outputs:
    return model.apply({"params": params, "batch_stats": batch_stats}, images, train=False)


@functools.partial(jax.jit, static_argnums=0)
def _train(model, params, batch_stats, images, labels, part_labels, hidden):
    def loss(params):
        outputs, _ = model.apply(
            {"params": params, "batch_stats": batch_stats},
            images,
            train=True,
            part_labels=part_labels,
            hidden=hidden,
            mutable=["batch_stats"],
        )
        total, terms = total_loss(outputs, labels, part_labels, LossWeights())
        return total, (terms, outputs)

    return jax.value_and_grad(loss, has_aux=True)(params)


def _step(optimizer, rate, params, state, gradients):
    updates, state = optimizer.update(gradients, state, params)
    return optax.apply_updates(params, jax.tree.map(lambda update: -rate * update, updates)), state


@functools.cache
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "model_seed0.npz") as arrays:
        return dict(arrays)


@functools.cache
def system(wide: bool) -> System:
    dtype = jnp.float64 if wide else jnp.float32
    model = MagnifierNet(
        NUM_IDENTITIES, BACKBONES["resnet50"], stem_relu=False, dtype=dtype, param_dtype=dtype
    )
    with jax.enable_x64(wide):
        imported = from_torch_state_dict(torch_state(), model)
        assert not str(imported.report)
        variables = jax.device_put(imported.variables)
    return System(model, variables["params"], variables["batch_stats"], wide)


@pytest.fixture(scope="module")
def exact() -> System:
    return system(True)


@pytest.fixture(scope="module")
def single() -> System:
    return system(False)


@pytest.fixture(scope="module")
def exact_training(exact: System) -> Trained:
    return exact.train()


@pytest.fixture(scope="module")
def single_training(single: System) -> Trained:
    return single.train()


def relative_error(found: Any, expected: np.ndarray) -> float:
    found = np.asarray(found, np.float64)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def gradient_errors(trained: Trained, system: System) -> dict[str, float]:
    """The relative error of every gradient norm, by the original's tensor names."""
    norms = json.loads((GOLDEN / "grad_norms_seed0.json").read_text())
    # Statistics stand in for gradients that do not exist, so that the names can be told.
    tree = {"params": trained.gradients, "batch_stats": system.batch_stats}
    gradients = to_torch_state_dict(jax.device_get(tree), system.model)
    return {
        name: abs(float(np.linalg.norm(gradients[name])) - norm) / norm
        for name, norm in norms.items()
        if norm is not None and norm > ZERO_GRADIENT
    }


@pytest.mark.parametrize("size", EVALUATION)
@pytest.mark.parametrize(("wide", "tolerance"), [(True, 1e-5), (False, 1e-4)])
def test_descriptors_and_part_logits(size: str, wide: bool, tolerance: float) -> None:
    number, height, width = EVALUATION[size]
    outputs = system(wide).evaluate(batch(number, height=height, width=width))
    expected = golden()[f"eval_{size}_part_logits"].transpose(0, 2, 3, 1)
    assert relative_error(outputs.descriptor, golden()[f"eval_{size}_features"]) < tolerance
    assert relative_error(outputs.parsing_logits, expected) < tolerance


@pytest.mark.parametrize("name", TRAINING_OUTPUTS)
def test_training_outputs(exact_training: Trained, single_training: Trained, name: str) -> None:
    expected = golden()[f"train_{name}"]
    assert relative_error(getattr(exact_training.outputs, name), expected) < 1e-5
    assert relative_error(getattr(single_training.outputs, name), expected) < 2e-3


def test_loss_terms(exact_training: Trained, single_training: Trained) -> None:
    expected = {
        name.removeprefix("loss_"): float(value)
        for name, value in golden().items()
        if name.startswith("loss_")
    }
    assert expected.keys() == exact_training.terms.keys()
    for name, value in expected.items():
        assert float(exact_training.terms[name]) == pytest.approx(value, rel=1e-7), name
        assert float(single_training.terms[name]) == pytest.approx(value, rel=1e-4), name


def test_gradient_norms(
    exact: System, exact_training: Trained, single: System, single_training: Trained
) -> None:
    errors = gradient_errors(exact_training, exact)
    assert max(errors.values()) < 1e-5
    assert max(gradient_errors(single_training, single).values()) < 3e-2


def test_every_trained_tensor_is_a_parameter(exact: System) -> None:
    norms = json.loads((GOLDEN / "grad_norms_seed0.json").read_text())
    marked = {
        "params": jax.tree.map(np.ones_like, jax.device_get(exact.params)),
        "batch_stats": jax.tree.map(np.zeros_like, jax.device_get(exact.batch_stats)),
    }
    state = to_torch_state_dict(marked, exact.model)
    assert {name for name in norms if state[name].all()} == {
        name for name, norm in norms.items() if norm is not None
    }


def test_gradients_that_are_zero_in_exact_arithmetic(
    exact: System, exact_training: Trained
) -> None:
    norms = json.loads((GOLDEN / "grad_norms_seed0.json").read_text())
    tree = {"params": exact_training.gradients, "batch_stats": exact.batch_stats}
    gradients = to_torch_state_dict(jax.device_get(tree), exact.model)
    for name, norm in norms.items():
        if norm is not None and norm <= ZERO_GRADIENT:
            assert np.linalg.norm(gradients[name]) < ZERO_GRADIENT, name


def test_sgd_follows_the_original(exact: System) -> None:
    totals = exact.totals(make_optimizer("sgd", l2=L2, momentum=0.0), 2e-6, 10)
    expected = golden()["sgd_loss_trajectory"]
    np.testing.assert_allclose(totals[:4], expected[:4], rtol=1e-4)
    np.testing.assert_allclose(totals, expected, rtol=2e-2)


def test_adam_follows_the_original(exact: System) -> None:
    totals = exact.totals(make_optimizer("adam", l2=L2), 3.5e-4, 3)
    np.testing.assert_allclose(totals, golden()["adam_loss_trajectory"][:3], rtol=1e-2)
