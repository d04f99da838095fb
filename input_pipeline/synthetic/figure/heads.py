"""Draws heads: face, hair and hats, placed by where the skull's surface points."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline.dataset import HEAD
from input_pipeline.synthetic.figure.figure import Figure
from input_pipeline.synthetic.figure.limbs import Limb, lay_limb
from input_pipeline.synthetic.figure.palette import Color, blend, darker
from input_pipeline.synthetic.figure.shapes import Surface, ellipse_radii
from input_pipeline.synthetic.people import Cut, Hat, Head

_HALF_HEIGHT = 0.068
_HALF_WIDTH = 0.050
_NECK = np.array((0.03, 0.026, 0.034))
_STRANDS = (9.0, 60.0)
_EYE: Color = (36, 28, 26)
_RIM: Color = (24, 24, 30)
# Length and half width of the hair that hangs, in body heights.
_HANGING = {Cut.BOB: (0.085, 0.055), Cut.LONG: (0.19, 0.058), Cut.PONYTAIL: (0.16, 0.02)}


def neck_limb(figure: Figure) -> Limb:
    """The neck."""
    x, y = figure.skeleton.at("neck")
    return figure.shape(
        figure.skeleton.at("head"),
        (x, y + 0.03 * figure.view.scale),
        _NECK,
        darker(figure.person.head.skin, 0.82),
        caps=(0.0, 0.012),
    )


def hair_behind(figure: Figure) -> None:
    """Draws the hair behind the neck and shoulders of someone who faces the camera."""
    if not _seen_from_behind(figure):
        _mane(figure)


def skull_limb(figure: Figure) -> Limb:
    """The skull."""
    half = (_HALF_WIDTH + 0.007 * abs(math.sin(_yaw(figure))), _HALF_HEIGHT)
    return _round(figure, (0.0, 0.0), half, figure.person.head.skin, egg=0.22)


def head(figure: Figure, skull: Surface) -> None:
    """Draws the head, and the hair that falls over the back of someone who faces away."""
    look, back = figure.person.head, -0.012 * math.sin(_yaw(figure))
    if look.hat is Hat.HOOD:
        figure.put(_blob(figure, (back, 0.0), (0.062, 0.082), look.hat_color), HEAD, folds=0.6)
    elif look.cut is Cut.AFRO and look.hat is Hat.NONE:
        hair = _blob(figure, (back, -0.018), (0.072, 0.072), look.hair)
        figure.put(hair, HEAD, folds=2.0)
    _skull(figure, skull)
    if _seen_from_behind(figure):
        _mane(figure)
    _on_top(figure)


def _yaw(figure: Figure) -> float:
    return figure.pose.yaw + figure.pose.nod


def _seen_from_behind(figure: Figure) -> bool:
    return math.cos(_yaw(figure)) <= 0.1


def _round(
    figure: Figure,
    offset: tuple[float, float],
    half: tuple[float, float],
    color: Color,
    *,
    egg: float = 0.0,
) -> Limb:
    """An upright ellipse at an offset from the head's center, all in body heights."""
    x, y = figure.skeleton.at("head")
    scale, size = figure.view.scale, figure.person.build.head
    half = (half[0] * size, half[1] * size)
    column, row, tall = x + offset[0] * scale, y + offset[1] * scale, half[1] * scale
    radii = ellipse_radii(half[0], egg=egg)
    return figure.shape((column, row - tall), (column, row + tall), radii, color, yaw=_yaw(figure))


def _blob(
    figure: Figure, offset: tuple[float, float], half: tuple[float, float], color: Color
) -> Surface:
    """An upright ellipse as of `_round`, laid on the canvas."""
    return lay_limb(figure.canvas, _round(figure, offset, half, color))


def _skull(figure: Figure, surface: Surface) -> None:
    look = figure.person.head
    up = 1 - 2 * surface.u
    girth = np.sqrt(np.maximum(1 - up**2, 0))
    front, left = surface.front * girth, surface.left * girth
    _face(look, surface, up, front, left)
    hair = _hair_mask(look.cut, up, front)
    if hair is not None:
        surface.paint(hair, blend(look.hair, look.skin) if look.cut is Cut.BUZZ else look.hair)
    if look.hat is Hat.HOOD:
        surface.paint((front < 0.25) | (up > 0.55), look.hat_color)
    elif look.hat is Hat.BEANIE:
        surface.paint(up > 0.2, look.hat_color)
        surface.paint((up > 0.2) & (up < 0.36), darker(look.hat_color, 0.75))
    elif look.hat is Hat.CAP:
        surface.paint(up > 0.32, look.hat_color)
    figure.put(surface, HEAD, folds=0.25, grain=_STRANDS, gloss=0.1)


