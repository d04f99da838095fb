"""Where in its crop a person is: as a detector would put them, now and then badly."""

from __future__ import annotations

import dataclasses
import enum

import numpy as np

from input_pipeline.synthetic.figure.pose import Pose, View, joints, project
from input_pipeline.synthetic.figure.shapes import Tone
from input_pipeline.synthetic.people import LoadKind, Person, either_way, one_of
from input_pipeline.synthetic.worlds.optics import WorldCamera

_MARGIN_TOP, _MARGIN_LOW, _MARGIN_SIDE = 0.085, 0.02, 0.05
"""What of the body lies beyond its joints, in body heights."""


class Crop(enum.StrEnum):
    """How well a crop fits its person."""

    TIGHT = "tight"
    WIDE = "wide"
    SHIFTED = "shifted"
    NO_FEET = "no feet"
    NO_HEAD = "no head"


_SHARE = {
    Crop.TIGHT: 0.72,
    Crop.WIDE: 0.10,
    Crop.SHIFTED: 0.08,
    Crop.NO_FEET: 0.07,
    Crop.NO_HEAD: 0.03,
}


@dataclasses.dataclass(frozen=True)
class Frame:
    """A crop and the view that it gives of its person."""

    crop: Crop
    view: View


def frame_person(
    rng: np.random.Generator,
    camera: WorldCamera,
    person: Person,
    pose: Pose,
    *,
    size: tuple[int, int],
    tone: Tone,
) -> Frame:
    """Fits the crop of `size` (width, height) to the person as a detector does, or misses."""
    width, height = size
    crop = one_of(rng, _SHARE)
    flipped = -1.0 if rng.random() < 0.5 else 1.0
    light = (camera.sunlight[0] * flipped, camera.sunlight[1], camera.sunlight[2])
    unit = View(0.0, 0.0, 1.0, camera.pitch, light, tone, camera.taper)
    skeleton = project(joints(pose, person.build), pose.yaw, unit)
    columns, rows = zip(*skeleton.xy.values(), strict=True)
    left, top = min(columns) - _MARGIN_SIDE, min(rows) - _MARGIN_TOP * person.build.head
    right, low = max(columns) + _MARGIN_SIDE, max(rows) + _MARGIN_LOW
    if person.load.kind is LoadKind.UMBRELLA:
        top -= 0.1
    tall = camera.fill * min(max(rng.normal(1, 0.035), 0.85), 1.08)
    if crop is Crop.WIDE:
        tall *= rng.uniform(0.6, 0.85)
    scale = tall * height / (low - top)
    scale = min(scale, 1.15 * width / max(right - left, 1e-3))
    x = 0.5 * width - 0.5 * (left + right) * scale + rng.normal(0, 0.04) * width
    free = height - (low - top) * scale
    y = height - low * scale - free * min(max(rng.normal(0.5, 0.15), 0.05), 0.95)
    if crop is Crop.SHIFTED:
        x += either_way(rng) * rng.uniform(0.12, 0.28) * width
        y += rng.uniform(-0.08, 0.08) * height
    elif crop is Crop.NO_FEET:
        scale *= rng.uniform(1.1, 1.35)
        y = -top * scale + rng.uniform(0.01, 0.06) * height
    elif crop is Crop.NO_HEAD:
        scale *= rng.uniform(1.05, 1.15)
        y = height - low * scale - rng.uniform(0.0, 0.03) * height
    return Frame(crop, dataclasses.replace(unit, x=float(x), y=float(y), scale=float(scale)))
