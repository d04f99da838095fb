"""Rounded limbs, drawn analytically with anti-aliased edges, and the canvas they land on.

Every pixel knows where on the limb's surface it lies, so that cloth patterns follow the body and
turn with it.
"""

from __future__ import annotations

import dataclasses
import functools
import math

import numpy as np
from PIL import Image

from input_pipeline.synthetic.figure.palette import Color

ZERO, HALF, ONE = (np.array(number, np.float32) for number in (0, 0.5, 1))
"""Numbers as arrays: for few pixels numpy takes longer to find a number's type than to use it."""
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
    # Half as many bytes as places have in the end: numpy turns more of these at once.
    column = columns.astype(np.int32)
    column += right
    column &= _TILE - 1  # The remainder, negative numbers included, as _TILE is a power of 2.
    place = rows.astype(np.int32)
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

    @functools.cached_property
    def factors(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Of what faces the light, of everything, and of what faces the camera besides; float32."""
        direct, ambient, toward = (
            np.array(factor, np.float32)
            for factor in (self.direct, 0.8 * self.ambient, 0.2 * self.ambient)
        )
        return direct, ambient, toward


_PLAIN = Tone(direct=0.62, ambient=0.50)


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

    @functools.cached_property
    def columns(self) -> np.ndarray:
        """The numbers of all columns, float32 `[W]`; a part of it is quicker than a new array."""
        return np.arange(self.parts.shape[1], dtype=np.float32)

    @functools.cached_property
    def rows(self) -> np.ndarray:
        """The numbers of all rows, float32 `[H]`."""
        return np.arange(self.parts.shape[0], dtype=np.float32)

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
        window: Rows and columns of the canvas.
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
        *,
        window: tuple[slice, slice],
        u: np.ndarray,
        across: np.ndarray,
        bulge: np.ndarray,
        cover: np.ndarray,
        normal: tuple[float, float],
        yaw: float,
        color: Color,
    ) -> None:
        """See the attributes; `yaw` and `color` are those of the `Limb`."""
        self.window, self.normal = window, normal
        self.u, self.across, self.bulge, self.cover = u, across, bulge, cover
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

    def fill(self, color: Color) -> None:
        """Gives `color` to all pixels."""
        self._colors, self._index = [color], None

    def paint(self, mask: np.ndarray, color: Color) -> None:
        """Gives `color` to the pixels of `mask` `[h, w]`."""
        if self._index is None:
            self._index = mask.astype(np.intp)  # 1 for the second color, 0 for the first.
        else:
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
        tone = tone or _PLAIN
        slope = self.normal[0] * light[0] + self.normal[1] * light[1]
        shade = self.across * np.float32(slope)
        shade += self.bulge * np.float32(light[2])
        np.maximum(shade, ZERO, out=shade)
        if gloss:
            shade += gloss * shade**8
        if folds:
            depth = 0.12 * folds * tone.folds
            noise = noise_at(self.u * grain[0], self.across * grain[1], shift, 3 * shift)
            shade += noise * np.float32(depth)
        direct, ambient, toward = tone.factors
        shade *= direct
        shade += ambient + toward * self.bulge
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
        window = canvas.planes[..., rows, columns]
        under = window.copy()  # Its rows lie apart, and each sum would look for them.
        mixed = color - under
        mixed *= self.cover
        mixed += under
        window[...] = mixed
        if part is not None:
            np.putmask(canvas.parts[rows, columns], self.cover > HALF, part)


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
    columns = (canvas.columns[left:right] + HALF - center[0]) / radii[0]
    rows = (canvas.rows[top:bottom, None] + HALF - center[1]) / radii[1]
    depth = (ONE - columns * columns) - rows * rows
    np.maximum(depth, ZERO, out=depth)
    depth *= strength
    canvas.planes[..., top:bottom, left:right] *= np.subtract(ONE, depth, out=depth)
