"""Draws legs, feet and what hangs over them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from input_pipeline import dataset as parts
from input_pipeline.synthetic.figure import cloth
from input_pipeline.synthetic.figure.figure import Figure
from input_pipeline.synthetic.figure.limbs import Limb
from input_pipeline.synthetic.figure.palette import Color, darker
from input_pipeline.synthetic.figure.pose import SIDES
from input_pipeline.synthetic.figure.shapes import Surface
from input_pipeline.synthetic.people import BottomKind, Pattern, Person, ShoeKind, TopKind

_LOOSE = {
    BottomKind.TROUSERS: 1.1,
    BottomKind.JEANS: 1.05,
    BottomKind.WIDE: 1.14,
    BottomKind.LEGGINGS: 0.94,
    BottomKind.SHORTS: 1.22,
}
_THIGH = np.array((0.060, 0.059, 0.054, 0.047, 0.041))
_SHIN = np.array((0.037, 0.041, 0.040, 0.033, 0.027, 0.025))
_SHOE = np.array((0.023, 0.025, 0.026, 0.027, 0.024))
_SHAFT = np.array((0.024, 0.027, 0.026))
_FLARED = np.linspace(0.048, 0.060, len(_SHIN))
_SHORTS_END = 0.92


def leg_limbs(figure: Figure, side: str) -> list[Limb]:
    """Shaft and length of the shoe, lower leg and upper leg of one side."""
    person, at = figure.person, figure.skeleton.at
    bottom, skin, shoes = person.bottom, person.head.skin, person.shoes
    girth = (0.4 + 0.6 * person.build.girth) * (0.5 + 0.5 * person.build.hips)
    heel, toe, knee, ankle = (at(f"{name}_{side}") for name in ("heel", "toe", "knee", "ankle"))
    sole = _SHOE * 0.82 if shoes.kind is ShoeKind.PUMP else _SHOE
    front, back = (heel, toe) if heel[1] <= toe[1] else (toe, heel)
    shin = _SHIN * girth if person.bare_shins else _SHIN * girth * _LOOSE[bottom.kind] * 1.12
    if bottom.kind is BottomKind.WIDE and not person.bare_shins:
        shin = _FLARED
    bare = person.bare_thighs
    return [
        figure.shape(ankle, heel, _SHAFT, shoes.color, caps=(0.012, 0.012)),
        figure.shape(
            front,
            back,
            sole if front is heel else sole[::-1],
            shoes.color,
            caps=(0.014, 0.016),
        ),
        figure.shape(
            knee, ankle, shin, skin if person.bare_shins else bottom.color, caps=(0.03, 0.012)
        ),
        figure.shape(
            at(f"hip_{side}"),
            knee,
            _THIGH * girth * (1.0 if bare else _LOOSE[bottom.kind]),
            skin if bare else bottom.color,
            caps=(0.03, 0.005 if _short(person) else 0.03),
        ),
    ]


def _short(person: Person) -> bool:
    """Whether trousers end at the knees."""
    return person.bare_shins and not person.bare_thighs


def leg(figure: Figure, side: str, laid: Sequence[Surface]) -> None:
    """Draws foot, lower leg and upper leg of one side, `leg_limbs` laid on the canvas."""
    person = figure.person
    bottom, bare = person.bottom, person.bare_thighs
    shaft, foot, lower, upper = laid
    figure.put(shaft, parts.FOOT)
    _foot(figure, side, foot)
    _lower_leg(figure, lower)
    if not bare:
        _trouser(figure, upper)
        if bottom.stripe is not None:
            upper.paint((np.abs(upper.left) > 0.75) & (upper.u < 0.9), bottom.stripe)
    if _short(person):
        upper.paint(upper.u > _SHORTS_END, person.head.skin)
        cloth.hem(upper, _SHORTS_END, bottom.color)
    figure.put(upper, parts.UPPER_LEG, folds=0.15 if bare else 0.7)


def _lower_leg(figure: Figure, lower: Surface) -> None:
    person = figure.person
    bottom, boots, bare = person.bottom, person.shoes.kind is ShoeKind.BOOT, person.bare_shins
    if bare:
        cloth.ring(lower, 0.42 if boots else 0.62, 1.3, bottom.sock)
    else:
        _trouser(figure, lower)
        cloth.ring(lower, 0.68, 0.92, bottom.cuff)
    if boots:
        cloth.ring(lower, 0.66 if bare else 0.86, 1.4, person.shoes.color)
    figure.put(lower, parts.LOWER_LEG, folds=0.15 if bare else 0.9)


def _trouser(figure: Figure, surface: Surface) -> None:
    bottom = figure.person.bottom
    cloth.weave(surface, bottom.weave)
    cloth.dress_surface(surface, bottom.pattern, bottom.accent, bottom.count, aspect=0.9)
    if bottom.kind is BottomKind.JEANS:
        red, green, blue = bottom.color
        faded = (min(red + 26, 255), min(green + 26, 255), min(blue + 22, 255))
        surface.paint((surface.front > 0.75) & (surface.u > 0.2) & (surface.u < 0.85), faded)


def _foot(figure: Figure, side: str, foot: Surface) -> None:
    at, shoes, scale = figure.skeleton.at, figure.person.shoes, figure.view.scale
    start, end = sorted((at(f"heel_{side}"), at(f"toe_{side}")), key=lambda point: point[1])
    # The sole is the lowest band in the image, whichever way the foot points.
    rows, columns = foot.window
    row, column = figure.canvas.rows[rows, None], figure.canvas.columns[columns]
    span = end[0] - start[0]
    share = np.clip((column - start[0]) / span, 0, 1) if abs(span) > 1 else np.ones_like(column)
    thickness = 0.010 if shoes.kind is ShoeKind.SNEAKER else 0.015
    edge = start[1] + share * (end[1] - start[1]) + thickness * scale
    foot.paint(row > edge, shoes.sole)
    figure.put(foot, parts.FOOT, gloss=0.3)


def skirts(figure: Figure) -> None:
    """Draws a skirt, and what of a coat or dress hangs below the hip."""
    top, bottom = figure.person.top, figure.person.bottom
    if figure.person.bare_thighs and top.kind is not TopKind.DRESS:
        length = 1.6 if figure.person.long_skirt else 0.85
        surface = _hanging(figure, length, bottom.color, flare=1.3)
        cloth.dress_surface(surface, bottom.pattern, bottom.accent, bottom.count, aspect=0.8)
        cloth.weave(surface, bottom.weave)
        _put_hanging(figure, surface, bottom.color)
    if top.hangs:
        coat = top.kind is TopKind.COAT
        surface = _hanging(figure, top.length, top.color, flare=1.12 if coat else 1.3)
        if not coat and top.pattern not in (Pattern.TWO_TONE, Pattern.BAND):
            cloth.dress_surface(surface, top.pattern, top.accent, top.count, aspect=0.8)
        if coat:
            edge = (np.abs(surface.left) < 0.05) & (surface.front > 0)
            surface.paint(edge, darker(top.color, 0.5))
        cloth.weave(surface, top.weave)
        _put_hanging(figure, surface, top.color)


def _hanging(figure: Figure, length: float, color: Color, *, flare: float) -> Surface:
    """A cone from the hips down to `length` leg segments; wider when the legs are apart."""
    at, scale = figure.skeleton.at, figure.view.scale
    upper, lower, share = ("hip", "knee", length) if length <= 1 else ("knee", "ankle", length - 1)
    columns, rows = [], []
    for side in SIDES:
        (x0, y0), (x1, y1) = at(f"{upper}_{side}"), at(f"{lower}_{side}")
        columns.append(x0 + share * (x1 - x0))
        rows.append(y0 + share * (y1 - y0))
    hips = figure.trunk_radii()[-1]
    rim = max(hips * flare, 0.5 * abs(columns[0] - columns[1]) / scale + 0.055)
    end = (0.5 * sum(columns), max(rows))
    radii = np.linspace(hips * 1.02, rim, 5)
    return figure.limb(at("pelvis"), end, radii, color, caps=(0.02, 0.008))


def _put_hanging(figure: Figure, surface: Surface, color: Color) -> None:
    """Draws a cone; what lies below the knees is lower leg."""
    long = figure.person.long_skirt and color == figure.person.bottom.color
    low = 0.22 if long else 0.45
    cloth.ring(surface, low, low + 0.22, figure.person.bottom.stripe)
    if long:
        cloth.ring(surface, 0.72, 0.94, figure.person.bottom.cuff)
    cloth.hem(surface, 1.0, color, width=0.03)
    figure.put(surface, parts.UPPER_LEG, folds=1.2, grain=(7.0, 38.0))
    knee = 0.5 * sum(figure.skeleton.at(f"knee_{side}")[1] for side in SIDES)
    row = np.arange(surface.window[0].start, surface.window[0].stop)[:, None]
    below = (surface.cover > 0.5) & (row > knee)
    figure.canvas.parts[surface.window][below] = parts.LOWER_LEG
