"""A person in a pose on a canvas: what all who draw a piece of the body work with."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline.synthetic.figure.limbs import Limb, lay_limb
from input_pipeline.synthetic.figure.palette import Color
from input_pipeline.synthetic.figure.pose import Pose, Skeleton, View, joints, project
from input_pipeline.synthetic.figure.shapes import CLOTH_GRAIN, Canvas, Surface
from input_pipeline.synthetic.people import Person, TopKind

# Half widths and half depths of the trunk from neck to crotch, in body heights.
_WIDTH = np.array(
    (0.034, 0.098, 0.116, 0.113, 0.106, 0.099, 0.093, 0.090, 0.093, 0.098, 0.100, 0.098)
)
_DEPTH = np.array(
    (0.036, 0.052, 0.064, 0.070, 0.071, 0.068, 0.065, 0.064, 0.067, 0.071, 0.073, 0.068)
)
_SHARE = np.arange(float(len(_WIDTH)))
LOOSE_TOP = {
    TopKind.TEE: 1.03,
    TopKind.SHIRT: 1.05,
    TopKind.SWEATER: 1.09,
    TopKind.HOODIE: 1.12,
    TopKind.JACKET: 1.13,
    TopKind.COAT: 1.15,
    TopKind.DRESS: 1.0,
}
"""How much wider than the body a garment is."""


class Figure:
    """A person, their joints in the image, and the canvas.

    Attributes:
        canvas: Where the person is drawn.
        person: Who.
        pose: How they hold themselves.
        view: Where in the image.
        skeleton: The joints in the image.
        facing: 1 facing the camera, -1 facing away.
        ahead: 1 facing right, -1 facing left.
    """

    def __init__(self, canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
        """Projects the joints."""
        self.canvas, self.person, self.pose, self.view = canvas, person, pose, view
        self.skeleton: Skeleton = project(joints(pose, person.build), pose.yaw, view)
        self.facing, self.ahead = math.cos(pose.yaw), math.sin(pose.yaw)
        self._shift = sum(person.top.color) + int(97 * pose.yaw)

    @property
    def trunk_yaw(self) -> float:
        """Viewing side of the chest, which turns against the hips."""
        return self.pose.yaw + 0.5 * self.pose.twist

    def trunk_radii(self) -> np.ndarray:
        """Half widths of the dressed trunk as seen, from neck to crotch, in body heights."""
        build = self.person.build
        blend = _SHARE * ((build.hips - build.shoulders) / _SHARE[-1]) + build.shoulders
        blend[-1] = build.hips  # In all, `np.linspace` without its checks.
        wide = _WIDTH * blend * (0.45 + 0.55 * build.girth)
        deep = _DEPTH * build.girth
        radii = np.hypot(wide * math.cos(self.trunk_yaw), deep * math.sin(self.trunk_yaw))
        radii[1:] *= LOOSE_TOP[self.person.top.kind]
        return radii

    def shape(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        radii: np.ndarray,
        color: Color,
        *,
        caps: tuple[float, float] = (0.0, 0.0),
        yaw: float | None = None,
    ) -> Limb:
        """A limb between two points of the image; radii and caps are in body heights."""
        scale = self.view.scale_at(0.5 * (start[1] + end[1]))
        return Limb(
            start,
            end,
            radii * scale,
            caps=(caps[0] * scale, caps[1] * scale),
            yaw=self.pose.yaw if yaw is None else yaw,
            color=color,
        )

    def limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        radii: np.ndarray,
        color: Color,
        *,
        caps: tuple[float, float] = (0.0, 0.0),
        yaw: float | None = None,
    ) -> Surface:
        """A limb as from `shape`, laid on the canvas."""
        return lay_limb(self.canvas, self.shape(start, end, radii, color, caps=caps, yaw=yaw))

    def put(
        self,
        surface: Surface,
        part: int | None,
        *,
        folds: float = 0.0,
        grain: tuple[float, float] = CLOTH_GRAIN,
        gloss: float = 0.0,
    ) -> None:
        """Draws a limb as `part`, or as something worn that keeps the part under it."""
        surface.draw(
            self.canvas,
            part=part,
            light=self.view.light,
            folds=folds,
            grain=grain,
            gloss=gloss,
            tone=self.view.tone,
            shift=self._shift + 31 * (part or 0),
        )
