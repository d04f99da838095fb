import jax
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.export import choose_settings
from magnifier_jax.export.formats import write_weights
from magnifier_jax.export.function import expected_descriptors, make_descriptor_function
from magnifier_jax.export.verification import relative_difference, run_batches, sample_images
from magnifier_jax.interop import read_metadata, read_torch_file, write_torch_file
from tests.magnifier_jax.export.conftest import random_network


@pytest.fixture(scope="module")
def network():
    return random_network("tiny")


@pytest.fixture(scope="module")
def function(network):
    return make_descriptor_function(network, choose_settings("torch", branches=("fusion",)))


def test_they_are_run_from_the_disk_and_nothing_else(network, function, tmp_path):
    write_weights(function, tmp_path / "m.pth")
    images = sample_images(2, function.image_size)
    expected = expected_descriptors(network, function, images)
    [found] = run_batches("run-weights", tmp_path / "m.pth", [function.prepare(images)])
    assert relative_difference(found, expected) < 1e-5


def test_a_tensor_that_is_missing_is_named(function, tmp_path):
    write_weights(function, tmp_path / "m.pth")
    state, texts = read_torch_file(tmp_path / "m.pth"), read_metadata(tmp_path / "m.pth")
    del state["base.part.lstm.weight_hh_l0"]
    write_torch_file(tmp_path / "m.pth", state, metadata=texts)
    with pytest.raises(UserError, match=r"could not run weights: .*fusion"):
        run_batches("run-weights", tmp_path / "m.pth", [])


def test_without_a_cpu_backend_the_default_device_does(network, function, monkeypatch):
    images = sample_images(1, function.image_size)
    expected = expected_descriptors(network, function, images)
    devices = jax.local_devices()

    def no_cpu(*, backend=None):
        if backend == "cpu":
            raise RuntimeError("Unknown backend cpu")
        return devices

    monkeypatch.setattr(jax, "local_devices", no_cpu)
    np.testing.assert_array_equal(expected_descriptors(network, function, images), expected)
