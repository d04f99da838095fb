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
from input_pipeline.images.codec import read_image
from magnifier_jax.export import choose_settings, export_network
from magnifier_jax.training.augmentation import normalize
from tests.magnifier_jax.export.conftest import random_network

ROOT = pathlib.Path(__file__).parents[3]
SECTIONS = re.split(r"^## ", (ROOT / "docs/export.md").read_text(), flags=re.MULTILINE)[1:]
# The first example of each section that has one.
BLOCKS = {
    section.partition("\n")[0]: section.split("```python\n", 1)[1].split("```", 1)[0]
    for section in SECTIONS
    if "```python\n" in section
}
OPENING = BLOCKS["Opening an image"]
FORMATS = ("safetensors", "folder", "torch", "onnx", "stablehlo", "savedmodel", "tflite")
ENDINGS = {"torch": "pth"}
# From here on jax writes StableHLO that TensorFlow 2.21, the latest, does not read.
NEWER_THAN_TENSORFLOW = (0, 11)
TWICE = """
import numpy, shutil
numpy.save("upright.npy", numpy.asarray(descriptor))
shutil.copy("deep.png", "image.jpg")
{code}
numpy.save("deep.npy", numpy.asarray(descriptor))
"""


def consume(name, folder):
    """Runs a consumer in a process of its own, at home in `folder`, on one image and another."""
    code = OPENING + BLOCKS[name] + TWICE.format(code=BLOCKS[name])
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=folder,
        env={**os.environ, "PYTHONPATH": str(ROOT), "CUDA_VISIBLE_DEVICES": ""},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return np.concatenate([np.load(folder / "upright.npy"), np.load(folder / "deep.npy")])


def export(trained, name, folder):
    output = folder / f"magnifier.{ENDINGS.get(name, name)}"
    return export_network(trained, choose_settings(name), output)


def photograph(path, *, rotated):
    """Someone of many colors, lying on the side unless the EXIF rotation is applied."""
    rng = np.random.default_rng(0)
    pixels = np.kron(rng.integers(0, 256, (12, 6, 3)), np.ones((16, 16, 1))).astype(np.uint8)
    image = Image.fromarray(pixels)
    exif = Image.Exif()
    if rotated:
        image = image.transpose(Image.Transpose.ROTATE_90)
        exif[0x0112] = 6
    image.save(path, "JPEG", quality=95, exif=exif)


def thermal(path, *, low, high):
    """Gray of 16 bits."""
    rng = np.random.default_rng(1)
    blocks = rng.integers(low, high + 1, (12, 6))
    blocks.flat[:2] = low, high
    Image.fromarray(np.kron(blocks, np.ones((9, 9))).astype(np.uint16)).save(path, "PNG")


def expected(trained, folder):
    """Puts two images into the folder, and embeds them with the network."""
    photograph(folder / "image.jpg", rotated=True)
    thermal(folder / "deep.png", low=0, high=65535)
    size = trained.config.data.image_size
    names = ("image.jpg", "deep.png")
    pixels = np.stack([read_image(folder / name, image_size=size) for name in names])
    run = jax.jit(lambda variables, x: trained.model.apply(variables, x, train=False).descriptor)
    return np.asarray(run(jax.device_get(trained.variables), normalize(jnp.asarray(pixels))))


def assert_near(found, wanted):
    if np.allclose(np.linalg.norm(found, axis=1), 1, atol=1e-3):
        wanted = wanted / np.linalg.norm(wanted, axis=1, keepdims=True)
    np.testing.assert_allclose(found, wanted, rtol=0, atol=1e-4 * np.abs(wanted).max())


def test_there_is_one_of_fifteen_lines_for_every_format():
    assert set(FORMATS) <= set(BLOCKS)
    lines = {name: len([x for x in BLOCKS[name].splitlines() if x]) for name in FORMATS}
    assert max(lines.values()) <= 15, lines


def upright(path):
    photograph(path, rotated=False)


def on_the_side(path):
    photograph(path, rotated=True)


