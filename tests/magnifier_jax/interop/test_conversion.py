"""Variables from PyTorch's names and back."""

from __future__ import annotations

import dataclasses
import functools
import json

import jax
import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.interop import backbone_from_torch, from_torch_state_dict, to_torch_state_dict
from magnifier_jax.model import BACKBONES, MagnifierNet
from tests.reference_weights import GOLDEN

MODEL = MagnifierNet(5, BACKBONES["tiny"], parsing_features=4)


@functools.cache
def initial(model: MagnifierNet = MODEL) -> dict:
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(1), jnp.zeros((1, 16, 8, 3)), train=False)
    )
    rng = np.random.default_rng(1)
    return jax.tree.map(lambda leaf: rng.standard_normal(leaf.shape).astype(leaf.dtype), shapes)


def random_state(model: MagnifierNet = MODEL) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    state = to_torch_state_dict(initial(model), model, num_batches_tracked=7)
    for name, array in state.items():
        if array.dtype == np.float32:
            state[name] = rng.standard_normal(array.shape).astype(np.float32)
    return state


def assert_same(found: dict[str, np.ndarray], expected: dict[str, np.ndarray]) -> None:
    assert list(found) == list(expected)
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


def test_names_and_shapes_are_the_originals() -> None:
    model = MagnifierNet(767, BACKBONES["resnet50"])
    shapes = jax.eval_shape(
        lambda: model.init(jax.random.key(0), jnp.zeros((1, 32, 16, 3)), train=False)
    )
    zeros = jax.tree.map(lambda leaf: np.broadcast_to(np.float32(0), leaf.shape), shapes)
    state = to_torch_state_dict(zeros, model)
    expected = json.loads((GOLDEN / "state_dict_spec.json").read_text())
    assert {name: list(array.shape) for name, array in state.items()} == expected
    assert list(state) == list(expected)


@pytest.mark.parametrize("prefix", ["", "module.", "_orig_mod.", "module._orig_mod."])
def test_round_trip_loses_nothing(prefix: str) -> None:
    state = random_state()
    imported = from_torch_state_dict({prefix + name: a for name, a in state.items()}, MODEL)
    assert not str(imported.report)
    assert imported.num_batches_tracked == 7
    assert jax.tree.structure(imported.variables) == jax.tree.structure(initial())
    assert_same(to_torch_state_dict(imported.variables, MODEL, num_batches_tracked=7), state)


def test_round_trip_from_variables_loses_nothing() -> None:
    imported = from_torch_state_dict(to_torch_state_dict(initial(), MODEL), MODEL)
    jax.tree.map(np.testing.assert_array_equal, imported.variables, initial())


def test_instance_norms_have_the_names_of_ibn_net() -> None:
    """Its authors call the halves IN and BN; an instance norm has no running statistics."""
    spec = dataclasses.replace(BACKBONES["tiny_ibn_a"], stem_norm="instance")
    model = dataclasses.replace(MODEL, backbone=spec)
    state = random_state(model)
    block = "base.model.layer3.0.bn1"
    assert {name for name in state if name.startswith(block)} == {
        *(f"{block}.IN.{kind}" for kind in ("weight", "bias")),
        *(f"{block}.BN.{kind}" for kind in ("weight", "bias", "running_mean", "running_var")),
        f"{block}.BN.num_batches_tracked",
    }
    assert not [name for name in state if name.startswith("base.model.bn1.running")]
    imported = from_torch_state_dict(state, model)
    assert not str(imported.report)
    assert_same(to_torch_state_dict(imported.variables, model, num_batches_tracked=7), state)


def test_other_number_of_parts() -> None:
    model = dataclasses.replace(MODEL, num_parts=3)
    state = random_state(model)
    assert "classifier_part.2.weight" in state
    assert "classifier_part.3.weight" not in state
    imported = from_torch_state_dict(state, model)
    assert not str(imported.report)
    assert_same(to_torch_state_dict(imported.variables, model, num_batches_tracked=7), state)


def test_numbers_take_the_networks_type() -> None:
    state = random_state()
    half = {
        name: array.astype(ml_dtypes.bfloat16) if array.dtype == np.float32 else array
        for name, array in state.items()
    }
    imported = from_torch_state_dict(half, MODEL)
    scale = imported.variables["params"]["adversarial"]["neck"]["scale"]
    assert scale.dtype == np.float32
    np.testing.assert_array_equal(scale, half["base.mask.mask_bn.weight"].astype(np.float32))


def test_classifiers_of_another_identity_count_are_dropped() -> None:
    model = dataclasses.replace(MODEL, num_identities=9)
    imported = from_torch_state_dict(random_state(), model)
    assert len(imported.report.dropped) == 2 * (3 + 8)
    assert "classifier_part.7.bias: 5 instead of 9" in imported.report.dropped
    assert "classifier.weight: 5 instead of 9" in str(imported.report)
    assert not imported.report.unused
    assert set(imported.report.unfilled) == {
        f"params/{branch}/{leaf}"
        for branch in (
            "global_branch/classifier",
            "adversarial/classifier",
            "fusion/classifier",
            "fusion/part_classifiers",
        )
        for leaf in ("kernel", "bias")
    }
    variables = imported.over(initial(model))
    assert jax.tree.structure(variables) == jax.tree.structure(initial(model))
    head = variables["params"]["fusion"]["classifier"]["kernel"]
    np.testing.assert_array_equal(head, initial(model)["params"]["fusion"]["classifier"]["kernel"])
    neck = variables["params"]["fusion"]["neck"]["scale"]
    np.testing.assert_array_equal(neck, random_state()["base.part.combine_bn.weight"])


