import dataclasses
import importlib.metadata
import json

import numpy as np
import onnx
import onnxruntime
import pytest

from magnifier_jax.embedding.forward import make_embed
from magnifier_jax.export import choose_settings, export_network, fit_projection
from magnifier_jax.export.verification import relative_difference, sample_images
from magnifier_jax.training.augmentation import MEAN, STD
from tests.magnifier_jax.export.conftest import random_network


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"layout": "NCHW", "normalise": "outside", "l2": "outside"},
        {"branches": ("fusion",), "layout": "NCHW"},
        {"branches": ("adversarial", "global"), "l2": "outside"},
    ],
    ids=["default", "outside", "fusion", "two"],
)
def test_every_option_agrees_with_the_network(trained, tmp_path, options):
    settings = choose_settings("onnx", **options)
    card = export_network(trained, settings, tmp_path / "a.onnx")
    assert 0 < card.verified.largest_relative_difference < 1e-5
    assert card.verified.runtime == f"onnxruntime {onnxruntime.__version__}"
    assert (card.opset, card.versions["onnx"]) == (17, onnx.__version__)
    (given,) = onnx.load(tmp_path / "a.onnx").graph.input
    shape = [d.dim_param or d.dim_value for d in given.type.tensor_type.shape.dim]
    assert shape == ["batch", *((3, 64, 32) if "layout" in options else (64, 32, 3))]
    wide = given.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    assert wide == (options.get("normalise") == "outside")


@pytest.mark.parametrize(
    ("backbone", "stem_relu", "precision"),
    [("resnet18", False, "float32"), ("small", True, "bf16")],
)
def test_other_networks(tmp_path, backbone, stem_relu, precision):
    network = random_network(backbone, stem_relu=stem_relu, precision=precision)
    card = export_network(network, choose_settings("onnx"), tmp_path / "a.onnx")
    assert card.verified.largest_relative_difference < 2e-5


@pytest.mark.parametrize(("precision", "limit"), [("float32", 2e-5), ("fp16", 2e-2)])
def test_instance_norms(tmp_path, precision, limit):
    network = random_network("tiny_ibn_a", stem_norm="instance")
    settings = choose_settings("onnx", precision=precision)
    card = export_network(network, settings, tmp_path / "a.onnx")
    assert card.verified.largest_relative_difference < limit
    assert card.network["stem_norm"] == "instance"
    kinds = [node.op_type for node in onnx.load(tmp_path / "a.onnx").graph.node]
    # The stem's, and half of one block in each of three stages.
    assert kinds.count("InstanceNormalization") == 4


def test_unused_weights_stay_out(trained, tmp_path):
    settings = choose_settings("onnx", branches=("adversarial",))
    export_network(trained, settings, tmp_path / "a.onnx")
    names = {tensor.name for tensor in onnx.load(tmp_path / "a.onnx").graph.initializer}
    assert "base.mask.mask_bn.weight" in names
    assert not [n for n in names if "classifier" in n or "layer4" in n or "part" in n]


def test_projection_is_that_of_numpy(tmp_path):
    network = random_network("tiny")
    images = sample_images(12, (64, 32))
    whole = export_network(network, choose_settings("onnx"), tmp_path / "whole.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "whole.onnx")
    (descriptors,) = session.run(None, {"images": images})
    projection = fit_projection(descriptors, 4)
    card = export_network(
        network,
        choose_settings("onnx", dimension=4),
        tmp_path / "short.onnx",
        projection=projection,
    )
    session = onnxruntime.InferenceSession(tmp_path / "short.onnx")
    (found,) = session.run(None, {"images": images})
    expected = projection(descriptors)
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    assert relative_difference(found, expected) < 1e-4
    assert card.output.dimension == 4
    assert card.output.projected_from == whole.output.dimension == 256


def test_a_default_export_gives_what_describing_gives(trained, tmp_path):
    from magnifier_jax.devices import make_mesh, put_batch

    mesh = make_mesh()
    images = sample_images(8, (64, 32))
    describe = make_embed(trained.model, mesh)
    expected = describe(trained.variables, put_batch(images, mesh)).descriptor
    export_network(trained, choose_settings("onnx"), tmp_path / "a.onnx")
    session = onnxruntime.InferenceSession(tmp_path / "a.onnx")
    (found,) = session.run(["descriptor"], {"images": images})
    np.testing.assert_allclose(found, expected, atol=1e-6)


def test_half_precision(trained, tmp_path):
    cards = {
        precision: export_network(
            trained, choose_settings("onnx", precision=precision), tmp_path / f"{precision}.onnx"
        )
        for precision in ("float32", "fp16")
    }
    whole, half = ((tmp_path / f"{name}.onnx").stat().st_size for name in cards)
    assert half < 0.8 * whole  # Of so small a network, the graph itself is much.
    assert 1e-6 < cards["fp16"].verified.largest_relative_difference < 2e-2
    assert cards["fp16"].verified.limit == 2e-2
    model = onnx.load(tmp_path / "fp16.onnx")
    types = {tensor.name: tensor.data_type for tensor in model.graph.initializer}
    assert types["base.model.conv1.weight"] == onnx.TensorProto.FLOAT16
    assert types["base.feat_bn.running_var"] == onnx.TensorProto.FLOAT
    (given,), (found,) = model.graph.input, model.graph.output
    assert given.type.tensor_type.elem_type == onnx.TensorProto.UINT8
    assert found.type.tensor_type.elem_type == onnx.TensorProto.FLOAT
    images = sample_images(4, (64, 32))
    right, near = (
        onnxruntime.InferenceSession(tmp_path / f"{name}.onnx").run(None, {"images": images})[0]
        for name in cards
    )
    assert (right * near).sum(1).min() > 0.999


def test_small_variances_survive_half_precision(tmp_path):
    network = random_network("tiny")
    norm = dict(network.variables["batch_stats"]["backbone"]["norm1"])
    norm["var"] = np.full_like(norm["var"], 1e-9)  # 0 in float16
    backbone = {**network.variables["batch_stats"]["backbone"], "norm1": norm}
    stats = {**network.variables["batch_stats"], "backbone": backbone}
    network = dataclasses.replace(network, variables={**network.variables, "batch_stats": stats})
    settings = choose_settings("onnx", precision="fp16", branches=("global",))
    card = export_network(network, settings, tmp_path / "a.onnx")
    assert card.verified.largest_relative_difference < 2e-2


def test_a_lone_file_says_how_to_feed_it(trained, tmp_path):
    settings = choose_settings("onnx", layout="NCHW", branches=("global",))
    export_network(trained, settings, tmp_path / "a.onnx")
    texts = onnxruntime.InferenceSession(tmp_path / "a.onnx").get_modelmeta().custom_metadata_map
    assert json.loads(texts["image_size"]) == [64, 32]
    assert (texts["color_order"], texts["layout"], texts["dtype"]) == ("RGB", "NCHW", "uint8")
    assert np.allclose(json.loads(texts["mean"]), MEAN)
    assert np.allclose(json.loads(texts["std"]), STD)
    assert texts["version"] == importlib.metadata.version("magnifier_jax")
    whole = json.loads(texts["magnifier_jax"])
    assert whole["output"]["branches"] == ["global"]
    assert "training" not in whole
    card = json.loads((tmp_path / "a.onnx.json").read_text())
    assert {name: card[name] for name in ("input", "output", "network")} == {
        name: whole[name] for name in ("input", "output", "network")
    }
