"""Rounded limbs, drawn analytically with anti-aliased edges, and the canvas they land on.

A limb is an axis in the image with a radius that varies along it. Every pixel knows where on the
limb's surface it lies, so that cloth patterns follow the body and turn with it.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np

from input_pipeline.synthetic.figure.palette import Color

_STEPS = 160
_MIDDLES = (np.arange(_STEPS) + 0.5) / _STEPS
_WHOLE = np.arange(64.0)
_TILE = 128
CLOTH_GRAIN = (46.0, 17.0)
"""Steps through the noise along and across a limb: how fine the folds of a cloth are."""


@functools.lru_cache(maxsize=1)
def soft_noise() -> np.ndarray:
    """Smooth tileable noise `[128, 128]` float32 with mean 0 and deviation 1."""
    rng = np.random.default_rng(20)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_TILE), np.fft.fftfreq(_TILE)))
    keep = np.exp(-((frequency * 11) ** 2))
    noise = np.fft.ifft2(np.fft.fft2(rng.standard_normal((_TILE, _TILE))) * keep).real
    return ((noise - noise.mean()) / noise.std()).astype(np.float32)


def noise_at(rows: np.ndarray, columns: np.ndarray, down: int, right: int) -> np.ndarray:
    """`soft_noise` at whole numbers of steps from a place in it; all of one shape `[h, w]`."""
    place = rows.astype(np.int32)
    place += down
    place &= _TILE - 1  # The remainder, negative numbers included, as _TILE is a power of 2.
    place *= _TILE
    column = columns.astype(np.int32)
    column += right
    column &= _TILE - 1
    place += column
    return soft_noise().ravel().take(place)


@dataclasses.dataclass(frozen=True)
class Tone:
    """How bright the light is; factors of a color.

    Attributes:
        direct: Of what faces the light.
        ambient: Of everything.
        folds: How deep cloth folds are, 1 as without a `Tone`.
    """

    direct: float
    ambient: float
    folds: float = 1.0


@dataclasses.dataclass(frozen=True)
class Canvas:
    """An image being drawn: `pixels` float32 `[H, W, 3]` in 0-255, `parts` uint8 `[H, W]`."""

    pixels: np.ndarray
    parts: np.ndarray


class Surface:
    """The visible side of a limb within a window of the canvas; arrays are `[h, w]`.

    Attributes:
        u: Position along the axis, 0 to 1; outside that at the rounded ends.
        across: Position across, -1 to 1 from one outline to the other.
        bulge: How much the surface faces the camera, 0 to 1.
        cover: Share of the pixel that the limb covers, 0 to 1.
        normal: The image direction in which `across` grows.
        tint: Factor of the brightness, `[h, w]`, or None.
    """

    tint: np.ndarray | None = None

    def __init__(
        self,
        canvas: Canvas,
        start: tuple[float, float],
        end: tuple[float, float],
        radii: np.ndarray,
        *,
        caps: tuple[float, float],
        yaw: float,
        color: Color,
    ) -> None:
        """Lays the limb from `start` to `end` (column, row) with `radii` in pixels along it.

        Args:
            canvas: Where it will be drawn.
            start: First end of the axis.
            end: Other end; lower in the image, so that `across` grows to the right.
            radii: Radius at equal steps from `start` to `end`.
            caps: How far the rounded ends reach beyond, in pixels.
            yaw: Direction that the body's front points to; see `Pose.yaw`.
            color: Color of all of it, until `paint` changes some.
        """
        height, width = canvas.parts.shape
        dx, dy = end[0] - start[0], end[1] - start[1]
        length = max(math.hypot(dx, dy), 1.0)
        ax, ay = (dx / length, dy / length) if math.hypot(dx, dy) > 1e-6 else (0.0, 1.0)
        reach = max(float(radii.max()), *caps) + 1.5
        left = max(0, math.floor(min(start[0], end[0]) - reach))
        right = min(width, math.ceil(max(start[0], end[0]) + reach) + 1)
        top = max(0, math.floor(min(start[1], end[1]) - reach))
        bottom = min(height, math.ceil(max(start[1], end[1]) + reach) + 1)
        self.window = (slice(top, max(top, bottom)), slice(left, max(left, right)))
        columns = np.arange(left, max(left, right), dtype=np.float32) + (0.5 - start[0])
        rows = np.arange(top, max(top, bottom), dtype=np.float32)[:, None] + (0.5 - start[1])
        along = columns * ax + rows * ay
        offset = columns * ay - rows * ax
        total = length + caps[0] + caps[1]
        where = (along + caps[0]) * (_STEPS / total)
        step = where.astype(np.int32)
        outline, girth = _radius_tables(radii, length, caps)
        radius = outline.take(step, mode="clip")
        radius[(where <= 0) | (where >= _STEPS)] = -1
        self.u = along / length
        across = offset / girth.take(step, mode="clip")
        self.across = np.minimum(np.maximum(across, -1, out=across), 1, out=across)
        self.bulge = np.sqrt(1 - across * across)
        radius += 0.5
        radius -= np.abs(offset, out=offset)
        self.cover = np.minimum(np.maximum(radius, 0, out=radius), 1, out=radius)
        self.normal = (ay, -ax)
        self._turn = (math.cos(yaw), math.sin(yaw))
        self._colors: list[Color] = [color]
        self._index = np.zeros(self.u.shape, np.uint8)

    @functools.cached_property
    def left(self) -> np.ndarray:
        """How much the surface faces the person's left, -1 to 1."""
        return self.across * self._turn[0] - self.bulge * self._turn[1]

    @functools.cached_property
    def front(self) -> np.ndarray:
        """How much the surface faces the person's front, -1 to 1."""
        return self.across * self._turn[1] + self.bulge * self._turn[0]

    @functools.cached_property
    def around(self) -> np.ndarray:
        """Position around the limb in turns; 0 is the front."""
        return np.arctan2(self.left, self.front) * np.float32(0.5 / math.pi)

    def paint(self, mask: np.ndarray, color: Color) -> None:
        """Gives `color` to the pixels of `mask` `[h, w]`."""
        self._colors.append(color)
        self._index[mask] = len(self._colors) - 1

    def draw(
        self,
        canvas: Canvas,
        *,
        part: int | None,
        light: tuple[float, float, float],
        folds: float = 0.0,
        gloss: float = 0.0,
        grain: tuple[float, float] = CLOTH_GRAIN,
        shift: int = 0,
        tone: Tone | None = None,
    ) -> None:
        """Shades the limb and puts it on top of the canvas.

        Args:
            canvas: The image; changed in place.
            part: Class that the covered pixels get, or None to leave theirs.
            light: As in `View`.
            folds: Depth of the cloth's folds, 0 to 1.
            grain: How fine the folds are along and across the limb.
            gloss: Strength of a highlight, 0 to 1.
            shift: Other values fold differently.
            tone: How bright and of which color the light is; None for plain white.
        """
        if self.cover.size == 0:
            return
        slope = self.normal[0] * light[0] + self.normal[1] * light[1]
        shade = self.across * np.float32(slope)
        shade += self.bulge * np.float32(light[2])
        np.maximum(shade, 0, out=shade)
        if gloss:
            shade += gloss * shade**8
        if folds:
            depth = 0.12 * folds if tone is None else 0.12 * folds * tone.folds
            noise = noise_at(self.u * grain[0], self.across * grain[1], shift, 3 * shift)
            shade += noise * np.float32(depth)
        direct, ambient = (0.62, 0.50) if tone is None else (tone.direct, tone.ambient)
        shade *= np.float32(direct)
        shade += np.float32(0.8 * ambient) + np.float32(0.2 * ambient) * self.bulge
        if self.tint is not None:
            shade *= self.tint
        color = np.array(self._colors, np.float32).take(self._index, axis=0)
        color *= shade[..., None]
        under = canvas.pixels[self.window]
        color -= under
        color *= self.cover[..., None]
        under += color
        if part is not None:
            canvas.parts[self.window][self.cover > 0.5] = part


