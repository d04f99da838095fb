"""Draws a dressed person, piece by piece from far to near."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Mapping, Sequence

from input_pipeline.dataset import HEAD
from input_pipeline.synthetic.figure import bags, heads, lower_body, upper_body
from input_pipeline.synthetic.figure.figure import Figure
from input_pipeline.synthetic.figure.limbs import lay_limbs
from input_pipeline.synthetic.figure.pose import SIDES, Pose, View
from input_pipeline.synthetic.figure.shapes import Canvas, Surface, soft_ellipse
from input_pipeline.synthetic.people import Person

_BEHIND = 0.035
"""An arm this much farther than the trunk, in body heights, is drawn before it."""


@dataclasses.dataclass(frozen=True)
class _Laid:
    """The surfaces that everybody has; arms and legs by side."""

    skull: Surface
    neck: Surface
    torso: Surface
    arms: Mapping[str, Sequence[Surface]]
    legs: Mapping[str, Sequence[Surface]]


def draw_body(canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
    """Draws `person` in `pose` on top of `canvas`, with the shadow on the ground.

    Args:
        canvas: Changed in place; the part map gets the class of every pixel that shows the person.
            Bags keep the class of what they cover.
        person: Whom to draw.
        pose: How they hold themselves and which side is seen.
        view: Where in the image.
    """
    figure = Figure(canvas, person, pose, view)
    depth = figure.skeleton.depth
    _shadow(figure)
    laid = _lay(figure)
    trunk = 0.5 * (depth("neck") + depth("pelvis"))
    arms = sorted(SIDES, key=lambda side: _arm_depth(figure, side))
    behind = [side for side in arms if _arm_depth(figure, side) < trunk - _BEHIND]
    for side in behind:
        upper_body.arm(figure, laid.arms[side])
    if not bags.backpack_seen(figure):
        bags.backpack(figure)
    for side in sorted(SIDES, key=lambda side: depth(f"knee_{side}")):
        lower_body.leg(figure, side, laid.legs[side])
    heads.hair_behind(figure)
    figure.put(laid.neck, HEAD)
    lower_body.skirts(figure)
    upper_body.torso(figure, laid.torso)
    bags.straps(figure)
    bags.shoulder_bag(figure)
    for side in arms:
        if side not in behind:
            upper_body.arm(figure, laid.arms[side])
    if bags.backpack_seen(figure):
        bags.backpack(figure)
    heads.head(figure, laid.skull)
    bags.handbag(figure)


def _lay(figure: Figure) -> _Laid:
    """All that everybody has, laid at once."""
    limbs = [
        [heads.skull_limb(figure), heads.neck_limb(figure), upper_body.torso_limb(figure)],
        *(upper_body.arm_limbs(figure, side) for side in SIDES),
        *(lower_body.leg_limbs(figure, side) for side in SIDES),
    ]
    surfaces = iter(lay_limbs(figure.canvas, list(itertools.chain.from_iterable(limbs))))
    (skull, neck, torso), *sides = (list(itertools.islice(surfaces, len(g))) for g in limbs)
    arms, legs = sides[: len(SIDES)], sides[len(SIDES) :]
    return _Laid(
        skull=skull,
        neck=neck,
        torso=torso,
        arms=dict(zip(SIDES, arms, strict=True)),
        legs=dict(zip(SIDES, legs, strict=True)),
    )


def _arm_depth(figure: Figure, side: str) -> float:
    depth = figure.skeleton.depth
    return (
        0.5 * depth(f"shoulder_{side}") + 0.3 * depth(f"elbow_{side}") + 0.2 * depth(f"hand_{side}")
    )


def _shadow(figure: Figure) -> None:
    scale, canvas = figure.view.scale, figure.canvas
    feet = [figure.skeleton.at(f"{joint}_{side}") for joint in ("heel", "toe") for side in SIDES]
    columns = [foot[0] for foot in feet]
    x = sum(columns) / len(columns) - 0.12 * scale * figure.view.light[0]
    wide = 0.5 * (max(columns) - min(columns)) + 0.15 * scale
    soft_ellipse(canvas, (x, figure.view.y - 0.004 * scale), (wide, 0.05 * scale), 0.62)
    for foot in feet:
        under = (foot[0], foot[1] + 0.012 * scale)
        soft_ellipse(canvas, under, (0.06 * scale, 0.02 * scale), 0.4)
