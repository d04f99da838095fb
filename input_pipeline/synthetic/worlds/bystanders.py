"""Other people in the image: cut out once for each dataset, and pasted where they are needed."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image

from input_pipeline.dataset import BACKGROUND
from input_pipeline.synthetic.figure.body import draw_body
from input_pipeline.synthetic.figure.pose import View, draw_pose
from input_pipeline.synthetic.figure.shapes import Canvas, Tone
from input_pipeline.synthetic.worlds.wardrobe import draw_passenger, without_load

_STREAM = 13
_KINDS = 40
_TALL, _WIDE = 160, 96
_FOOT, _BODY = 150, 138


@dataclasses.dataclass(frozen=True)
class Place:
    """Where a bystander stands.

    Attributes:
        x: Column of the feet.
        y: Row of the feet.
        scale: Pixels per body height.
        mirrored: Whether left and right are swapped.
    """

    x: float
    y: float
    scale: float
    mirrored: bool


class Bystanders:
    """The cut-outs of one dataset, drawn when first needed."""

    def __init__(self, seed: int) -> None:
        """Draws nothing yet."""
        self._seed = seed
        self._cut: dict[int, Image.Image] = {}

    def paste(
        self, rng: np.random.Generator, canvas: Canvas, place: Place, *, covers: bool
    ) -> None:
        """Puts someone on the canvas; where they cover the person, the part map is background."""
        image = self._cut_out(int(rng.integers(_KINDS)))
        if place.mirrored:
            image = image.transpose(Image.Transpose.FLIP_LEFT_RIGHT)
        ratio = place.scale / _BODY
        size = (max(4, round(_WIDE * ratio)), max(8, round(_TALL * ratio)))
        values = np.asarray(image.resize(size, Image.Resampling.BILINEAR), np.float32)
        left, top = round(place.x - size[0] / 2), round(place.y - _FOOT * ratio)
        height, width = canvas.parts.shape
        rows = slice(max(top, 0), max(min(top + size[1], height), 0))
        columns = slice(max(left, 0), max(min(left + size[0], width), 0))
        values = values[
            rows.start - top : rows.stop - top, columns.start - left : columns.stop - left
        ]
        if not values.size:
            return
        alpha = values[..., 3] / np.float32(255)
        under = canvas.planes[..., rows, columns]
        under *= 1 - alpha
        # The cut-out is multiplied by its alpha already.
        under += values[..., :3].transpose(2, 0, 1)
        if covers:
            canvas.parts[rows, columns][alpha > 0.5] = BACKGROUND

    def _cut_out(self, kind: int) -> Image.Image:
        """Someone, RGBA; colors are multiplied by alpha. Drawn on black and on white to get it."""
        if kind not in self._cut:
            rng = np.random.default_rng((self._seed, _STREAM, kind))
            planes = np.zeros((2, 3, _TALL, _WIDE), np.float32)
            planes[1] = 255
            canvas = Canvas(planes, np.zeros((_TALL, _WIDE), np.uint8))
            person = without_load(draw_passenger(rng))
            pose = draw_pose(rng, float(rng.uniform(-math.pi, math.pi)))
            light = (float(rng.uniform(-0.6, 0.6)), -0.5, 0.7)
            hard = rng.uniform(0.1, 0.6)
            tone = Tone(float(hard), float(1.05 - 0.6 * hard), 1.5)
            view = View(_WIDE / 2, _FOOT, _BODY, 0.2, light, tone, 0.08)
            draw_body(canvas, person, pose, view)
            layers = np.ascontiguousarray(canvas.pixels)
            alpha = np.clip(255 - (layers[1] - layers[0]).mean(-1, keepdims=True), 0, 255)
            values = np.concatenate((np.clip(layers[0], 0, 255), alpha), axis=-1)
            self._cut[kind] = Image.fromarray(values.astype(np.uint8), "RGBA")
        return self._cut[kind]