def _radius_tables(
    radii: np.ndarray, length: float, caps: tuple[float, float]
) -> tuple[np.ndarray, np.ndarray]:
    """Radii at `_STEPS` positions from the tip of one rounded end to that of the other.

    The first are the outline's; the second do not shrink at the ends, so that the shading of a
    limb runs smoothly into its neighbor's.
    """
    total = length + caps[0] + caps[1]
    along = _MIDDLES * total - caps[0]
    table = np.interp(along * ((len(radii) - 1) / length), _WHOLE[: len(radii)], radii)
    girth = np.maximum(table, 0.3).astype(np.float32)
    if caps == (0, 0):
        return table.astype(np.float32), girth
    over = np.maximum(-along / max(caps[0], 1e-3), (along - length) / max(caps[1], 1e-3))
    np.minimum(np.maximum(over, 0, out=over), 1, out=over)
    table *= np.sqrt(1 - over * over)
    return table.astype(np.float32), girth


_LOWER_HALF = np.maximum(np.linspace(-1, 1, 33), 0) ** 2
_CIRCLE = np.sqrt(np.maximum(1 - np.linspace(-1, 1, 33) ** 2, 0))


def ellipse_radii(half_width: float, *, egg: float = 0.0) -> np.ndarray:
    """Radii of an ellipse of that half width; `egg` > 0 makes the second end narrower."""
    return half_width * _CIRCLE * (1 - egg * _LOWER_HALF)


def soft_ellipse(
    canvas: Canvas, center: tuple[float, float], radii: tuple[float, float], strength: float
) -> None:
    """Darkens the canvas under a soft ellipse; the shadow of something on the ground."""
    height, width = canvas.parts.shape
    left, right = max(0, int(center[0] - radii[0])), min(width, int(center[0] + radii[0]) + 2)
    top, bottom = max(0, int(center[1] - radii[1])), min(height, int(center[1] + radii[1]) + 2)
    if left >= right or top >= bottom:
        return
    columns = (np.arange(left, right, dtype=np.float32) + 0.5 - center[0]) / radii[0]
    rows = (np.arange(top, bottom, dtype=np.float32)[:, None] + 0.5 - center[1]) / radii[1]
    depth = np.maximum(1 - columns**2 - rows**2, 0)
    canvas.pixels[top:bottom, left:right] *= (1 - strength * depth)[..., None]
