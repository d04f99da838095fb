"""Draws a dressed person, limb by limb from far to near."""

from __future__ import annotations

import math

import numpy as np

from input_pipeline import parts
from input_pipeline.synthetic import cloth
from input_pipeline.synthetic.bags import BagPainter
from input_pipeline.synthetic.heads import HeadPainter
from input_pipeline.synthetic.palette import Colour, darker
from input_pipeline.synthetic.people import BottomKind, Pattern, Person, ShoeKind, TopKind
from input_pipeline.synthetic.pose import SIDES, Pose, Skeleton, View, joints, project
from input_pipeline.synthetic.shapes import Canvas, Surface, soft_ellipse

# Half widths and half depths of the trunk from neck to crotch, in body heights.
_WIDTH = np.array(
    (0.034, 0.098, 0.116, 0.113, 0.106, 0.099, 0.093, 0.090, 0.093, 0.098, 0.1, 0.098)
)
_DEPTH = np.array(
    (0.036, 0.052, 0.064, 0.070, 0.071, 0.068, 0.065, 0.064, 0.067, 0.071, 0.073, 0.068)
)
_WAIST = 0.83
_LOOSE = {
    TopKind.TEE: 1.03,
    TopKind.SHIRT: 1.05,
    TopKind.SWEATER: 1.09,
    TopKind.HOODIE: 1.12,
    TopKind.JACKET: 1.13,
    TopKind.COAT: 1.15,
    TopKind.DRESS: 1.0,
}
_LEG_LOOSE = {
    BottomKind.TROUSERS: 1.1,
    BottomKind.JEANS: 1.05,
    BottomKind.WIDE: 1.14,
    BottomKind.LEGGINGS: 0.94,
    BottomKind.SHORTS: 1.22,
}


