import dataclasses
from collections.abc import Callable

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs import quickstart
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh, put_batch, put_replicated
from magnifier_jax.embedding import forward
from magnifier_jax.evaluation.heat_maps import make_heat
from magnifier_jax.training import step as steps
from magnifier_jax.training.step import TrainBatch, TrainState

IDENTITIES = 6
EPOCH = np.int32(4)  # from which on diversity counts


def config(**changes):
    config = quickstart.get_config()
    config.model.backbone = "tiny"
    config.model.parsing_features = 8
    config.data.image_size = (32, 16)
    # Plain SGD at a low rate: Adam's first steps turn rounding into differences of their size.
    config.optimizer.name = "sgd"
    config.optimizer.learning_rate = 1e-3
    config.augment.erasing = 0.5
    config.loss.diversity_start_epoch = int(EPOCH)
    config.update_from_flattened_dict(changes)
    return Config.from_mapping(config.to_dict())


def batch(seed=0, count=16):
    rng = np.random.default_rng(seed)
    images = rng.integers(0, 256, (count, 32, 16, 3), dtype=np.uint8)
    parts = np.kron(rng.integers(0, 8, (count, 8, 4)), np.ones((1, 4, 4))).astype(np.uint8)
    return TrainBatch(images, parts, np.arange(count, dtype=np.int32) // 4)


@dataclasses.dataclass(frozen=True)
class Steps:
    """Five steps: what was compiled for them, the state after, and the metrics of each."""

    step: Callable
    state: TrainState
    metrics: list[dict[str, float]]


def run(settings, mesh):
    model = steps.build_model(settings, num_identities=IDENTITIES)
    state = steps.initial_state(settings, model, mesh)
    step = steps.make_train_step(settings, model, mesh)
    epoch = put_replicated(EPOCH, mesh)
    found = []
    for number in range(5):
        state, metrics = step(state, put_batch(batch(number), mesh), epoch)
        found.append({name: float(value) for name, value in metrics.items()})
    return Steps(step, state, found)


@pytest.fixture(scope="module")
def on_one():
    return run(config(), make_mesh(jax.devices()[:1]))


def test_eight_devices_equal_one(on_one):
    one = on_one.metrics
    eight = run(config(), make_mesh(jax.devices()[:8])).metrics
    assert len(one[0]) >= 24
    for first, second in zip(one, eight, strict=True):
        assert first.keys() == second.keys()
        for name in first:
            np.testing.assert_allclose(first[name], second[name], rtol=1e-5, atol=1e-5)


def test_the_loss_falls_on_a_repeated_batch():
    settings = config(
        **{
            "optimizer.name": "adam",
            "optimizer.learning_rate": 0.003,
            "augment.flip": 0.0,
            "augment.pad": 0,
            "augment.erasing": 0.0,
        }
    )
    mesh = make_mesh(jax.devices()[:1])
    model = steps.build_model(settings, num_identities=IDENTITIES)
    state = steps.initial_state(settings, model, mesh)
    step = steps.make_train_step(settings, model, mesh)
    fixed = put_batch(batch(), mesh)
    totals = []
    for _ in range(40):
        state, metrics = step(state, fixed, put_replicated(np.int32(3), mesh))
        totals.append(float(metrics["total"]))
    assert np.mean(totals[-5:]) < 0.8 * np.mean(totals[:5]), totals
    assert int(state.step) == 40


def test_resident_images_give_the_same_numbers(on_one):
    settings, mesh = config(), make_mesh(jax.devices()[:1])
    model = steps.build_model(settings, num_identities=IDENTITIES)
    state = steps.initial_state(settings, model, mesh)
    step = steps.make_resident_train_step(settings, model, mesh)
    whole = jax.tree.map(
        lambda *arrays: np.concatenate(arrays), *(batch(number) for number in range(5))
    )
    resident = put_replicated(whole, mesh)
    for number in range(5):
        ids = put_batch(np.arange(16, dtype=np.int32) + 16 * number, mesh)
        state, metrics = step(state, resident, ids, put_replicated(EPOCH, mesh))
        # Two programs, which the compiler may order differently.
        assert metrics == pytest.approx(on_one.metrics[number], rel=1e-5, abs=1e-6)


@pytest.mark.parametrize(
    ("changes", "absent", "present"),
    [
        (
            {
                "model.use_adversarial": False,
                "model.use_fusion": False,
                "model.use_parsing": False,
                "data.part_labels": "none",
            },
            {"parsing", "fusion_id", "adversarial_id", "diversity"},
            {"global_id", "global_triplet"},
        ),
        ({"model.use_global": False}, {"global_id"}, {"fusion_id", "parsing", "part7_id"}),
        (
            {"occlusion.per_picture": True, "precision": "bf16"},
            set(),
            {"global_id", "fusion_triplet", "adversarial_weight", "diversity"},
        ),
    ],
    ids=["global only", "no global", "occlusion per image in bf16"],
)
def test_switches(changes, absent, present):
    settings, mesh = config(**changes), make_mesh(jax.devices()[:1])
    model = steps.build_model(settings, num_identities=IDENTITIES)
    state = steps.initial_state(settings, model, mesh)
    one = batch()
    if settings.data.part_labels == "none":
        one = dataclasses.replace(one, part_maps=None)
    step = steps.make_train_step(settings, model, mesh)
    state, metrics = step(state, put_batch(one, mesh), put_replicated(np.int32(0), mesh))
    assert present <= metrics.keys()
    assert not absent & metrics.keys()
    assert np.isfinite([float(value) for value in metrics.values()]).all()
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(state.params))
    described = forward.make_embed(model, mesh)(state.variables, put_batch(one.images, mesh))
    assert described.descriptor.dtype == jnp.float32
    np.testing.assert_allclose(np.linalg.norm(described.descriptor, axis=1), 1.0, rtol=1e-4)


