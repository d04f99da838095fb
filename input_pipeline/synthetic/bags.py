"""Bags; they keep the part class of what they cover, since parts are of the body."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline.synthetic.palette import Colour, darker
from input_pipeline.synthetic.people import BagKind, Person
from input_pipeline.synthetic.pose import Skeleton, View
from input_pipeline.synthetic.shapes import Canvas, Surface

# Roundness of a box-like bag from its top to its bottom.
_BOX = np.array((0.80, 0.96, 1.0, 1.0, 1.0, 0.98, 0.9))


class BagPainter:
    """Draws the pieces of one person's bag, in the order that the body asks for."""

    def __init__(
        self, canvas: Canvas, person: Person, skeleton: Skeleton, view: View, *, yaw: float
    ) -> None:
        """Takes the person who carries the bag."""
        self._canvas, self._person, self._skeleton, self._view = canvas, person, skeleton, view
        self._bag, self._yaw, self._s = person.bag, yaw, view.scale
        self._facing, self._ahead = math.cos(yaw), math.sin(yaw)
        self.over_arms = self._facing < -0.3 and self._bag.kind is BagKind.BACKPACK

    def _box(self, centre: tuple[float, float], half: tuple[float, float], *, stripe: bool) -> None:
        s, colour = self._s, self._bag.colour
        surface = Surface(
            self._canvas,
            (centre[0], centre[1] - half[1] * s),
            (centre[0], centre[1] + half[1] * s),
            _BOX * half[0] * s,
            caps=(0.014 * s, 0.01 * s),
            yaw=self._yaw,
            colour=colour,
        )
        surface.paint((surface.u > 0.26) & (surface.u < 0.29), darker(colour, 0.5))
        if stripe:
            surface.paint(
                (surface.u > 0.52) & (surface.u < 0.86) & (np.abs(surface.across) < 0.66),
                self._bag.accent,
            )
        surface.draw(self._canvas, part=None, light=self._view.light, folds=0.5)

    def _band(self, start: tuple[float, float], end: tuple[float, float], colour: Colour) -> None:
        s = self._s
        surface = Surface(
            self._canvas,
            start,
            end,
            np.full(2, 0.0075 * s),
            caps=(0.004 * s, 0.004 * s),
            yaw=self._yaw,
            colour=colour,
        )
        surface.draw(self._canvas, part=None, light=self._view.light)

    def _backpack(self) -> None:
        neck, pelvis = self._skeleton.at("neck"), self._skeleton.at("pelvis")
        x = 0.5 * (neck[0] + pelvis[0]) - 0.095 * self._ahead * self._s
        y = neck[1] + 0.46 * (pelvis[1] - neck[1])
        wide = math.hypot(0.088 * self._facing, 0.052 * self._ahead)
        self._box((x, y), (wide, 0.115), stripe=True)

    def behind(self) -> None:
        """Draws a backpack that its carrier hides."""
        if self._bag.kind is BagKind.BACKPACK and self._facing > -0.3:
            self._backpack()

    def over(self) -> None:
        """Draws a backpack seen from behind, or a shoulder bag on the near side."""
        if self._bag.kind is BagKind.BACKPACK and self._facing <= -0.3:
            self._backpack()
        if self._bag.kind is BagKind.SHOULDER:
            hip = self._skeleton.at("hip_left")
            centre = (hip[0] + 0.055 * self._facing * self._s, hip[1] + 0.035 * self._s)
            if self._skeleton.depth("hip_left") > self._skeleton.depth("hip_right") - 0.06:
                wide = math.hypot(0.05 * self._facing, 0.075 * self._ahead)
                self._box(centre, (wide, 0.05), stripe=True)

    def strap(self) -> None:
        """Draws the straps over the trunk."""
        at, colour = self._skeleton.at, darker(self._bag.colour, 0.8)
        if self._bag.kind is BagKind.BACKPACK and self._facing > 0.2:
            for side in ("left", "right"):
                shoulder, hip = at(f"shoulder_{side}"), at(f"hip_{side}")
                neck = at("neck")
                start = (0.45 * neck[0] + 0.55 * shoulder[0], shoulder[1] - 0.022 * self._s)
                end = (
                    0.25 * neck[0] + 0.75 * shoulder[0],
                    shoulder[1] + 0.5 * (hip[1] - shoulder[1]),
                )
                self._band(start, end, colour)
        if self._bag.kind is BagKind.SHOULDER:
            shoulder, hip = at("shoulder_right"), at("hip_left")
            neck = at("neck")
            start = (0.4 * neck[0] + 0.6 * shoulder[0], shoulder[1] - 0.02 * self._s)
            self._band(start, (hip[0], hip[1] - 0.02 * self._s), colour)

    def in_hand(self) -> None:
        """Draws a handbag under the hand."""
        if self._bag.kind is not BagKind.HANDBAG:
            return
        if self._skeleton.depth("hand_right") < self._skeleton.depth("pelvis") - 0.06:
            return
        hand = self._skeleton.at("hand_right")
        s = self._s
        wide = math.hypot(0.035 * self._facing, 0.065 * self._ahead)
        self._band(
            (hand[0] - 0.5 * wide * s, hand[1] + 0.05 * s), hand, darker(self._bag.colour, 0.7)
        )
        self._band(
            (hand[0] + 0.5 * wide * s, hand[1] + 0.05 * s), hand, darker(self._bag.colour, 0.7)
        )
        self._box((hand[0], hand[1] + 0.085 * s), (wide, 0.04), stripe=True)
