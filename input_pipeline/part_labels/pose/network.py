"""BlazePose's landmark network, run directly on crops: no detector, no runtime around it.

Bazarevsky et al., "BlazePose: On-device Real-time Body Pose Tracking", CVPR workshops 2020. The
network sees a square around the person; a crop is one already, once it is letterboxed.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib.metadata
import os
import pathlib
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline.errors import DataError, UserError
from input_pipeline.part_labels.pose.model_file import PoseModel
from input_pipeline.part_labels.pose.skeletons import Skeleton, skeleton_of

_MARGIN = 1.25  # side of the square over the longer side of the crop
_POINTS = 33  # landmarks; more points follow them, which say where to look next
_FIELDS = 5  # x, y, z and the logits of visibility and presence


@dataclasses.dataclass(frozen=True, eq=False)
class Pose:
    """What the network sees in an image.

    Attributes:
        skeleton: In pixels of the image.
        mask: How sure it is that each pixel shows the person, float32 `[H, W]`.
        score: How sure it is that there is a person, 0 to 1.
    """

    skeleton: Skeleton
    mask: np.ndarray
    score: float

    def mirrored(self) -> Pose:
        """The same in the mirror image."""
        width = self.mask.shape[1]
        return Pose(self.skeleton.mirrored(width), self.mask[:, ::-1], self.score)

    def mean(self, other: Pose) -> Pose:
        """The middle of two views of one image; as sure as the less sure one."""
        return Pose(
            self.skeleton.mean(other.skeleton),
            (self.mask + other.mask) / 2,
            min(self.score, other.score),
        )


class PoseNetwork:
    """A pose network in an interpreter; for one thread at a time.

    Args:
        model: The network.
        threads: Threads that it computes with.

    Raises:
        UserError: No interpreter is installed.
        DataError: The file is no such network.
    """

    def __init__(self, model: PoseModel, *, threads: int = 1) -> None:
        make, self.versions = _interpreter()
        try:
            with _quietly():
                self._interpreter = make(model_content=model.data, num_threads=threads)
                self._interpreter.allocate_tensors()
            (given,) = self._interpreter.get_input_details()
            self._input, self._side = given["index"], _side_of(given)
            found = self._interpreter.get_output_details()
            self._points = _output(found, lambda shape: shape == (1, 195))
            self._score = _output(found, lambda shape: shape == (1, 1))
            mask_shape = (1, self._side, self._side, 1)
            self._mask = _output(found, lambda shape: shape == mask_shape)
        except (ValueError, RuntimeError) as error:
            reason = " ".join(str(error).split())[:200]
            raise DataError(
                f"{model.name} is no pose network that can be used ({reason}): it must map an "
                "image [1, S, S, 3] to landmarks [1, 195], a score [1, 1] and a mask [1, S, S, 1]"
            ) from error

    def __call__(self, image: np.ndarray) -> Pose:
        """Finds the person in an image, RGB, uint8 `[H, W, 3]`."""
        box = _Letterbox.of(image, side=self._side)
        self._interpreter.set_tensor(self._input, box.square(image)[None])
        self._interpreter.invoke()
        numbers = self._interpreter.get_tensor(self._points).reshape(-1, _FIELDS)[:_POINTS]
        score = float(self._interpreter.get_tensor(self._score)[0, 0])
        mask = self._interpreter.get_tensor(self._mask)[0, ..., 0]
        if not (np.isfinite(numbers).all() and np.isfinite(score) and np.isfinite(mask).all()):
            return Pose(_no_skeleton(), np.zeros(image.shape[:2], np.float32), 0.0)
        visible = _sigmoid(numbers[:, 3]) * _sigmoid(numbers[:, 4])
        skeleton = skeleton_of(box.to_image(numbers[:, :2]), visible, convention="blazepose33")
        return Pose(skeleton, box.mask_of(_sigmoid(mask)), min(max(score, 0.0), 1.0))


@contextlib.contextmanager
def _quietly() -> Iterator[None]:
    """Silences what the interpreter's C++ code says of itself on stderr; errors are exceptions."""
    try:
        kept = os.dup(2)
    except OSError:  # There is no stderr.
        yield
        return
    try:
        with pathlib.Path(os.devnull).open("wb") as nowhere:
            os.dup2(nowhere.fileno(), 2)
            yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)


