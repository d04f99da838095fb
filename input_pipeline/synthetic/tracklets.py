"""What changes from one image of a drawn tracklet to the next.

The person walks on, the crop jitters as a detector's does, and what is in front of the person, if
anything, passes by; all else, the place, the side that is seen and the light, stays.
"""

from __future__ import annotations

import dataclasses
import math

import numpy as np

from input_pipeline.synthetic.figure.pose import View
from input_pipeline.synthetic.settings import SyntheticSettings

_STREAM = 5
_STRIDE = 2 * math.pi / 7
"""Radians of a gait cycle from one image to the next."""
_SPEED = 0.15
"""Body heights that an occluder moves on from one image to the next."""
_JITTER = 0.02


@dataclasses.dataclass(frozen=True)
class Step:
    """One image of a tracklet.

    Attributes:
        ahead: How far on in the gait cycle, in radians.
        shift: How far the crop is off to the right and down, as shares of its width and height.
        size: Factor of the person's height.
        passing: How far to the right of its place an occluder is, in body heights.
        noise: Source of what differs by chance.
    """

    ahead: float
    shift: tuple[float, float]
    size: float
    passing: float
    noise: np.random.Generator

    def seen(self, view: View, size: tuple[int, int]) -> View:
        """The view in a crop of `size` (width, height) that is off so far."""
        x, y = view.x + size[0] * self.shift[0], view.y + size[1] * self.shift[1]
        return dataclasses.replace(view, x=x, y=y, scale=view.scale * self.size)

    def before(self, view: View) -> View:
        """The view of the person in relation to whom an occluder is placed."""
        return dataclasses.replace(view, x=view.x + self.passing * view.scale)


def make_step(settings: SyntheticSettings, number: int, frame: int) -> Step:
    """Image `frame` (0 and up) of a tracklet; the same arguments give the same step.

    Args:
        settings: Those of the dataset; `frames` is the length of its tracklets.
        number: Index of the tracklet.
        frame: Which of its images.
    """
    whole = np.random.default_rng((settings.seed, _STREAM, number))
    noise = np.random.default_rng((settings.seed, _STREAM, number, frame + 1))
    middle = whole.uniform(0, settings.frames - 1)
    way = float(whole.choice((-1.0, 1.0)))
    return Step(
        ahead=_STRIDE * frame,
        shift=(float(noise.normal(0, _JITTER)), float(noise.normal(0, _JITTER / 2))),
        size=1 + float(noise.normal(0, _JITTER)),
        passing=way * _SPEED * (frame - float(middle)),
        noise=noise,
    )
