"""A labeler for tests: it sees a person in what is brighter than a threshold."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.dataset import TORSO
from input_pipeline.part_labels.labelers import LabeledImage


@dataclasses.dataclass
class BrightLabeler:
    threshold: int = 128
    fails: bool = False

    @property
    def made_by(self) -> Mapping[str, str | int]:
        return {"labeler": "bright", "threshold": self.threshold}

    @property
    def versions(self) -> Mapping[str, str]:
        return {"numpy": np.__version__}

    def label(self, images: Sequence[np.ndarray]) -> list[LabeledImage]:
        if self.fails:
            raise RuntimeError("the labeler broke")
        return [self._label(image) for image in images]

    def _label(self, image: np.ndarray) -> LabeledImage:
        bright = image.mean(-1) > self.threshold
        if not bright.any():
            return LabeledImage(None, 0.1, 0.0)
        return LabeledImage(np.where(bright, TORSO, 0).astype(np.uint8), 0.95, 0.5)
