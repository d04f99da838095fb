import pickle

import jax
import numpy as np
import pytest

from input_pipeline.dataset import NUM_PARTS
from input_pipeline.errors import DataError
from input_pipeline.part_labels.drawn.labeler import (
    Box,
    DrawnLabeler,
    cells_of,
    enlarge,
    letterbox,
)
from input_pipeline.part_labels.drawn.network import PADDING, Parser, Size
from input_pipeline.part_labels.drawn.weights import Weights, read_weights, write_weights

TINY = Size(height=32, width=16, channels=(8, 8, 8, 8), blocks=(0, 0, 0, 1))


@pytest.fixture(scope="module")
def weights() -> Weights:
    """Of a network that has learned nothing."""
    images = np.zeros((1, TINY.height, TINY.width, 3), np.float32)
    variables = jax.jit(Parser(TINY).init)(jax.random.key(3), images)
    return Weights(TINY, jax.device_get(variables), {"license": "Apache-2.0"})


@pytest.mark.parametrize(
    ("size", "box"),
    [
        ((128, 64), Box(0, 0, 128, 64)),
        ((384, 192), Box(0, 0, 128, 64)),
        ((64, 32), Box(0, 0, 128, 64)),
        # 128 / 3 is 42.7, and the nearest even number is 42.
        ((300, 100), Box(0, 10, 128, 42)),
        ((100, 100), Box(32, 0, 64, 64)),
        ((10, 500), Box(62, 0, 2, 64)),
    ],
)
def test_an_image_is_letterboxed_and_never_stretched(size, box):
    image = np.full((*size, 3), 200, np.uint8)
    boxed, found = letterbox(image, size=(128, 64))
    assert found == box
    inside = np.zeros((128, 64), bool)
    inside[box.top : box.top + box.height, box.left : box.left + box.width] = True
    assert (boxed[inside] == 200).all()
    assert (boxed[~inside] == PADDING).all()


@pytest.mark.parametrize("size", [(128, 64), (96, 80), (301, 77), (40, 90)])
def test_there_and_back_again_a_map_is_the_same_but_for_its_edges(size):
    height, width = size
    row, column = np.mgrid[:height, :width]
    # A cross of four classes, in the colors of their numbers.
    parts = (2 * (row > 0.4 * height) + (column > 0.6 * width)).astype(np.uint8)
    image = np.repeat((60 * parts)[..., None], 3, axis=-1)
    boxed, box = letterbox(image, size=(64, 32))
    cells = np.abs(boxed[1::2, 1::2, :1] / 60.0 - np.arange(NUM_PARTS)).argmin(-1)
    back = enlarge(cells_of(np.eye(NUM_PARTS, dtype=np.float32)[cells], box), size=size)
    assert back.shape == (*size, NUM_PARTS)
    np.testing.assert_allclose(back.sum(-1), 1, rtol=1e-5)
    scale = max(height / 64, width / 32)
    near_edge = np.minimum(np.abs(row - 0.4 * height), np.abs(column - 0.6 * width)) < 2 * scale + 1
    assert (back.argmax(-1) == parts)[~near_edge].all()


def test_images_of_any_sizes_are_labeled_alike_alone_and_together(weights):
    rng = np.random.default_rng(5)
    images = [
        rng.integers(0, 256, (height, width, 3), np.uint8)
        for height, width in ((64, 32), (50, 60), (90, 20), *[(40, 20)] * 15)
    ]
    labeler = DrawnLabeler(weights)
    together = labeler.label(images)
    for number in (1, 17):
        [alone] = labeler.label([images[number]])
        assert alone.score == pytest.approx(together[number].score, rel=1e-4)
    for image, labeled in zip(images, together, strict=True):
        assert 0 <= labeled.score <= 1
        assert 0 <= labeled.agreement <= 1
        if labeled.part_map is not None:
            assert labeled.part_map.shape == image.shape[:2]
            assert labeled.part_map.dtype == np.uint8


def test_the_mirror_image_has_the_mirrored_map(weights):
    rng = np.random.default_rng(6)
    image = rng.integers(0, 256, (32, 16, 3), np.uint8)
    labeler = DrawnLabeler(weights)
    one, other = labeler.label([image, np.ascontiguousarray(image[:, ::-1])])
    assert one.score == pytest.approx(other.score, rel=1e-4)
    assert (one.part_map is None) == (other.part_map is None)
    if one.part_map is not None and other.part_map is not None:
        assert (one.part_map == other.part_map[:, ::-1]).mean() > 0.99


def test_where_nobody_is_found_there_is_no_map(weights):
    variables = jax.tree.map(np.zeros_like, weights.variables)
    bias = np.array([9.0] + [0.0] * 7, np.float32)  # all is background
    variables["params"]["Conv_" + str(_last_conv(variables))]["bias"] = bias
    labeler = DrawnLabeler(Weights(TINY, variables, {}))
    [labeled] = labeler.label([np.zeros((32, 16, 3), np.uint8)])
    assert labeled.part_map is None
    assert labeled.score < 0.5


def _last_conv(variables) -> int:
    return max(int(name[5:]) for name in variables["params"] if name.startswith("Conv_"))


def test_a_file_gives_back_the_weights_in_half_precision(weights, tmp_path):
    path = tmp_path / "parser.safetensors"
    write_weights(weights, path)
    read = read_weights(path)
    assert read.size == TINY
    assert read.card == {"license": "Apache-2.0"}
    assert len(read.sha256) == 64
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-6),
        dict(read.variables),
        dict(weights.variables),
    )
    assert DrawnLabeler(read).made_by["sha256"] == read.sha256


@pytest.mark.parametrize("content", [b"", b"12345678{}", b"\x02\0\0\0\0\0\0\0{}"])
def test_a_damaged_file_is_named(tmp_path, content):
    path = tmp_path / "parser.safetensors"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"parser\.safetensors is not a sound file of the part par"):
        read_weights(path)
    with pytest.raises(DataError, match=r"nothing\.safetensors cannot be read"):
        read_weights(tmp_path / "nothing.safetensors")


def test_a_labeler_can_be_sent_to_another_process(weights):
    labeler = DrawnLabeler(weights)
    image = np.random.default_rng(1).integers(0, 256, (32, 16, 3), np.uint8)
    [before] = labeler.label([image])
    [after] = pickle.loads(pickle.dumps(labeler)).label([image])
    assert after.score == before.score
    assert after.agreement == before.agreement
