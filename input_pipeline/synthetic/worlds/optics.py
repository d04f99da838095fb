"""Cameras of many kinds: geometry, light, lens, sensor, tone curve and compression."""

from __future__ import annotations

import dataclasses
import functools
import io
import math

import numpy as np
from PIL import Image, ImageFilter

from input_pipeline.synthetic.figure.shapes import Tone, image_of
from input_pipeline.synthetic.settings import SyntheticSettings
from input_pipeline.synthetic.worlds.styles import (
    BACKDROP_STYLES,
    CAMERA_STYLES,
    Span,
    chosen_styles,
)

_STREAM = 11
_LEVELS = 1024
_GRAIN = 512
_UNSEEN = 85
"""Compression at this quality or better is not seen beside that of the image file."""
_GRAY = np.array((0.2126, 0.7152, 0.0722), np.float32)
_HEIGHT = 128.0
"""Blur and resolution are those of an image of this many rows."""


@dataclasses.dataclass(frozen=True, eq=False)
class WorldCamera:
    """One camera; every image of it shares these. See `CameraStyle` for most of them.

    Attributes:
        number: 1 and up.
        style: Name of its camera style.
        backdrop: Name of its background style.
        matrix: What its sensor makes of linear red, green and blue, float32 `[3, 3]`.
        curve: Its tone curve, gray levels float32 `[_LEVELS]` of equal steps in linear light.
        side: Viewing side of most who pass, in radians.
        sunlight: Direction of the light, as `View.light`.
        stretch: Width over height of its images against what the network sees.
        fill: Height of a person as a share of the image height.
    """

    number: int
    style: str
    backdrop: str
    matrix: np.ndarray
    curve: np.ndarray
    pitch: float
    taper: float
    lines: float
    exposure: float
    haze: float
    blur: float
    motion: float
    noise: float
    sharpen: float
    jpeg: float
    sun: float
    hardness: float
    spread: float
    combed: bool
    side: float
    sunlight: tuple[float, float, float]
    stretch: float
    fill: float


def make_world_camera(settings: SyntheticSettings, number: int) -> WorldCamera:
    """Camera `number` (1 and up): the styles take turns, and each camera draws its own values."""
    rng = np.random.default_rng((settings.seed, _STREAM, number))
    names = chosen_styles(settings.camera_styles, tuple(CAMERA_STYLES))
    backdrops = chosen_styles(settings.backdrop_styles, BACKDROP_STYLES)
    name = names[(number - 1) % len(names)]
    style = CAMERA_STYLES[name]

    def pick(span: Span) -> float:
        return float(rng.uniform(*span))

    matrix = _sensor(
        rng, pick(style.warmth), pick(style.tint), pick(style.mixing), pick(style.saturation)
    )
    side = rng.choice((-1.0, 1.0)) * rng.uniform(0.2, 1.0)
    light = np.array((side, -rng.uniform(0.2, 1.0), rng.uniform(-0.1, 1.0)))
    light /= np.linalg.norm(light)
    # Each background once, in any order, before one comes again: all pairs of styles can meet.
    around, turn = divmod(number - 1, len(backdrops))
    order = np.random.default_rng((settings.seed, _STREAM, 0, around)).permutation(len(backdrops))
    return WorldCamera(
        number=number,
        style=name,
        backdrop=backdrops[order[turn]],
        matrix=matrix,
        curve=_curve(pick(style.gamma), pick(style.contrast)),
        pitch=pick(style.pitch),
        taper=pick(style.taper),
        lines=pick(style.lines),
        exposure=pick(style.exposure),
        haze=pick(style.haze),
        blur=pick(style.blur),
        motion=pick(style.motion),
        noise=pick(style.noise),
        sharpen=pick(style.sharpen),
        jpeg=pick(style.jpeg),
        sun=pick(style.sun),
        hardness=pick(style.hardness),
        spread=pick(style.spread),
        combed=style.combed,
        side=float(rng.uniform(-math.pi, math.pi)),
        sunlight=(float(light[0]), float(light[1]), float(light[2])),
        stretch=float(rng.uniform(0.74, 1.08)),
        fill=float(rng.uniform(0.84, 0.96)),
    )


def _sensor(
    rng: np.random.Generator, warmth: float, tint: float, mixing: float, saturation: float
) -> np.ndarray:
    """Saturation, mixing of the channels and white balance in one matrix, for row vectors."""
    gray = np.outer(_GRAY, np.ones(3))
    matrix = saturation * np.eye(3) + (1 - saturation) * gray
    mix = np.eye(3) + mixing * rng.uniform(-1, 1, (3, 3))
    mix /= mix.sum(0)  # White stays white, for the white balance to change.
    white = np.exp(np.array((warmth / 2 - tint / 2, tint / 2, -warmth / 2 - tint / 2)))
    white /= white @ _GRAY
    return np.asarray(matrix @ mix * white, np.float32)


def _curve(gamma: float, contrast: float) -> np.ndarray:
    """Gray levels by linear light: a power, and an S that is steep in the middle."""
    display = np.linspace(0, 1, _LEVELS) ** (gamma / 2.2)
    bent = 0.5 + 0.5 * np.tanh((display - 0.5) * 2 * contrast) / math.tanh(contrast)
    share = np.clip(contrast - 0.4, 0, 1)
    return np.asarray(255 * (share * bent + (1 - share) * display), np.float32)


