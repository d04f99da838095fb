"""The labeler that parses people with a small network of our own, trained on drawn people."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image

from input_pipeline.dataset import BACKGROUND, HEAD, TORSO, UPPER_LEG
from input_pipeline.images.codec import resize_image
from input_pipeline.part_labels.drawn.weights import Weights, read_weights
from input_pipeline.part_labels.labelers import LabeledImage, agreement_of

_BATCH = 16  # images that the network sees at a time, each with its mirror image
_SEEN = 0.8  # score from which somebody is taken to be there
_LEAST = 0.02  # share of the image that a person covers at least
_VERSION = 1
"""Raised whenever the same weights would make another part map of an image."""


@dataclasses.dataclass(frozen=True)
class Box:
    """Where an image lies in the parser's input, in pixels; all four are even."""

    top: int
    left: int
    height: int
    width: int


class DrawnLabeler:
    """Part maps by the part parser that comes with the package.

    The parser looks at the image and at its mirror image, and the classes' probabilities are those
    of both.
    """

    def __init__(self, weights: Weights | None = None) -> None:
        """Takes a trained parser; None is the one that comes with the package.

        Raises:
            DataError: Its file is missing or damaged.
        """
        self._weights = read_weights() if weights is None else weights
        self._parse: Callable[[np.ndarray], np.ndarray] | None = None

    @property
    def made_by(self) -> Mapping[str, str | int]:
        """What decides the maps."""
        return {"labeler": "drawn", "sha256": self._weights.sha256, "version": _VERSION}

    @property
    def versions(self) -> Mapping[str, str]:
        """Versions of JAX and NumPy."""
        import jax

        return {"jax": jax.__version__, "numpy": np.__version__}

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        """Labels images, RGB, uint8 `[H, W, 3]` each."""
        found: list[LabeledImage] = []
        for start in range(0, len(images), _BATCH):
            found += self._label(images[start : start + _BATCH])
        return found

    def _label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        if self._parse is None:
            self._parse = _compiled(self._weights)
        size = (self._weights.size.height, self._weights.size.width)
        inputs = np.zeros((2 * _BATCH, *size, 3), np.uint8)
        boxes = []
        for row, image in enumerate(images):
            inputs[row], box = letterbox(image, size=size)
            boxes.append(box)
        inputs[_BATCH:] = inputs[:_BATCH, :, ::-1]
        shares = self._parse(inputs)
        return [
            _labeled(
                cells_of(shares[row], box),
                cells_of(shares[_BATCH + row, :, ::-1], box),
                size=(image.shape[0], image.shape[1]),
            )
            for row, (image, box) in enumerate(zip(images, boxes, strict=True))
        ]

    def __getstate__(self) -> dict[str, Any]:
        """Compiled functions cannot be pickled."""
        return {**self.__dict__, "_parse": None}


def letterbox(image: np.ndarray, *, size: tuple[int, int]) -> tuple[np.ndarray, Box]:
    """An image in the middle of the parser's input, with its proportions kept.

    Args:
        image: uint8 `[h, w, 3]`.
        size: Height and width of the input; both even.

    Returns:
        uint8 `[*size, 3]`, and where the image lies in it.
    """
    from input_pipeline.part_labels.drawn.network import PADDING

    height, width = image.shape[:2]
    scale = min(size[0] / height, size[1] / width)
    # Even, so that cells of 2 × 2 pixels belong to the image or not.
    tall = min(size[0], max(2, 2 * round(height * scale / 2)))
    wide = min(size[1], max(2, 2 * round(width * scale / 2)))
    box = Box((size[0] - tall) // 4 * 2, (size[1] - wide) // 4 * 2, tall, wide)
    boxed = np.full((*size, 3), PADDING, np.uint8)
    resized = resize_image(Image.fromarray(image), image_size=(tall, wide))
    boxed[box.top : box.top + tall, box.left : box.left + wide] = resized
    return boxed, box


def cells_of(shares: np.ndarray, box: Box) -> np.ndarray:
    """The cells under an image, of those of the whole letterbox, `[h, w, 8]`."""
    top, left = box.top // 2, box.left // 2
    return shares[top : top + box.height // 2, left : left + box.width // 2]


def enlarge(cells: np.ndarray, *, size: tuple[int, int]) -> np.ndarray:
    """Probabilities of cells, interpolated at the pixels of the image that they cover.

    Args:
        cells: float32 `[h, w, 8]`.
        size: Height and width of the image.

    Returns:
        float32 `[H, W, 8]`.
    """
    height, width, classes = cells.shape
    down = _interpolation(height, size[0]) @ cells.reshape(height, width * classes)
    return np.matmul(_interpolation(width, size[1]), down.reshape(size[0], width, classes))


@functools.lru_cache(maxsize=256)
def _interpolation(source: int, target: int) -> np.ndarray:
    """Linear interpolation between centers, `[target, source]`; rows add up to 1."""
    where = ((np.arange(target) + 0.5) * source / target - 0.5).clip(0, source - 1)
    below = np.minimum(where.astype(int), max(source - 2, 0))
    matrix = np.zeros((target, source), np.float32)
    matrix[np.arange(target), np.minimum(below + 1, source - 1)] = where - below
    matrix[np.arange(target), below] += 1 - (where - below)
    return matrix


def _labeled(one: np.ndarray, other: np.ndarray, *, size: tuple[int, int]) -> LabeledImage:
    """What the cells `[h, w, 8]` of an image and of its mirror image come to."""
    both = (one + other) / 2
    classes = both.argmax(-1)
    person = classes != BACKGROUND
    # The median: outlines are in doubt on every image.
    score = float(np.median(1 - both[person][:, BACKGROUND])) if person.any() else 0.0
    body = np.isin((HEAD, TORSO, UPPER_LEG), classes).sum()
    if score < _SEEN or person.mean() < _LEAST or body < 2:
        return LabeledImage(None, score, 0.0)
    parts = enlarge(both, size=size).argmax(-1).astype(np.uint8)
    agreement = agreement_of(one.argmax(-1).astype(np.uint8), other.argmax(-1).astype(np.uint8))
    return LabeledImage(parts, score, agreement)


def _compiled(weights: Weights) -> Callable[[np.ndarray], np.ndarray]:
    """Images uint8 `[N, H, W, 3]` to probabilities `[N, H/2, W/2, 8]`."""
    import jax

    from input_pipeline.part_labels.drawn.network import Parser, normalize

    parser = Parser(weights.size)
    variables = jax.device_put(weights.variables)

    @jax.jit
    def run(given: Any, inputs: jax.Array) -> jax.Array:
        logits: Any = parser.apply(given, normalize(inputs))
        return jax.nn.softmax(logits)

    return lambda images: np.asarray(run(variables, images))