def draw_body(canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
    """Draws `person` in `pose` on top of `canvas`, with the shadow on the ground.

    Args:
        canvas: Changed in place; the part map gets the class of every pixel that shows the person.
            Bags keep the class of what they cover.
        person: Whom to draw.
        pose: How they hold themselves and which side is seen.
        view: Where in the picture.
    """
    _BodyPainter(canvas, person, pose, view).draw()


class _BodyPainter:
    def __init__(self, canvas: Canvas, person: Person, pose: Pose, view: View) -> None:
        self.canvas, self.person, self.pose, self.view = canvas, person, pose, view
        self.skeleton: Skeleton = project(joints(pose, person.build), pose.yaw, view)
        self.s = view.scale
        self.shift = sum(person.top.colour) + int(97 * pose.yaw)
        self.trunk_yaw = pose.yaw + 0.5 * pose.twist
        self.head = HeadPainter(
            canvas, person.head, person.top.colour, self.skeleton, view, yaw=pose.yaw + pose.nod
        )
        self.bag = BagPainter(canvas, person, self.skeleton, view, yaw=pose.yaw)

    def draw(self) -> None:
        self._shadow()
        trunk = 0.5 * (self.skeleton.depth("neck") + self.skeleton.depth("pelvis"))
        arms = sorted(SIDES, key=lambda side: self._arm_depth(side))
        behind = [side for side in arms if self._arm_depth(side) < trunk - 0.035]
        for side in behind:
            self._arm(side)
        self.bag.behind()
        for side in sorted(SIDES, key=lambda side: self.skeleton.depth(f"knee_{side}")):
            self._leg(side)
        self.head.behind()
        self.head.neck()
        self._skirts()
        self._torso()
        self.bag.strap()
        if self.bag.over_arms:
            self._arms(arms, behind)
            self.bag.over()
        else:
            self.bag.over()
            self._arms(arms, behind)
        self.head.over()
        self.bag.in_hand()

    def _arms(self, arms: list[str], behind: list[str]) -> None:
        for side in arms:
            if side not in behind:
                self._arm(side)

    def _arm_depth(self, side: str) -> float:
        depth = self.skeleton.depth
        return (
            0.5 * depth(f"shoulder_{side}")
            + 0.3 * depth(f"elbow_{side}")
            + 0.2 * depth(f"hand_{side}")
        )

    def _limb(
        self,
        start: tuple[float, float],
        end: tuple[float, float],
        radii: np.ndarray,
        colour: Colour,
        *,
        caps: tuple[float, float],
        yaw: float | None = None,
    ) -> Surface:
        """A limb whose radii and caps are in body heights."""
        return Surface(
            self.canvas,
            start,
            end,
            radii * self.s,
            caps=(caps[0] * self.s, caps[1] * self.s),
            yaw=self.pose.yaw if yaw is None else yaw,
            colour=colour,
        )

    def _put(
        self,
        surface: Surface,
        part: int,
        *,
        folds: float = 0.0,
        grain: tuple[float, float] = (46.0, 17.0),
        gloss: float = 0.0,
    ) -> None:
        surface.draw(
            self.canvas,
            part=part,
            light=self.view.light,
            folds=folds,
            grain=grain,
            gloss=gloss,
            shift=self.shift + 31 * part,
        )

    def _shadow(self) -> None:
        feet = [self.skeleton.at(f"{joint}_{side}") for joint in ("heel", "toe") for side in SIDES]
        x = sum(foot[0] for foot in feet) / 4 - 0.12 * self.s * self.view.light[0]
        y = self.view.y - 0.004 * self.s
        wide = 0.5 * (max(foot[0] for foot in feet) - min(foot[0] for foot in feet))
        soft_ellipse(self.canvas, (x, y), (wide + 0.15 * self.s, 0.05 * self.s), 0.62)
        for foot in feet:
            soft_ellipse(
                self.canvas,
                (foot[0], foot[1] + 0.012 * self.s),
                (0.06 * self.s, 0.02 * self.s),
                0.4,
            )

    def _arm(self, side: str) -> None:
        at, top = self.skeleton.at, self.person.top
        skin, girth = self.person.head.skin, self.person.build.girth
        covered = 1.0 if top.sleeve <= 0 else 0.5 * (1 + _LOOSE[top.kind]) + 0.06
        arm = 0.5 * (1 + girth)
        self._limb_hand(side)
        fore = np.array((0.0265, 0.027, 0.024, 0.0195)) * arm
        fore = fore * covered * 1.06 if top.sleeve > 1.2 else fore
        lower = self._limb(at(f"elbow_{side}"), at(f"wrist_{side}"), fore, skin, caps=(0.02, 0.006))
        if top.sleeve > 1:
            self._sleeve(lower, top.sleeve - 1)
        cuff = 0.8 if top.sleeve > 1.9 else 0.86
        cloth.ring(lower, cuff - 0.12, 1.2, top.cuff)
        self._put(lower, parts.LOWER_ARM, folds=1.0 if top.sleeve > 1 else 0.1)
        over = np.array((0.033, 0.036, 0.033, 0.0285)) * arm * covered
        upper = self._limb(
            at(f"shoulder_{side}"), at(f"elbow_{side}"), over, skin, caps=(0.026, 0.02)
        )
        if top.sleeve > 0:
            self._sleeve(upper, top.sleeve)
        cloth.ring(upper, 0.36, 0.62, top.band)
        self._put(upper, parts.UPPER_ARM, folds=0.8 if top.sleeve > 0 else 0.1)

    def _sleeve(self, surface: Surface, length: float) -> None:
        top = self.person.top
        mask = surface.u < length if length < 1 else np.ones(surface.u.shape, bool)
        surface.paint(mask, top.sleeve_colour)
        if top.pattern not in (Pattern.PLAIN, Pattern.TWO_TONE, Pattern.BAND):
            count = max(2, top.count // 2)
            pattern = cloth.pattern_mask(surface, top.pattern, count, aspect=1.0)
            surface.paint(mask & pattern, top.accent)
        if length < 1:
            cloth.hem(surface, length, top.sleeve_colour, width=0.05)

    def _limb_hand(self, side: str) -> None:
        at = self.skeleton.at
        radii = np.array((0.014, 0.019, 0.018, 0.012))
        hand = self._limb(
            at(f"wrist_{side}"),
            at(f"hand_{side}"),
            radii,
            self.person.head.skin,
            caps=(0.01, 0.014),
        )
        self._put(hand, parts.LOWER_ARM)

    def _leg(self, side: str) -> None:
        at, bottom, build = self.skeleton.at, self.person.bottom, self.person.build
        skin, shoes = self.person.head.skin, self.person.shoes
        kind = bottom.kind
        bare = kind in (BottomKind.SKIRT, BottomKind.LONG_SKIRT)
        dressed = self.person.top.kind is TopKind.DRESS
        short = kind is BottomKind.SHORTS
        loose = 1.0 if bare or dressed else _LEG_LOOSE[kind]
        leg = (0.4 + 0.6 * build.girth) * (0.5 + 0.5 * build.hips)
        self._foot(side)
        shin_loose = 1.0 if short or bare or dressed else loose * 1.12
        shin = np.array((0.037, 0.041, 0.040, 0.033, 0.027, 0.025)) * leg * shin_loose
        if kind is BottomKind.WIDE and not dressed:
            shin = np.linspace(0.048, 0.060, len(shin))
        bare_shin = bare or dressed or short
        lower = self._limb(
            at(f"knee_{side}"),
            at(f"ankle_{side}"),
            shin,
            skin if bare_shin else bottom.colour,
            caps=(0.03, 0.012),
        )
        if bare_shin:
            cloth.ring(lower, 0.62, 1.3, bottom.sock)
        else:
            self._trouser(lower)
            cloth.ring(lower, 0.70, 0.94, bottom.cuff)
        if shoes.kind is ShoeKind.BOOT:
            cloth.ring(lower, 0.66 if bare_shin else 0.86, 1.4, shoes.colour)
        self._put(lower, parts.LOWER_LEG, folds=0.15 if bare_shin else 0.9)
        thigh = np.array((0.060, 0.059, 0.054, 0.047, 0.041)) * leg * loose
        upper = self._limb(
            at(f"hip_{side}"),
            at(f"knee_{side}"),
            thigh,
            skin if bare or dressed else bottom.colour,
            caps=(0.03, 0.005 if short else 0.03),
        )
        if not (bare or dressed):
            self._trouser(upper)
        if short:
            surface_skin = upper.u > 0.92
            upper.paint(surface_skin, skin)
            cloth.hem(upper, 0.92, bottom.colour)
        self._put(upper, parts.UPPER_LEG, folds=0.15 if bare or dressed else 0.7)

    def _trouser(self, surface: Surface) -> None:
        bottom = self.person.bottom
        cloth.dress_surface(surface, bottom.pattern, bottom.accent, bottom.count, aspect=0.9)
        if bottom.kind is BottomKind.JEANS:
            red, green, blue = bottom.colour
            fade = (min(red + 26, 255), min(green + 26, 255), min(blue + 22, 255))
            surface.paint((surface.front > 0.75) & (surface.u > 0.2) & (surface.u < 0.85), fade)
        if bottom.stripe is not None:
            surface.paint(np.abs(surface.left) > 0.86, bottom.stripe)

    def _foot(self, side: str) -> None:
        at, shoes = self.skeleton.at, self.person.shoes
        heel, toe = at(f"heel_{side}"), at(f"toe_{side}")
        ankle = at(f"ankle_{side}")
        collar = self._limb(
            ankle, heel, np.array((0.024, 0.027, 0.026)), shoes.colour, caps=(0.012, 0.012)
        )
        self._put(collar, parts.FOOT)
        radii = np.array((0.023, 0.025, 0.026, 0.027, 0.024))
        if shoes.kind is ShoeKind.PUMP:
            radii = radii * 0.82
        if heel[1] > toe[1]:
            heel, toe, radii = toe, heel, radii[::-1]
        foot = self._limb(heel, toe, radii, shoes.colour, caps=(0.014, 0.016))
        # The sole is the lowest band in the picture, whichever way the foot points.
        row = np.arange(foot.window[0].start, foot.window[0].stop, dtype=np.float32)[:, None]
        column = np.arange(foot.window[1].start, foot.window[1].stop, dtype=np.float32)
        span = toe[0] - heel[0]
        share = np.clip((column - heel[0]) / span, 0, 1) if abs(span) > 1 else np.float32(1.0)
        floor = heel[1] + share * (toe[1] - heel[1])
        thick = 0.010 if shoes.kind is ShoeKind.SNEAKER else 0.015
        foot.paint(np.broadcast_to(row > floor + thick * self.s, foot.u.shape), shoes.sole)
        self._put(foot, parts.FOOT, gloss=0.3)

    def _skirts(self) -> None:
        """Skirt, or what of a coat or dress hangs below the hip."""
        person = self.person
        top, bottom = person.top, person.bottom
        if top.kind is not TopKind.DRESS and bottom.kind in (
            BottomKind.SKIRT,
            BottomKind.LONG_SKIRT,
        ):
            length = 0.85 if bottom.kind is BottomKind.SKIRT else 1.6
            self._skirt(length, bottom.colour, bottom.accent, bottom.pattern, flare=1.3)
        if top.kind in (TopKind.DRESS, TopKind.COAT):
            plain = top.pattern in (Pattern.TWO_TONE, Pattern.BAND) or top.kind is TopKind.COAT
            pattern = Pattern.PLAIN if plain else top.pattern
            flare = 1.3 if top.kind is TopKind.DRESS else 1.12
            self._skirt(top.length, top.colour, top.accent, pattern, flare=flare)

    def _skirt(
        self, length: float, colour: Colour, accent: Colour, pattern: Pattern, *, flare: float
    ) -> None:
        at, s = self.skeleton.at, self.s
        hips = self._trunk_radii()[-1]
        pelvis = at("pelvis")
        knees = [at(f"knee_{side}") for side in SIDES]
        ankles = [at(f"ankle_{side}") for side in SIDES]
        share, ends = (length, knees) if length <= 1 else (length - 1, ankles)
        starts = [at(f"hip_{side}") for side in SIDES] if length <= 1 else knees
        rims = [
            (a[0] + share * (b[0] - a[0]), a[1] + share * (b[1] - a[1]))
            for a, b in zip(starts, ends, strict=True)
        ]
        middle = (0.5 * (rims[0][0] + rims[1][0]), max(rims[0][1], rims[1][1]))
        rim = max(hips * flare, 0.5 * abs(rims[0][0] - rims[1][0]) / s + 0.055)
        radii = np.linspace(hips * 1.02, rim, 5)
        surface = self._limb(pelvis, middle, radii, colour, caps=(0.02, 0.008))
        cloth.dress_surface(surface, pattern, accent, self.person.top.count, aspect=0.8)
        cloth.hem(surface, 1.0, colour, width=0.03)
        if self.person.top.kind is TopKind.COAT and self.person.top.colour == colour:
            surface.paint((np.abs(surface.left) < 0.05) & (surface.front > 0), darker(colour, 0.5))
        self._put(surface, parts.UPPER_LEG, folds=1.2, grain=(7.0, 38.0))
        if length > 1:
            window = self.canvas.parts[surface.window]
            row = np.arange(surface.window[0].start, surface.window[0].stop)[:, None]
            below = row > 0.5 * (knees[0][1] + knees[1][1])
            window[(surface.cover > 0.5) & below] = parts.LOWER_LEG

    def _trunk_radii(self) -> np.ndarray:
        build, top = self.person.build, self.person.top
        blend = np.linspace(build.shoulders, build.hips, len(_WIDTH))
        wide = _WIDTH * blend * (0.45 + 0.55 * build.girth)
        deep = _DEPTH * build.girth
        cos, sin = math.cos(self.trunk_yaw), math.sin(self.trunk_yaw)
        radii = np.hypot(wide * cos, deep * sin)
        radii[1:] *= _LOOSE[top.kind]
        return radii

    def _torso(self) -> None:
        top, bottom, skin = self.person.top, self.person.bottom, self.person.head.skin
        neck, pelvis = self.skeleton.at("neck"), self.skeleton.at("pelvis")
        crotch = (pelvis[0], pelvis[1] + 0.02 * self.s)
        surface = self._limb(
            neck, crotch, self._trunk_radii(), top.colour, caps=(0.006, 0.03), yaw=self.trunk_yaw
        )
        u, left, front = surface.u, surface.left, surface.front
        cloth.dress_surface(surface, top.pattern, top.accent, top.count, aspect=0.62)
        seen = front > 0
        cloth.print_on(surface, top.print, top.print_colour)
        if top.kind in (TopKind.JACKET, TopKind.COAT):
            opening = 0.12 + 0.16 * np.maximum(0.45 - u, 0)
            surface.paint(seen & (np.abs(left) < opening), top.inner)
            surface.paint(seen & (np.abs(np.abs(left) - opening) < 0.035), darker(top.colour, 0.6))
        if top.kind is TopKind.SHIRT:
            surface.paint(seen & (np.abs(left) < 0.03), darker(top.colour, 0.7))
            surface.paint((u < 0.07) & (np.abs(left) < 0.5), darker(top.colour, 0.85))
        if top.kind is TopKind.HOODIE:
            surface.paint(
                seen & (u > 0.6) & (u < 0.8) & (np.abs(left) < 0.5 - 0.9 * (u - 0.6)),
                darker(top.colour, 0.8),
            )
            surface.paint((front < 0) & (u < 0.2) & (np.abs(left) < 0.55), darker(top.colour, 0.72))
        if top.kind in (TopKind.TEE, TopKind.DRESS, TopKind.SHIRT):
            surface.paint(seen & (u < 0.11 - 0.22 * np.abs(left)), skin)
        long = top.kind in (TopKind.COAT, TopKind.DRESS)
        if not long:
            waist = _WAIST if top.kind in (TopKind.SHIRT, TopKind.JACKET) else 0.93
            surface.paint(u > waist, bottom.colour)
            cloth.hem(surface, waist, top.colour)
            if waist < 0.9:
                cloth.ring(surface, waist, waist + 0.045, (46, 34, 28))
        self._put(surface, parts.TORSO, folds=0.75)
