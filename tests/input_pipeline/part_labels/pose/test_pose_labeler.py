import pickle
import struct
import sys
import warnings

import numpy as np
import pytest
from PIL import Image

from input_pipeline.dataset import FOOT, HEAD, LOWER_LEG, TORSO, UPPER_LEG
from input_pipeline.errors import DataError, UserError
from input_pipeline.part_labels.pose import PoseLabeler, find_pose_model
from input_pipeline.part_labels.pose.model_file import PoseModel
from input_pipeline.part_labels.pose.network import PoseNetwork
from input_pipeline.part_labels.pose.skeletons import JOINT
from tests.input_pipeline.part_labels.pose.conftest import OFFSETS, UNIT, red_figure


@pytest.fixture(scope="module")
def network(tiny_model) -> PoseNetwork:
    return PoseNetwork(tiny_model)


@pytest.fixture(scope="module")
def labeler(tiny_model) -> PoseLabeler:
    return PoseLabeler(tiny_model)


@pytest.mark.parametrize("size", [(128, 64), (64, 128), (200, 200), (31, 17), (700, 300)])
def test_images_are_letterboxed_and_never_stretched(network, size):
    """A trunk of 60 pixels of the square is as long in the image along both axes."""
    image = red_figure(*size)
    pose = network(image)
    # The square of 256 pixels is 1.25 times as wide as the longer side.
    scale = 1.25 * max(size) / 256
    middle = np.argwhere(image[..., 0]).mean(0)[::-1] + 0.5
    for name, offset in OFFSETS.items():
        expected = middle + np.array(offset) * UNIT * scale
        # Half a pixel of rounding in the square.
        np.testing.assert_allclose(pose.skeleton.points[JOINT[name]], expected, atol=1.1 * scale)
    assert pose.mask.shape == size
    assert pose.mask[size[0] // 2, size[1] // 2] > 0.99
    assert pose.mask[0, 0] < 0.01


def test_the_mask_is_where_the_figure_is(network):
    image = np.zeros((128, 64, 3), np.uint8)
    image[20:70, 8:30, 0] = 255
    mask = network(image).mask
    inside = np.zeros((128, 64), bool)
    inside[20:70, 8:30] = True
    assert (mask[22:68, 10:28] > 0.9).all()
    assert ((mask > 0.5) == inside).mean() > 0.98


def test_points_and_masks_are_those_of_the_image_and_its_mirror_image(network, labeler):
    """The tiny network stretches the left arm in both views, so their middle is symmetric."""
    image = red_figure(160, 160)
    pose = network(image)
    mirrored = network(np.ascontiguousarray(image[:, ::-1])).mirrored()
    both = pose.mean(mirrored)
    center = 80.0
    for joint in ("wrist", "elbow", "knee"):
        left = both.skeleton.points[JOINT[f"left {joint}"]]
        right = both.skeleton.points[JOINT[f"right {joint}"]]
        assert left[0] - center == pytest.approx(center - right[0], abs=0.5)
        assert left[1] == pytest.approx(right[1], abs=0.5)
    found = labeler.label([image])[0]
    parts = found.part_map
    assert parts[:, ::-1][parts > 0].any()
    assert (parts[:, ::-1] == parts).mean() > 0.97
    assert 0.3 < found.agreement < 0.95
    assert found.score > 0.99


def test_the_parts_lie_one_below_the_other(labeler):
    parts = labeler.label([red_figure(240, 120)])[0].part_map
    rows = [np.argwhere(parts == p)[:, 0].mean() for p in (HEAD, TORSO, UPPER_LEG, LOWER_LEG, FOOT)]
    assert rows == sorted(rows)


def test_nobody_is_no_map(labeler):
    for image in (
        np.zeros((64, 32, 3), np.uint8),
        np.full((64, 32, 3), 255, np.uint8)[..., ::-1] * np.array([0, 1, 1], np.uint8),
        red_figure(64, 32, red=100),
    ):
        found = labeler.label([image])[0]
        assert found.part_map is None
        assert found.score < 0.5


def test_lower_legs_that_cannot_be_seen_are_left_out(labeler):
    image = red_figure(240, 120)
    assert (labeler.label([image])[0].part_map == LOWER_LEG).any()
    image[0, 0, 1] = 255  # tells the tiny network that what is low is hidden
    image[0, :, 1] = 255
    image[:8, :, 1] = 255
    parts = labeler.label([image])[0].part_map
    assert not np.isin(parts, (LOWER_LEG, FOOT)).any()
    assert (parts == TORSO).any()


@pytest.mark.parametrize("size", [(1, 1), (1, 50), (50, 1), (8, 8), (3, 2000)])
def test_images_of_any_size_are_labeled_or_not(labeler, size):
    found = labeler.label([np.full((*size, 3), (255, 0, 0), np.uint8)])[0]
    assert found.part_map is None or found.part_map.shape == size


def test_a_labeler_can_be_pickled(labeler):
    copy = pickle.loads(pickle.dumps(labeler))
    image = red_figure(96, 48)
    np.testing.assert_array_equal(
        copy.label([image])[0].part_map, labeler.label([image])[0].part_map
    )
    assert copy.made_by == labeler.made_by
    assert copy.made_by["sha256"] == labeler._model.sha256
    assert copy.versions["numpy"] == np.__version__


def test_tensorflows_interpreter_is_used_without_the_other(tiny_model, network, monkeypatch):
    monkeypatch.setitem(sys.modules, "ai_edge_litert.interpreter", None)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # It says of itself that it will move.
        other = PoseNetwork(tiny_model)
    assert set(other.versions) == {"tensorflow"}
    image = red_figure(96, 48)
    np.testing.assert_allclose(
        other(image).skeleton.points, network(image).skeleton.points, atol=0.01
    )
    monkeypatch.setitem(sys.modules, "tensorflow.lite.python.interpreter", None)
    with pytest.raises(UserError, match=r"pip install 'magnifier_jax\[pose\]'"):
        PoseNetwork(tiny_model)


def test_networks_of_another_interface_are_refused(tiny_model):
    cut = PoseModel("cut.tflite", tiny_model.data[: len(tiny_model.data) // 2], "0" * 64)
    with pytest.raises(DataError, match=r"cut\.tflite is no pose network that can be used"):
        PoseNetwork(cut)
    # The same network with another number of landmarks: 195 becomes 196 in its shapes.
    other = tiny_model.data.replace(struct.pack("<i", 195), struct.pack("<i", 196))
    assert other != tiny_model.data
    with pytest.raises(DataError, match="no pose network that can be used"):
        PoseNetwork(PoseModel("other.tflite", other, "0" * 64))


def test_the_real_network_sees_drawn_people_better_than_bands(real_model):
    """Mean IoU of drawn people; benchmarks/part_labels.py measures it on more of them."""
    from benchmarks import part_labels as benchmark

    drawn = benchmark.draw_set((128, 64), "seen", count=8)
    pose = benchmark.measure("pose", PoseLabeler(real_model), drawn, condition="seen")
    bands = benchmark.measure("bands", benchmark.BandLabeler(), drawn, condition="seen")
    assert pose.without_map == 0
    assert pose.mean > bands.mean + 0.15
    assert pose.iou[HEAD] > 0.6


def test_the_real_network_finds_nobody_in_nothing(real_model):
    labeler = PoseLabeler(real_model)
    images = [np.zeros((64, 32, 3), np.uint8), np.full((1, 1, 3), 255, np.uint8)]
    assert [found.part_map for found in labeler.label(images)] == [None, None]


def test_a_real_wheel_is_read_without_being_installed(real_model, tmp_path):
    assert real_model.name.startswith("pose_landmark")
    assert len(real_model.data) > 1_000_000
    Image.fromarray(red_figure(64, 32)).save(tmp_path / "x.png")
    assert find_pose_model_again(real_model, tmp_path).sha256 == real_model.sha256


def find_pose_model_again(model: PoseModel, folder) -> PoseModel:
    path = folder / model.name
    path.write_bytes(model.data)
    return find_pose_model(path)
