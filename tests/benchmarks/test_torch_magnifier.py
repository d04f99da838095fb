"""The PyTorch network that we measure against is the published one too."""

from __future__ import annotations

import dataclasses
import json
import pathlib
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import optax
import pytest

from magnifier_jax.interop import from_torch_state_dict, to_torch_state_dict, write_torch_file
from magnifier_jax.model import BackboneSpec, MagnifierNet
from magnifier_jax.training.losses import LossWeights, total_loss
from magnifier_jax.training.optimizer import make_optimizer
from tests.reference_weights import GOLDEN, NUM_IDENTITIES, ReferenceBatch, batch, torch_state

torch = pytest.importorskip("torch")
torch_magnifier = pytest.importorskip("benchmarks.torch_magnifier")


@pytest.fixture(scope="module")
def golden() -> dict[str, np.ndarray]:
    with np.load(GOLDEN / "model_seed0.npz") as arrays:
        return dict(arrays)


def reference_network() -> Any:
    network = torch_magnifier.MagnifierNet(NUM_IDENTITIES)
    tensors = {name: torch.from_numpy(array) for name, array in torch_state().items()}
    network.load_state_dict(tensors)
    return network.double()


@pytest.fixture(scope="module")
def network() -> Iterator[Any]:
    network = reference_network()
    yield network.eval()
    del network


def images(reference: Any) -> Any:
    return torch.from_numpy(reference.images.transpose(0, 3, 1, 2).copy()).double()


def relative_error(found: Any, expected: np.ndarray) -> float:
    found = found.detach().numpy()
    return float(np.linalg.norm(found - expected) / np.linalg.norm(expected))


def test_names_are_the_originals(network: Any) -> None:
    shapes = {name: list(tensor.shape) for name, tensor in network.state_dict().items()}
    expected = json.loads((GOLDEN / "state_dict_spec.json").read_text())
    assert shapes == expected
    assert list(shapes) == list(expected)


def test_descriptors(network: Any, golden: dict[str, np.ndarray]) -> None:
    with torch.no_grad():
        outputs = network.eval()(images(batch(4, height=128, width=64)))
    assert relative_error(outputs.descriptor, golden["eval_small_features"]) < 1e-5
    assert relative_error(outputs.parsing_logits, golden["eval_small_part_logits"]) < 1e-5


def test_training(golden: dict[str, np.ndarray]) -> None:
    network = reference_network().train()
    reference = batch(8, height=128, width=64)
    labels, parts = torch.from_numpy(reference.labels), torch.from_numpy(reference.part_labels)
    hidden = torch.zeros(8, dtype=torch.bool)
    hidden[golden["erased_parts"]] = True
    optimizer = torch_magnifier.make_optimizer(network)
    terms = torch_magnifier.losses(network(images(reference), parts, hidden), labels, parts)
    assert {f"loss_{name}" for name in terms} <= golden.keys()
    for name, value in terms.items():
        assert value.item() == pytest.approx(golden[f"loss_{name}"], rel=1e-7), name
    terms["total"].backward()
    norms = json.loads((GOLDEN / "grad_norms_seed0.json").read_text())
    for name, parameter in network.named_parameters():
        assert (parameter.grad is None) == (norms[name] is None), name
        if norms[name] is not None and norms[name] > 1e-9:
            assert parameter.grad.norm().item() == pytest.approx(norms[name], rel=1e-5), name
    optimizer.step()
    with torch.no_grad():
        terms = torch_magnifier.losses(network(images(reference), parts, hidden), labels, parts)
    assert terms["total"].item() == pytest.approx(golden["adam_loss_trajectory"][1], rel=1e-2)


@dataclasses.dataclass(frozen=True)
class Pair:
    """The same narrow network twice, with the same random weights, and a batch for it."""

    theirs: Any
    ours: MagnifierNet
    variables: Any
    reference: ReferenceBatch


@pytest.fixture
def pair() -> Pair:
    torch.manual_seed(0)
    blocks, width = (1, 1, 1, 1), 4
    theirs = torch_magnifier.MagnifierNet(767, blocks=blocks, width=width, parsing_width=8)
    spec = BackboneSpec(blocks, width=width)
    ours = MagnifierNet(767, spec, parsing_features=8, stem_relu=False)
    state = {name: tensor.numpy().copy() for name, tensor in theirs.state_dict().items()}
    imported = from_torch_state_dict(state, ours)
    assert not str(imported.report)
    return Pair(theirs, ours, imported.variables, batch(8, height=64, width=32))


def test_running_statistics_after_a_step_are_theirs(pair: Pair) -> None:
    """Above all the unbiased running variance."""

    def statistics(variables: Any, images: Any, labels: Any) -> Any:
        return pair.ours.apply(
            variables, images, train=True, part_labels=labels, mutable=["batch_stats"]
        )[1]

    reference = pair.reference
    pair.theirs.train()(images(reference).float(), torch.from_numpy(reference.part_labels))
    new = jax.jit(statistics)(pair.variables, reference.images, reference.part_labels)
    variables = {"params": pair.variables["params"], **jax.device_get(new)}
    exported = to_torch_state_dict(variables, pair.ours, num_batches_tracked=1)
    for name, tensor in pair.theirs.state_dict().items():
        np.testing.assert_allclose(
            exported[name], tensor.numpy(), rtol=2e-3, atol=1e-5, err_msg=name
        )


def test_after_twenty_steps_here_theirs_describes_the_same(
    pair: Pair, tmp_path: pathlib.Path
) -> None:
    """PyTorch to here, trained here, and back through a file."""
    optimizer = make_optimizer("adam", l2=5e-4)

    def loss(params: Any, stats: Any) -> Any:
        outputs, new = pair.ours.apply(
            {"params": params, **stats},
            pair.reference.images,
            train=True,
            part_labels=pair.reference.part_labels,
            mutable=["batch_stats"],
        )
        terms = total_loss(
            outputs, pair.reference.labels, pair.reference.part_labels, LossWeights()
        )
        return terms[0], new

    @jax.jit
    def step(params: Any, stats: Any, state: Any) -> Any:
        (total, stats), gradients = jax.value_and_grad(loss, has_aux=True)(params, stats)
        updates, state = optimizer.update(gradients, state, params)
        updates = jax.tree.map(lambda update: -3.5e-4 * update, updates)
        return optax.apply_updates(params, updates), stats, state, total

    params, stats = pair.variables["params"], {"batch_stats": pair.variables["batch_stats"]}
    state = optimizer.init(params)
    totals = []
    for _ in range(20):
        params, stats, state, total = step(params, stats, state)
        totals.append(float(total))
    assert totals[-1] < 0.8 * totals[0]

    variables = jax.device_get({"params": params, **stats})
    exported = to_torch_state_dict(variables, pair.ours, num_batches_tracked=20)
    write_torch_file(tmp_path / "trained.pth", exported)
    pair.theirs.load_state_dict(torch.load(tmp_path / "trained.pth", weights_only=True))
    with torch.no_grad():
        theirs = pair.theirs.eval()(images(pair.reference).float())
    ours = jax.jit(lambda v, x: pair.ours.apply(v, x, train=False))(
        variables, pair.reference.images
    )
    assert relative_error(theirs.descriptor, np.asarray(ours.descriptor)) < 1e-4
    parsing = np.asarray(ours.parsing_logits).transpose(0, 3, 1, 2)
    assert relative_error(theirs.parsing_logits, parsing) < 1e-4