def test_every_remainder_is_named() -> None:
    state = random_state()
    del state["base.part.part_bns.3.weight"]
    state["extra.weight"] = np.zeros(3, np.float32)
    report = from_torch_state_dict(state, MODEL).report
    assert report.unfilled == ("params/fusion/part_necks/scale",)
    others = {f"base.part.part_bns.{part}.weight" for part in range(8) if part != 3}
    assert set(report.unused) == {"extra.weight", *others}
    assert "extra.weight" in str(report)
    assert "params/fusion/part_necks/scale" in str(report)


def test_fewer_branches_leave_tensors_unused() -> None:
    baseline = dataclasses.replace(
        MODEL, use_adversarial=False, use_fusion=False, use_parsing=False
    )
    report = from_torch_state_dict(random_state(), baseline).report
    assert "base.mask.dim_reducer.weight" in report.unused
    assert not report.unfilled


def test_other_shape_names_both() -> None:
    state = random_state()
    state["base.mask.dim_reducer.weight"] = np.zeros((64, 32, 1, 1), np.float32)
    with pytest.raises(
        UserError, match=r"base\.mask\.dim_reducer\.weight.*\[64, 32, 1, 1\].*\[64, 64"
    ):
        from_torch_state_dict(state, MODEL)


def test_classifier_of_another_width_is_no_other_identity_count() -> None:
    state = random_state() | {"classifier.weight": np.zeros((9, 100), np.float32)}
    with pytest.raises(UserError, match=r"\[9, 100\]"):
        from_torch_state_dict(state, MODEL)


@pytest.mark.parametrize("state", [{}, {"encoder.weight": np.zeros(3)}])
def test_tensors_of_something_else_are_refused(state: dict[str, np.ndarray]) -> None:
    with pytest.raises(UserError, match="No tensor is named"):
        from_torch_state_dict(state, MODEL)


def test_missing_variable_is_named() -> None:
    variables = {"params": initial()["params"], "batch_stats": {}}
    with pytest.raises(UserError, match="batch_stats/backbone/norm1/mean is missing"):
        to_torch_state_dict(variables, MODEL)


def backbone_state(prefix: str = "") -> dict[str, np.ndarray]:
    """The tensors of a ResNet by torchvision's names, with its classifier."""
    start = "base.model."
    state = {
        prefix + name.removeprefix(start): array
        for name, array in random_state().items()
        if name.startswith(start)
    }
    return {**state, f"{prefix}fc.weight": np.zeros((7, 128)), f"{prefix}fc.bias": np.zeros(7)}


@pytest.mark.parametrize("prefix", ["", "module.", "backbone.", "base.model."])
def test_backbone(prefix: str) -> None:
    imported = backbone_from_torch(backbone_state(prefix), BACKBONES["tiny"])
    assert imported.report.unused == (f"{prefix}fc.weight", f"{prefix}fc.bias")
    assert not imported.report.unfilled
    expected = from_torch_state_dict(random_state(), MODEL).variables
    for collection in ("params", "batch_stats"):
        jax.tree.map(
            np.testing.assert_array_equal,
            imported.variables[collection],
            {"backbone": expected[collection]["backbone"]},
        )


def test_backbone_lies_over_a_whole_network() -> None:
    variables = backbone_from_torch(backbone_state(), BACKBONES["tiny"]).over(initial())
    assert jax.tree.structure(variables) == jax.tree.structure(initial())
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    np.testing.assert_array_equal(kernel, backbone_state()["conv1.weight"].transpose(2, 3, 1, 0))


def test_old_backbones_have_no_counters() -> None:
    state = {name: a for name, a in backbone_state().items() if "num_batches" not in name}
    assert not backbone_from_torch(state, BACKBONES["tiny"]).report.unfilled


def test_backbone_of_another_depth_is_refused() -> None:
    with pytest.raises(UserError, match="layer1_1"):
        backbone_from_torch(
            backbone_state(), dataclasses.replace(BACKBONES["tiny"], blocks=(2, 1, 1, 1))
        )


def test_backbone_without_statistics_is_refused() -> None:
    state = {name: a for name, a in backbone_state().items() if "running" not in name}
    with pytest.raises(UserError, match="batch_stats/backbone"):
        backbone_from_torch(state, BACKBONES["tiny"])


def test_backbone_of_something_else_is_refused() -> None:
    with pytest.raises(UserError, match="patch_embed"):
        backbone_from_torch({"patch_embed.weight": np.zeros(3)}, BACKBONES["tiny"])
