"""Light and shadow over the whole image: edges of shadows, leaves, and shadows on the ground."""

from __future__ import annotations

import functools
import math

import numpy as np

from input_pipeline.synthetic.figure.pose import View
from input_pipeline.synthetic.figure.shapes import Canvas, soft_ellipse
from input_pipeline.synthetic.worlds.backdrops import field
from input_pipeline.synthetic.worlds.optics import WorldCamera


def ground_shadow(rng: np.random.Generator, canvas: Canvas, view: View, hardness: float) -> None:
    """A long shadow on the ground, away from the light."""
    length = rng.uniform(0.1, 0.9) * hardness
    side = -math.copysign(1.0, view.light[0])
    lift = rng.uniform(-0.3, 0.15)
    for share in (0.2, 0.45, 0.7, 1.0):
        x = view.x + side * share * length * view.scale
        y = view.y + lift * share * length * view.scale
        radii = (0.16 * view.scale, (0.03 + 0.02 * share) * view.scale)
        soft_ellipse(canvas, (x, y), radii, 0.45 * hardness)


@functools.lru_cache(maxsize=1024)
def _ramp(number: int) -> np.ndarray:
    """Equal steps from -1 to 1, float64 `[number]`."""
    return np.linspace(-1, 1, number)


def overall(rng: np.random.Generator, canvas: Canvas, camera: WorldCamera) -> None:
    """Changes the light over person and background alike, in some of the images."""
    kind = rng.random()
    deep = float(rng.uniform(0.25, 0.75)) * (0.4 + camera.hardness)
    height, width = canvas.parts.shape
    if kind < 0.12 * (1 + 2 * camera.sun):
        angle, reach = rng.uniform(0, 2 * math.pi), rng.normal(0, 0.25)
        x = np.linspace(-0.5, 0.5, width, dtype=np.float32) * math.cos(angle)
        y = np.linspace(-1, 1, height, dtype=np.float32)[:, None] * math.sin(angle)
        share = np.clip((x + y - reach) * rng.uniform(2, 20) + 0.5, 0, 1)
        factor = 1 - deep * share
    elif kind < 0.2 * (1 + 2 * camera.sun):
        lumps = field(rng, height, width, float(rng.uniform(0.25, 0.9)))
        factor = 1 - 0.8 * deep * np.clip(0.5 + lumps * rng.uniform(0.4, 1.5), 0, 1)
    elif kind < 0.7:
        factor = 1 + _ramp(height)[:, None] * rng.uniform(-0.25, 0.25)
        factor = factor + _ramp(width) * rng.uniform(-0.2, 0.2)
    else:
        return
    planes = canvas.planes
    planes *= factor.astype(np.float32)