@functools.lru_cache(maxsize=1)
def _linear() -> np.ndarray:
    """Linear light by gray level, float32 `[256]`."""
    return (np.arange(256, dtype=np.float32) / 255) ** np.float32(2.2)


def tone_of(rng: np.random.Generator, camera: WorldCamera) -> Tone:
    """The light on a person: direct and from everywhere, more or less of both."""
    hard = camera.hardness * (1.0 if rng.random() < camera.sun else rng.uniform(0.2, 0.8))
    direct, ambient = float(1.25 * hard), float(1.05 * (1 - 0.75 * hard))
    return Tone(direct=direct, ambient=ambient, folds=float(rng.uniform(0.6, 2.0)))


def develop(
    rng: np.random.Generator, planes: np.ndarray, camera: WorldCamera, size: tuple[int, int]
) -> Image.Image:
    """What the camera makes of a drawn scene.

    Args:
        rng: Source of the noise and of the changes from image to image.
        planes: The drawing, float32 `[3, h, w]`, clipped to 0-255 in place.
        camera: The camera.
        size: Width and height of the image.
    """
    image = image_of(planes)
    lines = camera.lines * rng.uniform(0.7, 1.2) * size[1] / _HEIGHT
    rows = int(min(max(lines, 20), image.height))
    columns = max(10, round(rows * image.width / image.height))
    unit = rows / _HEIGHT
    if rows < image.height:
        image = image.resize((columns, rows), Image.Resampling.BILINEAR)
    blur = camera.blur * unit * rng.uniform(0.5, 1.8)
    motion = camera.motion * unit * abs(rng.normal(0, 1.2))
    if max(blur, motion) > 0.25:
        image = image.filter(ImageFilter.GaussianBlur((math.hypot(blur, motion), blur)))
    light = _linear().take(np.asarray(image))
    light = _exposed(rng, light, camera)
    light *= _LEVELS - 1
    level = np.clip(light, 0, _LEVELS - 1, out=light).astype(np.int16)
    developed = camera.curve.take(level)
    developed += _noise(rng, developed.shape, camera.noise * rng.uniform(0.6, 1.4))
    if camera.combed and rng.random() < 0.4:
        odd = developed[1::2]
        odd += rng.uniform(0.3, 0.8) * (np.roll(odd, rng.choice((-1, 1)), axis=1) - odd)
    image = Image.fromarray(np.clip(developed, 0, 255, out=developed).astype(np.uint8))
    if camera.sharpen > 0.25:
        percent = int(100 * camera.sharpen * rng.uniform(0.5, 1.3))
        image = image.filter(ImageFilter.UnsharpMask(1.2 * max(unit, 0.6), percent, 2))
    quality = int(min(max(camera.jpeg + rng.normal(0, 6), 15), 95))
    if quality < _UNSEEN:
        image = _compressed(image, quality)
    if image.size != size:
        image = image.resize(
            size, Image.Resampling.BICUBIC if unit > 0.6 else Image.Resampling.BILINEAR
        )
    return image


def _exposed(rng: np.random.Generator, light: np.ndarray, camera: WorldCamera) -> np.ndarray:
    """Linear light on the sensor: automatic exposure, its matrix, stray light and vignetting."""
    mean = float(light.mean())
    # The camera meters more than the crop, so it corrects a part of the crop's brightness.
    gain = camera.exposure / (mean**0.6 * 0.2**0.4 + 0.01) * math.exp(rng.normal(0, camera.spread))
    white = np.exp(rng.normal(0, 0.03, 3)).astype(np.float32)
    light = light @ (camera.matrix * (white * np.float32(gain)))
    if camera.haze:
        light *= np.float32(1 - camera.haze)
        light += np.float32(camera.haze * rng.uniform(0.5, 1.5) * 0.7)
    fall = rng.uniform(-0.25, 0.25, 2).astype(np.float32)
    height, width = light.shape[:2]
    slope = 1 + fall[0] * _ramp(height)[:, None]
    # Each number for all three channels: one long row is faster than very many short ones.
    light = light.reshape(height, 3 * width)
    light *= slope + fall[1] * _ramp(width, 3)
    return light.reshape(height, width, 3)


@functools.lru_cache(maxsize=1024)
def _ramp(number: int, times: int = 1) -> np.ndarray:
    """Equal steps from -1 to 1, float32 `[number * times]`; each comes `times` times."""
    return np.repeat(np.linspace(-1, 1, number, dtype=np.float32), times)


@functools.lru_cache(maxsize=1)
def _grain() -> np.ndarray:
    """Noise of brightness and, half as much, of color, deviation 1; float32 `[512, 512, 3]`."""
    rng = np.random.default_rng(22)
    gray = rng.standard_normal((_GRAIN, _GRAIN, 1), np.float32)
    color = rng.standard_normal((_GRAIN, _GRAIN, 3), np.float32)
    return np.asarray(0.87 * gray + 0.5 * color, np.float32)


def _noise(rng: np.random.Generator, shape: tuple[int, ...], deviation: float) -> np.ndarray:
    """A piece of the grain, float32 `[h, w, 3]`; as large as the deviation says."""
    row, column = (int(rng.integers(_GRAIN - size + 1)) for size in shape[:2])
    piece = _grain()[row : row + shape[0], column : column + shape[1]]
    return piece * np.float32(deviation)


def _compressed(image: Image.Image, quality: int) -> Image.Image:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", quality=quality)
    # Reading it as a file would first look for all that a camera may have noted there.
    return Image.frombytes("RGB", image.size, buffer.getvalue(), "jpeg", "RGB", "")
