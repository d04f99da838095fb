"""The labeler that sees people with a pose network."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.part_labels.labelers import LabeledImage, agreement_of
from input_pipeline.part_labels.pose.model_file import PoseModel
from input_pipeline.part_labels.pose.network import Pose, PoseNetwork
from input_pipeline.part_labels.pose.points import POINTS_VERSION, draw_parts

_SEEN = 0.5  # score from which somebody is taken to be there
_VERSION = 1
"""Raised whenever the same network would make another part map of an image."""


class PoseLabeler:
    """Part maps from the key points and the mask that a pose network sees.

    The network looks at the image and at its mirror image; points, mask and score are those of
    both.

    Args:
        model: The network.

    Raises:
        UserError: No interpreter is installed.
        DataError: The file is no such network.
    """

    def __init__(self, model: PoseModel) -> None:
        self._model = model
        self._network: PoseNetwork | None = PoseNetwork(model)
        self._versions = {
            "model": model.name,
            **self._network.versions,
            "numpy": np.__version__,
        }

    @property
    def made_by(self) -> Mapping[str, str | int]:
        """What decides the maps."""
        return {
            "labeler": "pose",
            "sha256": self._model.sha256,
            "version": _VERSION,
            "points": POINTS_VERSION,
        }

    @property
    def versions(self) -> Mapping[str, str]:
        """The name of the model file, and versions of the interpreter and of NumPy."""
        return self._versions

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        """Labels images, RGB, uint8 `[H, W, 3]` each."""
        return [self._label(image) for image in images]

    def _label(self, image: np.ndarray) -> LabeledImage:
        if self._network is None:  # in another process
            self._network = PoseNetwork(self._model)
        one = self._network(image)
        other = self._network(np.ascontiguousarray(image[:, ::-1])).mirrored()
        both = one.mean(other)
        if both.score < _SEEN:
            return LabeledImage(None, both.score, 0.0)
        parts = _draw(both)
        if not parts.any():
            return LabeledImage(None, both.score, 0.0)
        return LabeledImage(parts, both.score, agreement_of(_draw(one), _draw(other)))

    def __getstate__(self) -> dict[str, Any]:
        """Interpreters cannot be pickled."""
        return {**self.__dict__, "_network": None}


def _draw(pose: Pose) -> np.ndarray:
    height, width = pose.mask.shape
    return draw_parts(pose.skeleton, size=(height, width), mask=pose.mask)
