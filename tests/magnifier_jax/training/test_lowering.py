"""The programs lowered for accelerators, which needs none: what has no lowering there fails."""

import jax
import jax.export
import jax.numpy as jnp
import pytest

from configs import quickstart
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding import forward
from magnifier_jax.training import step as steps
from magnifier_jax.training.step import TrainBatch

BATCH, HEIGHT, WIDTH = 16, 64, 32
ACCELERATORS = ("tpu", "cuda")


def make_config(precision):
    config = quickstart.get_config()
    config.model.backbone = "tiny"
    config.model.parsing_features = 8
    config.precision = precision
    return Config.from_mapping(config.to_dict())


def image_batch(count):
    return TrainBatch(
        images=jax.ShapeDtypeStruct((count, HEIGHT, WIDTH, 3), jnp.uint8),
        part_maps=jax.ShapeDtypeStruct((count, HEIGHT, WIDTH), jnp.uint8),
        labels=jax.ShapeDtypeStruct((count,), jnp.int32),
    )


@pytest.fixture(scope="module", params=["float32", "bf16"])
def network(request):
    config = make_config(request.param)
    mesh = make_mesh(jax.devices()[:8])
    model = steps.build_model(config, num_identities=4)
    return config, model, mesh, steps.abstract_state(config, model, mesh)


def check(exported, *, devices):
    assert exported.platforms == ACCELERATORS
    assert exported.nr_devices == devices
    # What platform_dependent chooses for either is in the one module.
    assert "stablehlo.case" in exported.mlir_module()
    assert len(exported.mlir_module_serialized) > 10_000


def test_training_step(network):
    config, model, mesh, state = network
    step = steps.make_train_step(config, model, mesh)
    epoch = jax.ShapeDtypeStruct((), jnp.int32)
    exported = jax.export.export(step, platforms=ACCELERATORS)(state, image_batch(BATCH), epoch)
    check(exported, devices=8)
    after, _ = jax.tree.unflatten(exported.out_tree, exported.out_avals)
    assert [x.shape for x in jax.tree.leaves(after)] == [x.shape for x in jax.tree.leaves(state)]
    assert ("bf16" in exported.mlir_module()) == (config.precision == "bf16")


def test_resident_training_step(network):
    config, model, mesh, state = network
    step = steps.make_resident_train_step(config, model, mesh)
    ids, epoch = jax.ShapeDtypeStruct((BATCH,), jnp.int32), jax.ShapeDtypeStruct((), jnp.int32)
    lower = jax.export.export(step, platforms=ACCELERATORS)
    check(lower(state, image_batch(64), ids, epoch), devices=8)


def test_descriptor(network):
    _, model, mesh, state = network
    describe = forward.make_embed(model, mesh)
    lower = jax.export.export(describe, platforms=ACCELERATORS)
    exported = lower(state.variables, image_batch(BATCH).images)
    check(exported, devices=8)
    assert (BATCH, 256) in [aval.shape for aval in exported.out_avals]
