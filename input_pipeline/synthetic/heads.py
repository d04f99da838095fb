"""Heads: face, hair and hats, placed by where the skull's surface points."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline.synthetic.palette import Colour, blend, darker
from input_pipeline.synthetic.people import Cut, Hat, Head
from input_pipeline.synthetic.pose import Skeleton, View
from input_pipeline.synthetic.shapes import Canvas, Surface, ellipse_radii
from input_pipeline.parts import HEAD

_HALF_HEIGHT = 0.068
_HALF_WIDTH = 0.050


class HeadPainter:
    """Draws the pieces of one head, in the order that the body asks for."""

    def __init__(
        self,
        canvas: Canvas,
        head: Head,
        hood: Colour,
        skeleton: Skeleton,
        view: View,
        *,
        yaw: float,
    ) -> None:
        """Takes a person's head and `hood`, the colour of a hood should one be worn."""
        self._canvas, self._head, self._view, self._yaw = canvas, head, view, yaw
        self._scale = view.scale
        self._centre = skeleton.at("head")
        self._neck = skeleton.at("neck")
        self._hood = hood
        self.facing = math.cos(yaw)

    def _blob(
        self, x: float, y: float, half: tuple[float, float], colour: Colour, *, egg: float = 0.0
    ) -> Surface:
        """An upright ellipse at an offset from the head's centre, all in body heights."""
        column = self._centre[0] + x * self._scale
        row = self._centre[1] + y * self._scale
        tall = half[1] * self._scale
        return Surface(
            self._canvas,
            (column, row - tall),
            (column, row + tall),
            ellipse_radii(half[0] * self._scale, egg=egg),
            caps=(0.0, 0.0),
            yaw=self._yaw,
            colour=colour,
        )

    def _put(self, surface: Surface, *, folds: float = 0.0, gloss: float = 0.0) -> None:
        surface.draw(
            self._canvas,
            part=HEAD,
            light=self._view.light,
            folds=folds,
            grain=(9.0, 60.0),
            gloss=gloss,
            shift=40,
        )

    def neck(self) -> None:
        """Draws the neck."""
        s = self._scale
        end = (self._neck[0], self._neck[1] + 0.03 * s)
        surface = Surface(
            self._canvas,
            self._centre,
            end,
            np.array((0.03, 0.026, 0.034)) * s,
            caps=(0.0, 0.012 * s),
            yaw=self._yaw,
            colour=darker(self._head.skin, 0.82),
        )
        self._put(surface)

    def behind(self) -> None:
        """Draws the hair that lies behind neck and shoulders of someone who faces the camera."""
        if self.facing > 0.1:
            self._mane()

    def over(self) -> None:
        """Draws the head, and the hair that falls over the back of someone who faces away."""
        head = self._head
        if head.cut is Cut.AFRO and head.hat is not Hat.HOOD:
            back = -0.012 * math.sin(self._yaw)
            self._put(self._blob(back, -0.018, (0.072, 0.072), head.hair), folds=2.0)
        if head.hat is Hat.HOOD:
            back = -0.012 * math.sin(self._yaw)
            self._put(self._blob(back, 0.0, (0.062, 0.082), self._hood), folds=0.6)
        self._skull()
        if self.facing <= 0.1:
            self._mane()
        self._extras()

    def _skull(self) -> None:
        head = self._head
        side = abs(math.sin(self._yaw))
        half = (_HALF_WIDTH + 0.007 * side, _HALF_HEIGHT)
        surface = self._blob(0.0, 0.0, half, head.skin, egg=0.22)
        up = 1 - 2 * surface.u
        ring = np.sqrt(np.maximum(1 - up**2, 0))
        front, left = surface.front * ring, surface.left * ring
        self._face(surface, up, front, left)
        hair = _hair_mask(head.cut, up, front, left)
        if hair is not None:
            tone = head.hair
            if head.cut is Cut.BUZZ:
                tone = blend(head.hair, head.skin)
            surface.paint(hair, tone)
        if head.hat is Hat.HOOD:
            surface.paint((front < 0.25) | (up > 0.55), self._hood)
        elif head.hat is Hat.BEANIE:
            surface.paint(up > 0.2, head.hat_colour)
            surface.paint((up > 0.2) & (up < 0.36), darker(head.hat_colour, 0.75))
        elif head.hat is Hat.CAP:
            surface.paint(up > 0.32, head.hat_colour)
        self._put(surface, folds=0.25, gloss=0.1)

    def _face(self, surface: Surface, up: np.ndarray, front: np.ndarray, left: np.ndarray) -> None:
        head = self._head
        seen = front > 0
        away = np.abs(left)
        if head.beard:
            surface.paint(
                (up < -0.22) & (front > 0.05) & (up < -0.05 - 0.2 * front), darker(head.hair, 0.95)
            )
        surface.paint(seen & (away < 0.09) & (up > -0.26) & (up < -0.14), darker(head.skin, 0.8))
        surface.paint(seen & (away < 0.2) & (np.abs(up + 0.46) < 0.055), darker(head.skin, 0.62))
        surface.paint(
            seen & (np.abs(away - 0.34) < 0.17) & (np.abs(up - 0.24) < 0.035),
            darker(head.hair, 0.8),
        )
        surface.paint(
            seen & (((away - 0.33) / 0.13) ** 2 + ((up - 0.08) / 0.07) ** 2 < 1), (36, 28, 26)
        )
        if head.glasses:
            rim = ((away - 0.33) / 0.25) ** 2 + ((up - 0.06) / 0.17) ** 2 < 1
            surface.paint((seen & rim) | ((np.abs(up - 0.1) < 0.04) & (front > -0.2)), (24, 24, 30))
        ear = (np.abs(front) < 0.16) & (np.abs(up) < 0.2) & (away > 0.2)
        surface.paint(ear, darker(head.skin, 0.84))

    def _mane(self) -> None:
        head = self._head
        if head.hat is Hat.HOOD or head.cut not in (Cut.BOB, Cut.LONG, Cut.PONYTAIL):
            return
        back = -math.sin(self._yaw)
        s = self._scale
        length, wide = {
            Cut.BOB: (0.085, 0.055),
            Cut.LONG: (0.19, 0.058),
            Cut.PONYTAIL: (0.16, 0.02),
        }[head.cut]
        if head.cut is Cut.PONYTAIL:
            start, back = (0.05 * back, -0.02), 0.075 * back
        else:
            start, back = (0.016 * back, -0.005), 0.028 * back
        radii = np.array((0.75, 1.0, 1.0, 0.92, 0.6)) * wide * s
        surface = Surface(
            self._canvas,
            (self._centre[0] + start[0] * s, self._centre[1] + start[1] * s),
            (self._centre[0] + back * s, self._centre[1] + length * s),
            radii,
            caps=(0.02 * s, 0.012 * s),
            yaw=self._yaw,
            colour=head.hair,
        )
        self._put(surface, folds=0.8, gloss=0.25)

    def _extras(self) -> None:
        head = self._head
        ahead = math.sin(self._yaw)
        if head.cut is Cut.BUN and head.hat is Hat.NONE:
            self._put(self._blob(-0.03 * ahead, -0.078, (0.024, 0.022), head.hair), folds=0.6)
        if head.hat is Hat.BEANIE:
            self._put(self._blob(0.0, -0.076, (0.014, 0.013), darker(head.hat_colour, 0.8)))
        if head.hat is Hat.CAP and self.facing > -0.75:
            wide = 0.028 + 0.022 * max(self.facing, 0.0)
            brim = self._blob(
                0.052 * ahead,
                -0.022 + 0.006 * self.facing,
                (wide, 0.011),
                darker(head.hat_colour, 0.85),
            )
            self._put(brim)


def _hair_mask(cut: Cut, up: np.ndarray, front: np.ndarray, left: np.ndarray) -> np.ndarray | None:
    """Where hair covers the skull: above a hairline that falls from the forehead to the neck."""
    if cut is Cut.BALD:
        return None
    if cut in (Cut.SHORT, Cut.BUZZ, Cut.AFRO, Cut.BUN, Cut.PONYTAIL):
        return up > 0.02 + 0.46 * front - 0.1 * (front < -0.3)
    if cut is Cut.FRINGE:
        return (up > 0.04 + 0.24 * front) | ((front < 0.15) & (up > -0.2))
    return (
        (up > 0.5)
        | (front < 0.52 - 0.5 * np.maximum(up, 0)) & (up > -0.8)
        | (up > 0.62 * front + 0.1)
    )
