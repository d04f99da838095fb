"""Draws what is held or pushed: umbrellas, suitcases, prams and bicycles; all are background."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline.dataset import BACKGROUND
from input_pipeline.synthetic.figure.figure import Figure
from input_pipeline.synthetic.figure.palette import Color, darker
from input_pipeline.synthetic.people import LoadKind

_METAL: Color = (120, 122, 126)
_TIRE: Color = (28, 28, 30)
_WHEEL = 0.185
"""Radius of a bicycle's wheel in body heights."""
_BOX = np.array((0.92, 1.0, 1.0, 1.0, 1.0, 0.94))
_DOME = np.array((0.06, 0.45, 0.68, 0.84, 0.94, 1.0, 0.96))


def behind(figure: Figure) -> None:
    """Draws what the person hides."""
    kind = figure.person.load.kind
    if kind is LoadKind.BICYCLE:
        _bicycle(figure, front=figure.facing < 0.5, rear=True)
    if kind is LoadKind.PRAM and figure.facing <= 0.2:
        _pram(figure)
    if kind is LoadKind.SUITCASE and not _right_is_near(figure):
        _suitcase(figure)


def before(figure: Figure) -> None:
    """Draws what hides the person."""
    kind = figure.person.load.kind
    if kind is LoadKind.BICYCLE and figure.facing >= 0.5:
        _bicycle(figure, front=True, rear=False)
    if kind is LoadKind.PRAM and figure.facing > 0.2:
        _pram(figure)
    if kind is LoadKind.SUITCASE and _right_is_near(figure):
        _suitcase(figure)
    if kind is LoadKind.UMBRELLA:
        _umbrella(figure)


def _right_is_near(figure: Figure) -> bool:
    depth = figure.skeleton.depth
    return depth("hand_right") >= depth("pelvis") - 0.04


def _ground(figure: Figure, forward: float) -> tuple[float, float]:
    """The point on the ground so far ahead of the person, in body heights."""
    view = figure.view
    toward = forward * figure.facing * math.sin(view.pitch)
    return view.x + forward * figure.ahead * view.scale, view.y + toward * view.scale


def _umbrella(figure: Figure) -> None:
    scale, load = figure.view.scale, figure.person.load
    (hand_x, hand_y), (head_x, head_y) = (
        figure.skeleton.at("hand_right"),
        figure.skeleton.at("head"),
    )
    x, rim = 0.4 * hand_x + 0.6 * head_x, head_y - 0.035 * scale
    pole = figure.limb((x, rim), (hand_x, hand_y), np.full(2, 0.006), _METAL)
    figure.put(pole, BACKGROUND)
    tall = 0.12 + 0.12 * math.sin(max(figure.view.pitch, 0.0))
    canopy = figure.limb((x, rim - tall * scale), (x, rim), _DOME * 0.26, load.color)
    canopy.paint((canopy.around * 8) % 1 < 0.08, load.accent)
    figure.put(canopy, BACKGROUND, folds=0.4)


def _suitcase(figure: Figure) -> None:
    scale, load = figure.view.scale, figure.person.load
    x, y = figure.skeleton.at("hand_right")
    low = figure.view.y + 0.01 * scale
    x -= 0.06 * figure.ahead * scale
    wide = math.hypot(0.075 * figure.facing, 0.05 * figure.ahead)
    top = low - 0.3 * scale
    if y < top:
        figure.put(figure.limb((x, y), (x, top), np.full(2, 0.008), _METAL), BACKGROUND)
    case = figure.limb((x, top), (x, low), _BOX * wide, load.color, caps=(0.01, 0.008))
    case.paint((case.u * 5) % 1 < 0.12, load.accent)
    figure.put(case, BACKGROUND)