def deep(path):
    thermal(path, low=0, high=65535)


def camera_of_twelve_bits(path):
    thermal(path, low=0, high=4095)


def temperatures(path):
    thermal(path, low=29300, high=29700)


def almost_flat(path):
    thermal(path, low=1000, high=1010)


def transparent(path):
    photograph(path, rotated=False)
    Image.open(path).convert("RGBA").save(path, "PNG")


def gray(path):
    photograph(path, rotated=False)
    Image.open(path).convert("L").save(path, "PNG")


def palette(path):
    photograph(path, rotated=False)
    Image.open(path).convert("P").save(path, "PNG")


def cmyk(path):
    photograph(path, rotated=False)
    Image.open(path).convert("CMYK").save(path, "JPEG")


@pytest.mark.parametrize(
    "make",
    [
        *(upright, on_the_side, deep, camera_of_twelve_bits, temperatures, almost_flat),
        *(transparent, gray, palette, cmyk),
    ],
)
def test_images_are_opened_as_for_training(tmp_path, make):
    path = tmp_path / "image"
    make(path)
    names = {}
    exec(OPENING, names)
    found = names["open_image"](path, {"height": 64, "width": 32})
    np.testing.assert_array_equal(found, read_image(path, image_size=(64, 32)))


@pytest.mark.parametrize("name", ["onnx", "stablehlo", "safetensors", "folder"])
def test_it_embeds_images(trained, tmp_path, name):
    export(trained, name, tmp_path)
    wanted = expected(trained, tmp_path)
    assert_near(consume(name, tmp_path), wanted)


@pytest.mark.parametrize("name", ["savedmodel", "tflite"])
def test_tensorflow(trained, tmp_path, name):
    wanted = expected(trained, tmp_path)
    if jax.__version_info__ >= NEWER_THAN_TENSORFLOW:
        with pytest.raises(UserError, match=r"install a newer TensorFlow|could not make"):
            export(trained, name, tmp_path)
        assert sorted(path.name for path in tmp_path.iterdir()) == ["deep.png", "image.jpg"]
        return
    export(trained, name, tmp_path)
    assert_near(consume(name, tmp_path), wanted)


def test_torch(tmp_path):
    pytest.importorskip("torch")
    network = random_network("resnet50", stem_relu=False, parsing_features=256)
    export(network, "torch", tmp_path)
    wanted = expected(network, tmp_path)
    assert_near(consume("torch", tmp_path), wanted)


@pytest.mark.parametrize("backend", ["onnxruntime", "opencv"])
def test_boxmot_takes_what_is_made_for_it(trained, tmp_path, monkeypatch, backend):
    runtime = pytest.importorskip("boxmot.reid.core.runtime")
    backends = pytest.importorskip("boxmot.reid.backends.onnx_backend")
    cv2 = pytest.importorskip("cv2")
    monkeypatch.setenv("BOXMOT_REID_BACKEND", backend)
    # It would install the version that it knows.
    monkeypatch.setattr(
        backends.ONNXBackend, "_ensure_onnxruntime_installed", lambda self: None, raising=True
    )
    output = tmp_path / "magnifier.onnx"
    card = export_network(trained, choose_settings(consumer="boxmot"), output)
    frame = np.random.default_rng(0).integers(0, 256, (200, 300, 3), np.uint8)
    boxes = np.array([[10, 10, 60, 120], [100, 20, 150, 150]], np.float32)
    found = runtime.ReID(output)(frame, boxes=boxes)
    crops = [frame[10:120, 10:60], frame[20:150, 100:150]]
    rgb = np.stack([cv2.resize(crop, (32, 64))[..., ::-1] for crop in crops])
    run = jax.jit(lambda variables, x: trained.model.apply(variables, x, train=False).descriptor)
    wanted = np.asarray(run(jax.device_get(trained.variables), normalize(jnp.asarray(rgb))))
    assert found.shape == (2, card.output.dimension)
    assert_near(found, wanted)