def test_diversity_counts_from_its_epoch(on_one):
    mesh = make_mesh(jax.devices()[:1])
    model = steps.build_model(config(), num_identities=IDENTITIES)
    totals = {}
    for epoch in (EPOCH - 1, EPOCH):
        state = steps.initial_state(config(), model, mesh)
        _, totals[epoch] = on_one.step(
            state, put_batch(batch(), mesh), put_replicated(np.int32(epoch), mesh)
        )
    gap = float(totals[EPOCH]["total"] - totals[EPOCH - 1]["total"])
    expected = config().loss.weights.diversity * float(totals[EPOCH]["diversity"])
    assert expected > 1e-3
    assert gap == pytest.approx(expected, rel=1e-2)  # of two totals in float32


def test_what_is_asked_for_again_is_not_compiled_again():
    mesh = make_mesh(jax.devices()[:1])
    made = []
    for _ in range(2):
        model = steps.build_model(config(), num_identities=IDENTITIES)
        step = steps.make_train_step(config(), model, mesh)
        made.append((step, forward.make_embed(model, mesh), make_heat(config(), model)))
    assert made[0] == made[1]
    assert forward.make_embed(model, mesh, flip=True) != made[0][1]
    assert forward.make_embed(model, make_mesh(jax.devices()[:2])) != made[0][1]
    others = steps.build_model(config(), num_identities=IDENTITIES + 1)
    assert steps.make_train_step(config(), others, mesh) != made[0][0]
    assert steps.make_train_step(config(seed=1), model, mesh) != made[0][0]
    # Whoever changes a tree changes no other.
    tree = steps.abstract_state(config(), model, mesh).params
    tree.clear()
    assert steps.abstract_state(config(), model, mesh).params


def test_describe(on_one):
    mesh = make_mesh(jax.devices()[:1])
    model = steps.build_model(config(), num_identities=IDENTITIES)
    variables, images = on_one.state.variables, put_batch(batch().images, mesh)
    plain = forward.make_embed(model, mesh)(variables, images)
    assert plain.part_embeddings.shape[:2] == (16, 8)
    assert plain.part_map.shape == (16, 16, 8)
    np.testing.assert_allclose(np.sum(plain.part_shares, axis=1), 1.0, rtol=1e-5)
    flipped = forward.make_embed(model, mesh, flip=True)
    both = flipped(variables, images)
    first = both.descriptor
    second = flipped(variables, images[:, :, ::-1]).descriptor
    np.testing.assert_allclose(first, second, atol=1e-5)
    assert not np.allclose(first, plain.descriptor, atol=1e-3)
    assert plain.unflipped is None
    np.testing.assert_allclose(both.unflipped, plain.descriptor, atol=1e-5)
    np.testing.assert_allclose(both.part_embeddings, plain.part_embeddings, atol=1e-5)


def test_what_is_kept_for_the_gradient_changes_no_number(on_one):
    found = run(config(**{"train.keep_activations": "stages"}), make_mesh(jax.devices()[:1]))
    for now, before in zip(found.metrics, on_one.metrics, strict=True):
        assert now == pytest.approx(before, rel=1e-5)
    largest = max(float(jnp.abs(leaf).max()) for leaf in jax.tree.leaves(on_one.state.variables))
    for now, before in zip(
        jax.tree.leaves(found.state.variables),
        jax.tree.leaves(on_one.state.variables),
        strict=True,
    ):
        np.testing.assert_allclose(now, before, atol=1e-6 * largest)


def test_less_is_kept_for_the_gradient():
    images = jnp.zeros((4, 64, 32, 3))
    labels = jnp.zeros((4, 8, 4), jnp.int32)  # ResNet-18 has a cell for 8 × 8 pixels.

    def kept(keep):
        """Bytes that the gradient needs of the forward pass."""
        settings = config(**{"train.keep_activations": keep, "model.backbone": "resnet18"})
        model = steps.build_model(settings, num_identities=IDENTITIES)
        options = {"train": True, "part_labels": labels}
        variables = jax.eval_shape(lambda: model.init(jax.random.key(0), images, **options))

        def features(params, stats):
            outputs, _ = model.apply(
                {"params": params, "batch_stats": stats}, images, **options, mutable=["batch_stats"]
            )
            return outputs.descriptor

        backward = jax.eval_shape(
            lambda v: jax.vjp(lambda p: features(p, v["batch_stats"]), v["params"])[1], variables
        )
        return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(backward))

    everything, blocks, stages = map(kept, ("all", "blocks", "stages"))
    assert stages < blocks < everything
