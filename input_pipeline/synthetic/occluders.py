"""Things in front of the person; they are background in the part map."""

from __future__ import annotations

import numpy as np

from input_pipeline.dataset import BACKGROUND
from input_pipeline.synthetic.figure import palette
from input_pipeline.synthetic.figure.body import draw_body
from input_pipeline.synthetic.figure.limbs import Limb, lay_limb
from input_pipeline.synthetic.figure.palette import Color
from input_pipeline.synthetic.figure.pose import View, draw_pose
from input_pipeline.synthetic.figure.shapes import Canvas, Surface, soft_ellipse
from input_pipeline.synthetic.people import draw_person


def draw_occluder(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    """Covers part of the canvas by a pole, a box, a plant or another person.

    Args:
        rng: Decides what and where.
        canvas: Changed in place.
        view: The view of the person who gets covered.
    """
    kinds = (_pole, _box, _plant, _passer_by)
    kinds[int(rng.choice(4, p=(0.25, 0.3, 0.15, 0.3)))](rng, canvas, view)


def draw_thing(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    """Covers part of the canvas by a pole, a box or a plant; arguments as of `draw_occluder`."""
    (_pole, _box, _plant)[int(rng.choice(3, p=(0.4, 0.4, 0.2)))](rng, canvas, view)


def _solid(
    canvas: Canvas,
    x: float,
    rows: tuple[float, float],
    half: float,
    color: Color,
) -> Surface:
    """An upright block; `rows` are its top and bottom."""
    ends = (x, rows[0]), (x, rows[1])
    return lay_limb(canvas, Limb(*ends, np.full(3, half), (0.0, 0.0), 0.0, color))


def _pole(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    s = view.scale
    x = view.x + rng.normal(0, 0.1) * s
    low = view.y + rng.uniform(0.02, 0.06) * s
    half = rng.uniform(0.02, 0.045) * s
    color = palette.darker((170, 172, 176), rng.uniform(0.4, 1.0))
    pole = _solid(canvas, x, (-0.1 * s, low), half, color)
    if rng.random() < 0.4:
        pole.paint(pole.u * 10 % 2 < 1, (224, 186, 50))
    pole.draw(canvas, part=BACKGROUND, light=view.light, gloss=0.4)


def _box(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    s = view.scale
    half = rng.uniform(0.10, 0.2) * s
    x = view.x + rng.choice((-1.0, 1.0)) * rng.uniform(0.0, 0.13) * s
    low = view.y + rng.uniform(0.02, 0.07) * s
    soft_ellipse(canvas, (x, low), (1.25 * half, 0.04 * s), 0.5)
    top = low - rng.uniform(0.18, 0.42) * s
    colors = ((150, 112, 74), (70, 96, 74), (116, 120, 126), (58, 72, 104))
    color = colors[int(rng.integers(len(colors)))]
    box = _solid(canvas, x, (top, low), half, color)
    box.paint((box.u * 6) % 1 < 0.08, palette.darker(color, 0.7))
    box.paint(box.u < 0.08, palette.darker(color, 1.2))
    box.bulge[:] = 0.9
    box.across *= 0.3
    box.draw(canvas, part=BACKGROUND, light=view.light)


def _plant(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    s = view.scale
    x = view.x + rng.choice((-1.0, 1.0)) * rng.uniform(0.02, 0.14) * s
    low = view.y - 0.04 * s
    tall = rng.uniform(0.22, 0.42)
    soft_ellipse(canvas, (x, low + 0.1 * s), (0.16 * s, 0.04 * s), 0.5)
    for lean in rng.permutation(np.linspace(-0.17, 0.17, 13)):
        tip = (x + lean * s, low - (tall - 0.7 * abs(lean)) * rng.uniform(0.7, 1.0) * s)
        shape = Limb(
            tip,
            (x + 0.15 * lean * s, low),
            np.array((0.002, 0.022, 0.026, 0.02, 0.01)) * s,
            caps=(0.0, 0.0),
            yaw=0.0,
            color=palette.darker((84, 138, 70), rng.uniform(0.55, 1.1)),
        )
        leaf = lay_limb(canvas, shape)
        leaf.paint(np.abs(leaf.across) < 0.12, (118, 160, 92))
        leaf.draw(canvas, part=BACKGROUND, light=view.light)
    pot = _solid(canvas, x, (low - 0.01 * s, low + 0.1 * s), 0.07 * s, (150, 92, 66))
    pot.paint(pot.u < 0.2, (172, 108, 80))
    pot.draw(canvas, part=BACKGROUND, light=view.light)


def _passer_by(rng: np.random.Generator, canvas: Canvas, view: View) -> None:
    other = View(
        x=view.x + rng.choice((-1.0, 1.0)) * rng.uniform(0.17, 0.28) * view.scale,
        y=view.y + rng.uniform(0.03, 0.12) * view.scale,
        scale=view.scale * rng.uniform(1.0, 1.1),
        pitch=view.pitch,
        light=view.light,
    )
    layer = Canvas(canvas.planes, np.zeros_like(canvas.parts))
    draw_body(layer, draw_person(rng), draw_pose(rng, rng.uniform(0, 6.28)), other)
    canvas.parts[layer.parts > 0] = BACKGROUND