def _face(
    look: Head, surface: Surface, up: np.ndarray, front: np.ndarray, left: np.ndarray
) -> None:
    """Paints the features; `up`, `front` and `left` say where the skull's surface points."""
    seen, away, skin = front > 0, np.abs(left), look.skin
    if look.beard:
        surface.paint((up < -0.22) & (front > 0.05) & (up < -0.05 - 0.2 * front), look.hair)
    surface.paint(seen & (away < 0.09) & (up > -0.26) & (up < -0.14), darker(skin, 0.8))
    surface.paint(seen & (away < 0.2) & (np.abs(up + 0.46) < 0.055), darker(skin, 0.62))
    brow = (np.abs(away - 0.34) < 0.17) & (np.abs(up - 0.24) < 0.035)
    surface.paint(seen & brow, darker(look.hair, 0.8))
    eye = ((away - 0.33) / 0.13) ** 2 + ((up - 0.08) / 0.07) ** 2 < 1
    surface.paint(seen & eye, _EYE)
    if look.glasses:
        lens = ((away - 0.33) / 0.25) ** 2 + ((up - 0.06) / 0.17) ** 2 < 1
        surface.paint((seen & lens) | ((np.abs(up - 0.1) < 0.04) & (front > -0.2)), _RIM)
    ear = (np.abs(front) < 0.16) & (np.abs(up) < 0.2) & (away > 0.2)
    surface.paint(ear, darker(skin, 0.84))


def _hair_mask(cut: Cut, up: np.ndarray, front: np.ndarray) -> np.ndarray | None:
    """Where hair covers the skull: above a hairline that falls from the forehead to the neck."""
    if cut is Cut.BALD:
        return None
    if cut in (Cut.BOB, Cut.LONG):
        sides = (front < 0.52 - 0.5 * np.maximum(up, 0)) & (up > -0.8)
        return (up > 0.5) | sides | (up > 0.62 * front + 0.1)
    if cut is Cut.FRINGE:
        return (up > 0.04 + 0.24 * front) | ((front < 0.15) & (up > -0.2))
    return up > 0.02 + 0.46 * front - 0.1 * (front < -0.3)


def _mane(figure: Figure) -> None:
    look = figure.person.head
    if look.hat is Hat.HOOD or look.cut not in _HANGING:
        return
    back, scale = -math.sin(_yaw(figure)), figure.view.scale
    length, wide = _HANGING[look.cut]
    if look.cut is Cut.PONYTAIL:
        start, end = (0.05 * back, -0.02), (0.075 * back, length)
    else:
        start, end = (0.016 * back, -0.005), (0.028 * back, length)
    x, y = figure.skeleton.at("head")
    surface = figure.limb(
        (x + start[0] * scale, y + start[1] * scale),
        (x + end[0] * scale, y + end[1] * scale),
        np.array((0.75, 1.0, 1.0, 0.92, 0.6)) * wide,
        look.hair,
        caps=(0.02, 0.012),
        yaw=_yaw(figure),
    )
    figure.put(surface, HEAD, folds=0.8, grain=_STRANDS, gloss=0.25)


def _on_top(figure: Figure) -> None:
    look, ahead, facing = figure.person.head, math.sin(_yaw(figure)), math.cos(_yaw(figure))
    if look.cut is Cut.BUN and look.hat is Hat.NONE:
        figure.put(_blob(figure, (-0.03 * ahead, -0.078), (0.024, 0.022), look.hair), HEAD)
    shade = darker(look.hat_color, 0.82)
    if look.hat is Hat.BEANIE:
        figure.put(_blob(figure, (0.0, -0.076), (0.014, 0.013), shade), HEAD)
    if look.hat is Hat.CAP and facing > -0.75:
        half = (0.028 + 0.022 * max(facing, 0.0), 0.011)
        figure.put(_blob(figure, (0.052 * ahead, -0.022 + 0.006 * facing), half, shade), HEAD)
