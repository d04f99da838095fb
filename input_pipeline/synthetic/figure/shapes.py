"""Rounded limbs, drawn analytically with anti-aliased edges, and the canvas they land on.

A limb is an axis in the image with a radius that varies along it. Every pixel knows where on the
limb's surface it lies, so that cloth patterns follow the body and turn with it.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from PIL import Image

from input_pipeline.synthetic.figure.palette import Color

_STEPS = 160
_MIDDLES = (np.arange(_STEPS) + 0.5) / _STEPS
_WHOLE = np.arange(64.0)
_BEYOND = np.array((-1, 1), np.float32)
_TILE = 128
_BY_LINE = "RGB;L"
"""Pillow's name for the order that is nearest to planes: a row in red, in green, in blue."""
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
    column = columns.astype(np.intp)
    column += right
    column &= _TILE - 1  # The remainder, negative numbers included, as _TILE is a power of 2.
    place = rows.astype(np.intp)
    place *= _TILE
    place += column
    place += down % _TILE * _TILE
    return _flat_noise().take(place, mode="wrap")


@functools.lru_cache(maxsize=1)
def _flat_noise() -> np.ndarray:
    """`soft_noise` row by row, so that places beyond its last row go round to the first."""
    return soft_noise().ravel()


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
    """An image being drawn.

    Attributes:
        planes: Red, green and blue, float32 `[3, H, W]` in 0-255. Axes before these are images
            that all get the same drawn on top of them. One plane after another, since what
            changes all channels of a pixel alike is then one operation on long rows.
        parts: Part map, uint8 `[H, W]`.
    """

    planes: np.ndarray
    parts: np.ndarray

    @classmethod
    def on(cls, image: Image.Image, *, mirrored: bool = False) -> Canvas:
        """A canvas that starts as an RGB image, or as that with left and right swapped."""
        width, height = image.size
        levels = np.frombuffer(image.tobytes("raw", _BY_LINE), np.uint8)
        lines = levels.reshape(height, 3, width).transpose(1, 0, 2)
        planes = np.empty((3, height, width), np.float32)
        planes[:] = lines[..., ::-1] if mirrored else lines
        return cls(planes, np.zeros((height, width), np.uint8))

    @property
    def pixels(self) -> np.ndarray:
        """The image as `[..., H, W, 3]`: the same memory as `planes`."""
        return np.moveaxis(self.planes, -3, -1)


def image_of(planes: np.ndarray) -> Image.Image:
    """The RGB image of planes `[3, H, W]`, which are clipped to 0-255 in place."""
    _, height, width = planes.shape
    levels = np.empty((height, 3, width), np.uint8)
    levels.transpose(1, 0, 2)[:] = np.minimum(np.maximum(planes, 0, out=planes), 255, out=planes)
    return Image.frombuffer("RGB", (width, height), levels, "raw", _BY_LINE, 0, 1)


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
        (x0, y0), (x1, y1) = start, end
        dx, dy = x1 - x0, y1 - y0
        apart = math.hypot(dx, dy)
        length = max(apart, 1.0)
        ax, ay = (dx / length, dy / length) if apart > 1e-6 else (0.0, 1.0)
        reach = max(*radii.tolist(), *caps) + 1.5
        left = max(0, math.floor(min(x0, x1) - reach))
        right = max(left, min(width, math.ceil(max(x0, x1) + reach) + 1))
        top = max(0, math.floor(min(y0, y1) - reach))
        bottom = max(top, min(height, math.ceil(max(y0, y1) + reach) + 1))
        self.window = (slice(top, bottom), slice(left, right))
        # Not in place: numbers of numpy as ends make these, and what follows, float64.
        columns = np.arange(left, right, dtype=np.float32) + (0.5 - x0)
        rows = np.arange(top, bottom, dtype=np.float32)[:, None] + (0.5 - y0)
        along = columns * ax + rows * ay
        offset = columns * ay - rows * ax
        where = along + caps[0]
        where *= _STEPS / (length + caps[0] + caps[1])
        tables = _radius_tables(radii, length, caps)
        radius, girth = tables.take(where.astype(np.intp), axis=1, mode="clip")
        np.putmask(radius, where <= 0, -1)
        along /= length
        self.u = along
        across = offset / girth
        self.across = np.minimum(np.maximum(across, -1, out=across), 1, out=across)
        bulge = across * across
        self.bulge = np.sqrt(np.subtract(1, bulge, out=bulge), out=bulge)
        radius += 0.5
        radius -= np.abs(offset, out=offset)
        self.cover = np.minimum(np.maximum(radius, 0, out=radius), 1, out=radius)
        self.normal = (ay, -ax)
        self._turn = (math.cos(yaw), math.sin(yaw))
        self._colors: list[Color] = [color]
        self._index: np.ndarray | None = None

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
        if self._index is None:
            self._index = np.zeros(self.u.shape, np.intp)
        np.putmask(self._index, mask, len(self._colors))
        self._colors.append(color)

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
        colors = np.array(self._colors, np.float32)
        if self._index is None:
            color = np.empty((3, *shade.shape), np.float32)
            np.multiply(colors[0, :, None, None], shade, out=color, casting="same_kind")
        else:
            color = colors.T.take(self._index, axis=1)
            color *= shade
        rows, columns = self.window
        under = canvas.planes[..., rows, columns]
        change = color - under
        change *= self.cover
        under += change
        if part is not None:
            canvas.parts[rows, columns][self.cover > 0.5] = part


def _radius_tables(radii: np.ndarray, length: float, caps: tuple[float, float]) -> np.ndarray:
    """Radii at `_STEPS` positions from the tip of one rounded end to that of the other.

    The first row is the outline's; the second does not shrink at the ends, so that the shading of
    a limb runs smoothly into its neighbor's. A last column is for all positions beyond the tip,
    where nothing is seen of the limb.

    Returns:
        float32 `[2, _STEPS + 1]`.
    """
    along = _MIDDLES * (length + caps[0] + caps[1])
    along -= caps[0]
    table = np.interp(along * ((len(radii) - 1) / length), _WHOLE[: len(radii)], radii)
    tables = np.empty((2, _STEPS + 1), np.float32)
    tables[:, _STEPS] = _BEYOND
    tables[1, :_STEPS] = np.maximum(table, 0.3)
    if caps != (0, 0):
        over = np.maximum(along / -max(caps[0], 1e-3), (along - length) / max(caps[1], 1e-3))
        np.maximum(over, 0, out=over)
        over *= over
        np.subtract(1, over, out=over)
        table *= np.sqrt(over, out=over)
    tables[0, :_STEPS] = table
    return tables


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
    depth = (1 - columns * columns) - rows * rows
    np.maximum(depth, 0, out=depth)
    depth *= strength
    canvas.planes[..., top:bottom, left:right] *= np.subtract(1, depth, out=depth)
