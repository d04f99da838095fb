"""The runtimes for CPUs against jax."""

import dataclasses
import importlib.util
import sys

import jax
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.commands import main
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.loading import load
from magnifier_jax.embedding.model import Model
from magnifier_jax.embedding.network import JaxNetwork
from magnifier_jax.embedding.runtimes import GraphNetwork, check_runtime, part_shares
from magnifier_jax.export.verification import sample_images
from magnifier_jax.retrieval import Gallery


def needs(runtime):
    """Skips without a runtime; importing OpenVINO as it is would tell its makers."""
    return pytest.mark.skipif(not importlib.util.find_spec(runtime), reason=f"needs {runtime}")


@pytest.fixture(scope="module")
def by_jax(tiny_run):
    return load(tiny_run.workdir.path)


@pytest.mark.parametrize(
    "runtime",
    [pytest.param(name, marks=needs(name)) for name in ("onnxruntime", "openvino")],
)
def test_a_runtime_says_what_jax_says(tiny_run, by_jax, runtime):
    model = load(tiny_run.workdir.path, runtime=runtime)
    images = sample_images(6, by_jax.image_size)  # more than go in at once
    for flip in (False, True):
        expected, found = by_jax.embed(images, flip=flip), model.embed(images, flip=flip)
        np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-4)
        np.testing.assert_allclose(found.parts, expected.parts, atol=1e-4)
        np.testing.assert_array_equal(found.part_maps, expected.part_maps)
        np.testing.assert_array_equal(found.visible, expected.visible)
        assert found.part_maps.dtype == np.uint8
    assert (model.model_id, model.notes, model.metric) == (
        by_jax.model_id,
        by_jax.notes,
        by_jax.metric,
    )
    assert model.has_parts
    assert model.dimension == by_jax.dimension
    assert model.trained.step == by_jax.trained.step


def with_short_parts(trained, factor):
    """The network with the scale of its part necks made smaller, as weight decay does."""
    params = jax.device_get(trained.variables["params"])
    necks = {"scale": params["fusion"]["part_necks"]["scale"] * np.float32(factor)}
    fusion = {**params["fusion"], "part_necks": necks}
    variables = {**trained.variables, "params": {**params, "fusion": fusion}}
    return dataclasses.replace(trained, variables=variables)


@pytest.mark.parametrize(
    "runtime",
    ["jax", *(pytest.param(name, marks=needs(name)) for name in ("onnxruntime", "openvino"))],
)
@pytest.mark.parametrize("factor", [1e-4, 1e-20])
def test_parts_keep_their_directions_however_short_they_are(by_jax, runtime, factor):
    images = sample_images(3, by_jax.image_size)
    expected = by_jax.embed(images)
    short = with_short_parts(by_jax.trained, factor)
    if runtime == "jax":
        network = JaxNetwork(short, make_mesh(jax.local_devices()))
    else:
        network = GraphNetwork(lambda which: short, "latest", runtime, precision=None)
    found = Model(network, path=by_jax.path).embed(images)
    shown = np.linalg.norm(expected.parts, axis=-1) > 0
    assert shown.any()
    np.testing.assert_allclose(np.linalg.norm(found.parts, axis=-1), shown, atol=1e-5)
    np.testing.assert_allclose(found.parts, expected.parts, atol=1e-4)
    np.testing.assert_allclose(found.descriptors, expected.descriptors, atol=1e-4)


@needs("openvino")
def test_bf16_is_near_and_only_on_demand(tiny_run, by_jax):
    images = sample_images(2, by_jax.image_size)
    expected = by_jax.embed(images).descriptors
    for options in ({"runtime": "openvino"}, {}):
        model = load(tiny_run.workdir.path, precision="bf16", **options)
        found = model.embed(images).descriptors
        assert model.precision == "bf16"
        assert (found * expected).sum(1).min() > 0.99
    assert np.abs(found - expected).max() > 1e-5  # XLA rounds to bf16 on every processor.


@needs("onnxruntime")
def test_the_command_writes_the_same_gallery(tiny_run, by_jax, tmp_path):
    folder = tiny_run.dataset / "query"
    output = tmp_path / "g.npz"
    arguments = ["embed", "--workdir", str(tiny_run.workdir.path), "--images", str(folder)]
    assert main([*arguments, "--output", str(output), "--runtime", "onnxruntime"]) == 0
    gallery = Gallery.load(output)
    expected = by_jax.embed([folder / name for name in gallery.names])
    np.testing.assert_allclose(gallery.descriptors, expected.descriptors, atol=1e-4)
    assert gallery.model == by_jax.model_id


def test_what_cannot_be_is_refused(tiny_run, monkeypatch):
    for arguments, said in (
        (("openvno", None), "openvino"),
        (("jax", "fp16"), "bf16"),
        (("onnxruntime", "bf16"), "openvino"),
    ):
        with pytest.raises(UserError, match=said):
            check_runtime(*arguments)
    monkeypatch.setitem(sys.modules, "openvino", None)
    with pytest.raises(UserError, match=r"pip install 'magnifier_jax\[cpu\]'"):
        load(tiny_run.workdir.path, runtime="openvino")


def test_an_onnx_file_has_its_runtime(tmp_path):
    path = tmp_path / "m.onnx"
    path.touch()
    with pytest.raises(UserError, match="as it is"):
        load(path, runtime="openvino")


@needs("openvino")
def test_importing_openvino_tells_nobody():
    check_runtime("openvino", None)
    telemetry = sys.modules.get("openvino.tools.ovc.telemetry_utils")
    assert telemetry is None or telemetry.tm.__name__.endswith("stub")


def test_shares_are_counted_at_the_trunks_resolution():
    maps = np.zeros((1, 4, 4), np.uint8)
    maps[0, 0, :2] = 1  # one of the trunk's four cells, (0, 0), and one between cells
    maps[0, 3] = 2  # between cells
    np.testing.assert_array_equal(part_shares(maps, num_parts=3), [[0.75, 0.25, 0]])
