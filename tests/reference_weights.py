"""Weights and inputs that anyone can draw again, on which the original's numbers were computed.

Every tensor comes from a generator seeded by its own name, so the golden numbers in `golden/` need
no checkpoint of 180 MB beside them. The draws must never change: the numbers hang on them.
"""

from __future__ import annotations

import dataclasses
import json
import math
import pathlib
import zlib

import numpy as np

GOLDEN = pathlib.Path(__file__).with_name("golden")
NUM_IDENTITIES = 767
_PARTS = 8


@dataclasses.dataclass(frozen=True)
class ReferenceBatch:
    """A batch in our layouts.

    Attributes:
        images: Normalized images, float32 `[N, H, W, 3]`.
        part_labels: Part classes, int64 `[N, H/8, W/8]`.
        labels: Identities, int64 `[N]`.
    """

    images: np.ndarray
    part_labels: np.ndarray
    labels: np.ndarray


def torch_state() -> dict[str, np.ndarray]:
    """All tensors of the original network, by its names and in PyTorch's layouts."""
    shapes = json.loads((GOLDEN / "state_dict_spec.json").read_text())
    return {name: _draw_tensor(name, tuple(shape)) for name, shape in shapes.items()}


def batch(size: int, *, height: int, width: int) -> ReferenceBatch:
    """Noise for images, horizontal bands of parts with some noise, four identities."""
    rng = _generator("inputs")
    images = rng.standard_normal((size, 3, height, width)).astype(np.float32)
    rows, columns = height // 8, width // 8
    part_labels = np.empty((size, rows, columns), np.int64)
    part_labels[:] = (1 + np.arange(rows) * (_PARTS - 1) // rows)[:, None]
    margin = max(1, columns // 6)
    part_labels[:, :, :margin] = 0
    part_labels[:, :, columns - margin :] = 0
    wrong = rng.random(part_labels.shape) < 0.15
    part_labels[wrong] = rng.integers(0, _PARTS, wrong.sum())
    labels = np.repeat(np.arange(4) * 37, math.ceil(size / 4))[:size]
    return ReferenceBatch(images.transpose(0, 2, 3, 1), part_labels, labels.astype(np.int64))


def _generator(name: str) -> np.random.Generator:
    return np.random.default_rng([zlib.crc32(name.encode()), 0])


def _draw_tensor(name: str, shape: tuple[int, ...]) -> np.ndarray:
    rng = _generator(name)
    kind = name.rpartition(".")[2]
    if kind == "num_batches_tracked":
        return np.zeros(shape, np.int64)
    if kind == "running_var":
        return rng.uniform(0.5, 1.5, shape).astype(np.float32)
    if kind == "running_mean":
        return (0.1 * rng.standard_normal(shape)).astype(np.float32)
    if kind == "bias":
        return (0.05 * rng.standard_normal(shape)).astype(np.float32)
    if len(shape) == 1:
        return rng.uniform(0.5, 1.0, shape).astype(np.float32)
    incoming = 9 * shape[0] if "deconv" in name else math.prod(shape[1:])
    return (rng.standard_normal(shape) / np.sqrt(incoming)).astype(np.float32)
