"""A pose network of the real one's interface, made by the tests, and the real one where it is."""

import os
import pathlib
import warnings

import numpy as np
import pytest

from input_pipeline.part_labels.pose import PoseModel, find_pose_model
from input_pipeline.part_labels.pose.skeletons import CONVENTIONS

SIDE = 256
UNIT = 60.0  # pixels of the trunk in the network's square
# Where each joint is from the middle of what is red, in lengths of the trunk; the left arm, which
# is at the right of an image from the front, is stretched out.
OFFSETS = {
    "nose": (0, -0.95), "left eye": (0.06, -1), "right eye": (-0.06, -1),
    "left ear": (0.1, -0.95), "right ear": (-0.1, -0.95),
    "left shoulder": (0.3, -0.6), "right shoulder": (-0.3, -0.6),
    "left elbow": (0.7, -0.6), "right elbow": (-0.4, -0.2),
    "left wrist": (1.1, -0.6), "right wrist": (-0.4, 0.2),
    "left finger": (1.2, -0.6), "right finger": (-0.4, 0.3),
    "left hip": (0.2, 0.4), "right hip": (-0.2, 0.4),
    "left knee": (0.2, 0.9), "right knee": (-0.2, 0.9),
    "left ankle": (0.2, 1.4), "right ankle": (-0.2, 1.4),
    "left heel": (0.2, 1.45), "right heel": (-0.2, 1.45),
    "left toe": (0.3, 1.5), "right toe": (-0.3, 1.5),
}  # fmt: skip
HIDDEN_BELOW = 0.3  # a green image hides what is lower than this, in lengths of the trunk


@pytest.fixture(scope="session")
def tiny_model_file(tmp_path_factory) -> pathlib.Path:
    """A network that sees a person wherever something is red, and how sure it is by how red.

    Mirroring an image does not swap its arms, as it would not for a network that has learned
    little: the two views then disagree about the arms.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        import tensorflow as tf

        names = CONVENTIONS["blazepose33"]
        offsets = np.zeros((39, 2), np.float32)
        offsets[:33] = [OFFSETS.get(name, (0, 0)) for name in names]
        low = (offsets[:, 1] > HIDDEN_BELOW).astype(np.float32)
        axis = np.arange(SIDE, dtype=np.float32) + 0.5

        @tf.function(input_signature=[tf.TensorSpec([1, SIDE, SIDE, 3], tf.float32)])
        def network(image):
            red, green = image[..., 0], image[..., 1]
            weight = tf.nn.relu(red - 0.25)
            total = tf.reduce_sum(weight) + 1e-3
            x = tf.reduce_sum(weight * axis[None, None, :]) / total
            y = tf.reduce_sum(weight * axis[None, :, None]) / total
            points = tf.stack([x, y])[None] + UNIT * offsets
            hides = tf.reduce_max(green)
            visible = 6.0 - 12.0 * hides * low
            fields = [points, tf.zeros([39, 1]), visible[:, None], tf.fill([39, 1], 6.0)]
            score = tf.sigmoid(20.0 * (tf.reduce_max(red) - 0.5))
            mask = 20.0 * (red - 0.5)
            return (
                tf.reshape(tf.concat(fields, 1), [1, 195]),
                tf.reshape(score, [1, 1]),
                tf.reshape(mask, [1, SIDE, SIDE, 1]),
            )

        converter = tf.lite.TFLiteConverter.from_concrete_functions(
            [network.get_concrete_function()], network
        )
        data = converter.convert()
    path = tmp_path_factory.mktemp("pose") / "pose_landmark_tiny.tflite"
    path.write_bytes(data)
    return path


@pytest.fixture(scope="session")
def tiny_model(tiny_model_file) -> PoseModel:
    return find_pose_model(tiny_model_file)


@pytest.fixture(scope="session")
def real_model() -> PoseModel:
    """BlazePose's network, where `MAGNIFIER_TEST_POSE_MODEL` says that it is."""
    place = os.environ.get("MAGNIFIER_TEST_POSE_MODEL", "")
    if not place:
        pytest.skip("set MAGNIFIER_TEST_POSE_MODEL to a pose network; .ci/run gets one by pip")
    return find_pose_model(place)


def red_figure(height: int, width: int, *, scale: float = 1.0, red: int = 255) -> np.ndarray:
    """A red rectangle in the middle of black, uint8 `[height, width, 3]`."""
    image = np.zeros((height, width, 3), np.uint8)
    tall, wide = round(height * 0.9 * scale), round(width * 0.7 * scale)
    top, left = (height - tall) // 2, (width - wide) // 2
    image[top : top + tall, left : left + wide, 0] = red
    return image