def _pram(figure: Figure) -> None:
    scale, load = figure.view.scale, figure.person.load
    x, y = _ground(figure, 0.36)
    wide = math.hypot(0.14 * figure.facing, 0.2 * figure.ahead)
    for reach in (-0.13, 0.13):
        wheel_x = x + reach * max(abs(figure.ahead), 0.4) * scale
        radius = 0.06 * scale
        width = radius * max(abs(figure.ahead), 0.25)
        _ring(figure, (wheel_x, y - radius), (width, radius), 0.014, _TIRE)
    hull = figure.limb(
        (x, y - 0.32 * scale), (x, y - 0.1 * scale), _BOX * wide, load.color, caps=(0.02, 0.03)
    )
    hull.paint(hull.u > 0.75, load.accent)
    figure.put(hull, BACKGROUND, folds=0.4)
    hood_x = x + 0.09 * figure.ahead * scale
    hood = figure.limb(
        (hood_x, y - 0.5 * scale), (hood_x, y - 0.3 * scale), _DOME * wide * 0.75, load.accent
    )
    figure.put(hood, BACKGROUND, folds=0.5)


def _bicycle(figure: Figure, *, front: bool, rear: bool) -> None:
    scale, color = figure.view.scale, figure.person.load.color
    flat = max(abs(figure.ahead), 0.12)
    radius = _WHEEL * scale
    ends = [_ground(figure, 0.30), _ground(figure, -0.28)]
    for (x, y), shown in zip(ends, (front, rear), strict=True):
        if shown:
            _ring(figure, (x, y - radius), (radius * flat, radius), 0.014, _TIRE)
    saddle_x, saddle_y = figure.skeleton.at("pelvis")
    grip_x = 0.5 * (figure.skeleton.at("hand_left")[0] + figure.skeleton.at("hand_right")[0])
    grip_y = 0.5 * (figure.skeleton.at("hand_left")[1] + figure.skeleton.at("hand_right")[1])
    hubs = [(x, y - radius) for x, y in ends]
    crank = (0.5 * (hubs[0][0] + hubs[1][0]), 0.5 * (hubs[0][1] + hubs[1][1]) + 0.02 * scale)
    tubes = []
    if front:
        tubes += [((grip_x, grip_y), hubs[0])]
    if rear:
        seat = (saddle_x, saddle_y + 0.06 * scale)
        tubes += [(seat, crank), (seat, hubs[1]), (crank, hubs[1]), ((grip_x, grip_y), crank)]
    for start, end in tubes:
        top, low = (start, end) if start[1] <= end[1] else (end, start)
        figure.put(figure.limb(top, low, np.full(2, 0.011), color), BACKGROUND, gloss=0.4)
    if front and abs(figure.facing) > 0.3:
        reach = 0.1 * figure.facing * scale
        left, right = sorted(((grip_x - reach, grip_y), (grip_x + reach, grip_y + 1)))
        bar = figure.limb(left, right, np.full(2, 0.01), darker(color, 0.5))
        figure.put(bar, BACKGROUND)


def _ring(
    figure: Figure,
    center: tuple[float, float],
    radii: tuple[float, float],
    thick: float,
    color: Color,
) -> None:
    """A wheel; `thick` is in body heights."""
    canvas, half = figure.canvas, 0.5 * thick * figure.view.scale
    height, width = canvas.parts.shape
    edge = half + 1.5
    left, right = int(center[0] - radii[0] - edge), int(center[0] + radii[0] + edge) + 1
    top, low = int(center[1] - radii[1] - edge), int(center[1] + radii[1] + edge) + 1
    left, right, top, low = max(left, 0), min(right, width), max(top, 0), min(low, height)
    if left >= right or top >= low:
        return
    x = (np.arange(left, right, dtype=np.float32) + 0.5 - center[0]) / radii[0]
    y = (np.arange(top, low, dtype=np.float32)[:, None] + 0.5 - center[1]) / radii[1]
    off = np.abs(np.sqrt(x * x + y * y) - 1) * min(radii)
    cover = np.clip(half + 0.5 - off, 0, 1)
    under = canvas.planes[..., top:low, left:right]
    under += cover * (np.array(color, np.float32)[:, None, None] - under)
    canvas.parts[top:low, left:right][cover > 0.5] = BACKGROUND