def _no_skeleton() -> Skeleton:
    return skeleton_of(np.zeros((17, 2)), np.zeros(17), convention="coco17")


def _sigmoid(logits: np.ndarray) -> np.ndarray:
    return (1 / (1 + np.exp(-np.clip(logits.astype(np.float32), -50, 50)))).astype(np.float32)


def _side_of(given: Mapping[str, Any]) -> int:
    shape = tuple(int(length) for length in given["shape"])
    if len(shape) != 4 or shape[0] != 1 or shape[1] != shape[2] or shape[3] != 3:
        raise ValueError(f"its input is {list(shape)}")
    if given["dtype"] is not np.float32:
        raise ValueError(f"its input is of type {np.dtype(given['dtype'])}, not float32")
    return shape[1]


def _output(found: list[Mapping[str, Any]], fits: Any) -> int:
    for one in found:
        if fits(tuple(int(length) for length in one["shape"])):
            return int(one["index"])
    shapes = ", ".join(str([int(length) for length in one["shape"]]) for one in found)
    raise ValueError(f"its outputs are {shapes}")


def _interpreter() -> tuple[Any, dict[str, str]]:
    """The class of the interpreter that is installed, and its version.

    Raises:
        UserError: None is.
    """
    try:
        from ai_edge_litert.interpreter import Interpreter

        return Interpreter, {"ai-edge-litert": importlib.metadata.version("ai-edge-litert")}
    except ImportError:
        pass
    try:
        # Its class by its module: `tf.lite.Interpreter` warns that it will move.
        from tensorflow.lite.python.interpreter import Interpreter as OfTensorFlow
    except ImportError as error:
        raise UserError(
            "running a pose network takes an interpreter: pip install 'magnifier_jax[pose]' "
            "(or ai-edge-litert)"
        ) from error
    import tensorflow

    return OfTensorFlow, {"tensorflow": tensorflow.__version__}


# --- Letterboxing ---------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class _Letterbox:
    """Where an image lies in the network's square; it is never stretched.

    Attributes:
        side: Of the square, in pixels.
        left: First column of the image in the square.
        top: First row.
        width: Columns that it takes.
        height: Rows that it takes.
        size: Height and width of the image itself.
    """

    side: int
    left: int
    top: int
    width: int
    height: int
    size: tuple[int, int]

    @classmethod
    def of(cls, image: np.ndarray, *, side: int) -> _Letterbox:
        height, width = image.shape[:2]
        scale = side / (_MARGIN * max(height, width))
        inner_width, inner_height = max(1, round(width * scale)), max(1, round(height * scale))
        left, top = (side - inner_width) // 2, (side - inner_height) // 2
        return cls(side, left, top, inner_width, inner_height, (height, width))

    def square(self, image: np.ndarray) -> np.ndarray:
        """The square with the image in its middle on black, float32 `[S, S, 3]` in 0…1."""
        square = np.zeros((self.side, self.side, 3), np.float32)
        resized = Image.fromarray(image).resize(
            (self.width, self.height), Image.Resampling.BILINEAR
        )
        rows = slice(self.top, self.top + self.height)
        square[rows, self.left : self.left + self.width] = np.asarray(
            resized, np.float32
        ) / np.float32(255)
        return square

    def to_image(self, points: np.ndarray) -> np.ndarray:
        """Points of the square as points of the image, `[n, 2]`."""
        height, width = self.size
        scale = [[width / self.width, height / self.height]]
        return ((points - [[self.left, self.top]]) * scale).astype(np.float32)

    def mask_of(self, mask: np.ndarray) -> np.ndarray:
        """The image's part of a mask `[S, S]` at the image's size, float32 `[H, W]`."""
        rows = slice(self.top, self.top + self.height)
        inner = mask[rows, self.left : self.left + self.width]
        height, width = self.size
        if inner.shape == self.size:
            return inner
        resized = Image.fromarray(inner).resize((width, height), Image.Resampling.BILINEAR)
        return np.asarray(resized)
