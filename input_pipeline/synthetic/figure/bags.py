"""Draws bags; they keep the part class of what they cover, since parts are of the body."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline.synthetic.figure.figure import Figure
from input_pipeline.synthetic.figure.palette import Color, darker
from input_pipeline.synthetic.figure.pose import SIDES
from input_pipeline.synthetic.people import BagKind

# Roundness of a box-like bag from its top to its bottom.
_BOX = np.array((0.80, 0.96, 1.0, 1.0, 1.0, 0.98, 0.9))


def backpack_seen(figure: Figure) -> bool:
    """Whether a backpack would be nearer to the camera than its carrier."""
    return figure.facing < -0.3


def backpack(figure: Figure) -> None:
    """Draws a backpack."""
    if figure.person.bag.kind is not BagKind.BACKPACK:
        return
    neck, pelvis = figure.skeleton.at("neck"), figure.skeleton.at("pelvis")
    x = 0.5 * (neck[0] + pelvis[0]) - 0.095 * figure.ahead * figure.view.scale
    y = neck[1] + 0.46 * (pelvis[1] - neck[1])
    half_width = math.hypot(0.088 * figure.facing, 0.052 * figure.ahead)
    _box(figure, (x, y), (half_width, 0.115))


def straps(figure: Figure) -> None:
    """Draws the straps over the trunk."""
    at, scale, bag = figure.skeleton.at, figure.view.scale, figure.person.bag
    color, neck = darker(bag.color, 0.8), figure.skeleton.at("neck")
    if bag.kind is BagKind.BACKPACK and figure.facing > 0.2:
        for side in SIDES:
            shoulder, hip = at(f"shoulder_{side}"), at(f"hip_{side}")
            start = (0.45 * neck[0] + 0.55 * shoulder[0], shoulder[1] - 0.022 * scale)
            low = shoulder[1] + 0.5 * (hip[1] - shoulder[1])
            _band(figure, start, (0.25 * neck[0] + 0.75 * shoulder[0], low), color)
    if bag.kind is BagKind.SHOULDER:
        shoulder, hip = at("shoulder_right"), at("hip_left")
        start = (0.4 * neck[0] + 0.6 * shoulder[0], shoulder[1] - 0.02 * scale)
        _band(figure, start, (hip[0], hip[1] - 0.02 * scale), color)


def shoulder_bag(figure: Figure) -> None:
    """Draws a shoulder bag unless the body hides it."""
    depth, scale = figure.skeleton.depth, figure.view.scale
    hidden = depth("hip_left") < depth("hip_right") - 0.06
    if figure.person.bag.kind is BagKind.SHOULDER and not hidden:
        hip = figure.skeleton.at("hip_left")
        center = (hip[0] + 0.055 * figure.facing * scale, hip[1] + 0.035 * scale)
        half_width = math.hypot(0.05 * figure.facing, 0.075 * figure.ahead)
        _box(figure, center, (half_width, 0.05))


def handbag(figure: Figure) -> None:
    """Draws a bag under the right hand unless the body hides it."""
    depth, scale = figure.skeleton.depth, figure.view.scale
    hidden = depth("hand_right") < depth("pelvis") - 0.06
    if figure.person.bag.kind is not BagKind.HANDBAG or hidden:
        return
    x, y = figure.skeleton.at("hand_right")
    half_width = math.hypot(0.035 * figure.facing, 0.065 * figure.ahead)
    for sign in (-0.5, 0.5):
        corner = (x + sign * half_width * scale, y + 0.05 * scale)
        _band(figure, corner, (x, y), darker(figure.person.bag.color, 0.7))
    _box(figure, (x, y + 0.085 * scale), (half_width, 0.04))


def _box(figure: Figure, center: tuple[float, float], half: tuple[float, float]) -> None:
    """A rounded box; `half` is its half width and half height in body heights."""
    tall, bag = half[1] * figure.view.scale, figure.person.bag
    top, end = (center[0], center[1] - tall), (center[0], center[1] + tall)
    surface = figure.limb(top, end, _BOX * half[0], bag.color, caps=(0.014, 0.01))
    surface.paint((surface.u > 0.26) & (surface.u < 0.29), darker(bag.color, 0.5))
    pocket = (surface.u > 0.52) & (surface.u < 0.86) & (np.abs(surface.across) < 0.66)
    surface.paint(pocket, bag.accent)
    figure.put(surface, None, folds=0.5)


def _band(
    figure: Figure, start: tuple[float, float], end: tuple[float, float], color: Color
) -> None:
    surface = figure.limb(start, end, np.full(2, 0.0075), color, caps=(0.004, 0.004))
    figure.put(surface, None)
