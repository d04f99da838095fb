"""The consumers in docs/export.md, run as a reader would: in a folder with the files they name."""

import os
import pathlib
import re
import subprocess
import sys

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import UserError
from magnifier_jax.export import choose_settings, export_network
from magnifier_jax.training.augmentation import normalize
from tests.magnifier_jax.export.conftest import random_network

ROOT = pathlib.Path(__file__).parents[3]
CONSUMERS = dict(
    re.findall(
        r"^## (\w+)\n\n```python\n(.*?)```",
        (ROOT / "docs/export.md").read_text(),
        re.DOTALL | re.MULTILINE,
    )
)
ENDINGS = {"torch": "pth"}
# From here on jax writes StableHLO that TensorFlow 2.21, the latest, does not read.
NEWER_THAN_TENSORFLOW = (0, 11)
SAVE = "\nimport numpy\nnumpy.save('descriptor.npy', numpy.asarray(descriptor))\n"


def consume(name, folder, *, code=""):
    """Runs a consumer in a process of its own, at home in `folder`."""
    done = subprocess.run(
        [sys.executable, "-c", CONSUMERS[name] + code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def export(trained, name, folder):
    output = folder / f"magnifier.{ENDINGS.get(name, name)}"
    return export_network(trained, choose_settings(name), output)


def expected(trained, dataset, folder):
    """Puts a picture into the folder, and describes it with the network."""
    picture = Image.open(min(dataset.rglob("*.jpg")))
    picture.save(folder / "picture.jpg", quality=95)
    again = Image.open(folder / "picture.jpg").convert("RGB")
    height, width = trained.config.data.image_size
    pixels = np.asarray(again.resize((width, height), Image.Resampling.BILINEAR))[None]
    run = jax.jit(lambda variables, x: trained.model.apply(variables, x, train=False).descriptor)
    return np.asarray(run(jax.device_get(trained.variables), normalize(jnp.asarray(pixels))))


def test_there_is_one_of_fifteen_lines_for_every_format():
    assert set(CONSUMERS) == {"safetensors", "torch", "onnx", "stablehlo", "savedmodel"}
    lines = {name: len([x for x in text.splitlines() if x]) for name, text in CONSUMERS.items()}
    assert max(lines.values()) <= 15, lines


@pytest.mark.parametrize("name", ["onnx", "stablehlo", "safetensors"])
def test_it_describes_a_picture(trained, tiny_run, tmp_path, name):
    card = export(trained, name, tmp_path)
    wanted = expected(trained, tiny_run.dataset, tmp_path)
    consume(name, tmp_path, code=SAVE)
    if card.output.l2 == "inside":
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    found = np.load(tmp_path / "descriptor.npy")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_savedmodel(trained, tiny_run, tmp_path):
    wanted = expected(trained, tiny_run.dataset, tmp_path)
    if jax.__version_info__ >= NEWER_THAN_TENSORFLOW:
        with pytest.raises(UserError, match="install a newer TensorFlow"):
            export(trained, "savedmodel", tmp_path)
        assert [path.name for path in tmp_path.iterdir()] == ["picture.jpg"]
        return
    export(trained, "savedmodel", tmp_path)
    consume("savedmodel", tmp_path, code=SAVE)
    wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    found = np.load(tmp_path / "descriptor.npy")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_torch(tiny_run, tmp_path):
    pytest.importorskip("torch")
    network = random_network("resnet50", stem_relu=False, parsing_features=256)
    export(network, "torch", tmp_path)
    wanted = expected(network, tiny_run.dataset, tmp_path)
    consume("torch", tmp_path, code=SAVE)
    found = np.load(tmp_path / "descriptor.npy")
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())
