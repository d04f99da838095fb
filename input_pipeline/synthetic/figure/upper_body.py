"""Draws torso and arms."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from input_pipeline import dataset as parts
from input_pipeline.synthetic.figure import cloth
from input_pipeline.synthetic.figure.figure import LOOSE_TOP, Figure
from input_pipeline.synthetic.figure.limbs import Limb
from input_pipeline.synthetic.figure.palette import darker
from input_pipeline.synthetic.figure.shapes import Surface
from input_pipeline.synthetic.people import Pattern, TopKind

_TUCKED, _UNTUCKED = 0.83, 0.93
_PALM = np.array((0.014, 0.019, 0.018, 0.012))
_FOREARM = np.array((0.0265, 0.027, 0.024, 0.0195))
_UPPER_ARM = np.array((0.033, 0.036, 0.033, 0.0285))
_BELT = (46, 34, 28)


def arm_limbs(figure: Figure, side: str) -> list[Limb]:
    """Hand, lower arm and upper arm of one side."""
    at, top = figure.skeleton.at, figure.person.top
    skin = figure.person.head.skin
    girth = 0.5 * (1 + figure.person.build.girth)
    covered = 1.0 if top.sleeve <= 0 else 0.5 * (1 + LOOSE_TOP[top.kind]) + 0.06
    shoulder, elbow, wrist = at(f"shoulder_{side}"), at(f"elbow_{side}"), at(f"wrist_{side}")
    fore = _FOREARM * girth
    fore = fore * covered * 1.06 if top.sleeve > 1.2 else fore
    over = _UPPER_ARM * girth * covered
    return [
        figure.shape(wrist, at(f"hand_{side}"), _PALM, skin, caps=(0.01, 0.014)),
        figure.shape(elbow, wrist, fore, skin, caps=(0.02, 0.006)),
        figure.shape(shoulder, elbow, over, skin, caps=(0.026, 0.02)),
    ]


def arm(figure: Figure, laid: Sequence[Surface]) -> None:
    """Draws hand, lower arm and upper arm of one side, `arm_limbs` laid on the canvas."""
    top = figure.person.top
    hand, lower, upper = laid
    figure.put(hand, parts.LOWER_ARM)
    if top.sleeve > 1:
        _sleeve(figure, lower, top.sleeve - 1)
    cloth.ring(lower, 0.68 if top.sleeve > 1.9 else 0.74, 1.2, top.cuff)
    figure.put(lower, parts.LOWER_ARM, folds=1.0 if top.sleeve > 1 else 0.1)
    if top.sleeve > 0:
        _sleeve(figure, upper, top.sleeve)
    cloth.ring(upper, 0.36, 0.62, top.band)
    figure.put(upper, parts.UPPER_ARM, folds=0.8 if top.sleeve > 0 else 0.1)


def _sleeve(figure: Figure, surface: Surface, length: float) -> None:
    top = figure.person.top
    if length < 1:
        sleeve = surface.u < length
        surface.paint(sleeve, top.sleeve_color)
    else:
        sleeve = None
        surface.fill(top.sleeve_color)
    if top.pattern not in (Pattern.PLAIN, Pattern.TWO_TONE, Pattern.BAND):
        count = max(2, top.count // 2)
        pattern = cloth.pattern_mask(surface, top.pattern, count, aspect=1.0)
        surface.paint(pattern if sleeve is None else sleeve & pattern, top.accent)
    if length < 1:
        cloth.hem(surface, length, top.sleeve_color, width=0.05)
    else:
        cloth.weave(surface, top.weave)


def torso_limb(figure: Figure) -> Limb:
    """The trunk in its garment."""
    pelvis = figure.skeleton.at("pelvis")
    return figure.shape(
        figure.skeleton.at("neck"),
        (pelvis[0], pelvis[1] + 0.02 * figure.view.scale),
        figure.trunk_radii(),
        figure.person.top.color,
        caps=(0.006, 0.03),
        yaw=figure.trunk_yaw,
    )


def torso(figure: Figure, surface: Surface) -> None:
    """Draws the trunk in its garment, and the waist of what is worn below."""
    top, bottom = figure.person.top, figure.person.bottom
    cloth.dress_surface(surface, top.pattern, top.accent, top.count, aspect=0.62)
    cloth.print_on(surface, top.print, top.print_color)
    cloth.art_on(surface, top.chest, top.back)
    cloth.weave(surface, top.weave)
    _details(figure, surface)
    if not top.hangs:
        waist = _TUCKED if top.kind in (TopKind.SHIRT, TopKind.JACKET) else _UNTUCKED
        waist = waist if top.waist is None else top.waist
        surface.paint(surface.u > waist, bottom.color)
        cloth.hem(surface, waist, top.color)
        if waist == _TUCKED:
            cloth.ring(surface, waist, waist + 0.045, _BELT)
        if top.hem is not None:
            cloth.ring(surface, waist, waist + 0.06, top.hem)
    cloth.ring(surface, -1.0, 0.13, top.scarf)
    figure.put(surface, parts.TORSO, folds=0.75)


def _details(figure: Figure, surface: Surface) -> None:
    """Opening, buttons, collar, hood and pocket."""
    top = figure.person.top
    u, side, front = surface.u, np.abs(surface.left), surface.front
    seen = front > 0
    if top.opens and not top.opening:
        surface.paint(seen & (side < 0.03), top.inner)
    elif top.opens:
        opening = top.opening + 0.16 * np.maximum(0.45 - u, 0)
        surface.paint(seen & (side < opening), top.inner)
        surface.paint(seen & (np.abs(side - opening) < 0.035), darker(top.color, 0.6))
    if top.kind is TopKind.SHIRT:
        surface.paint(seen & (side < 0.03), darker(top.color, 0.7))
        surface.paint((u < 0.07) & (side < 0.5), darker(top.color, 0.85))
    if top.kind is TopKind.HOODIE:
        pocket = (u > 0.6) & (u < 0.8) & (side < 0.5 - 0.9 * (u - 0.6))
        surface.paint(seen & pocket, darker(top.color, 0.8))
        surface.paint(~seen & (u < 0.2) & (side < 0.55), darker(top.color, 0.72))
    if top.kind in (TopKind.TEE, TopKind.DRESS, TopKind.SHIRT):
        surface.paint(seen & (u < 0.11 - 0.22 * side), figure.person.head.skin)
