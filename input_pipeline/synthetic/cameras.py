"""Cameras: where they look from, and what they do to an image."""

from __future__ import annotations

import dataclasses
import math

import numpy as np
from PIL import Image, ImageFilter

from input_pipeline.synthetic.figure.shapes import image_of
from input_pipeline.synthetic.settings import SyntheticSettings

_STREAM = 1


@dataclasses.dataclass(frozen=True)
class Camera:
    """One camera; every image of it shares these.

    Attributes:
        number: 1 and up.
        pitch: How far it looks down, in radians.
        yaw: The viewing side it sees most often, in radians.
        light: As in `View`.
        horizon: Row of the horizon as a share of the image height.
        gain: Factor of each color channel.
        contrast: Factor around mid-gray.
        brightness: Added, as a share of white.
        saturation: 1 keeps colors, 0 is gray.
        blur: Standard deviation as a share of the image height.
        noise: Standard deviation in gray levels.
        zoom: Person height as a share of the image height.
        jitter: Spread of position and scale, as a share of the image.
    """

    number: int
    pitch: float
    yaw: float
    light: tuple[float, float, float]
    horizon: float
    gain: tuple[float, float, float]
    contrast: float
    brightness: float
    saturation: float
    blur: float
    noise: float
    zoom: float
    jitter: float


def make_camera(settings: SyntheticSettings, number: int) -> Camera:
    """Camera `number` (1 and up) of a dataset; casts go round the color circle by camera."""
    rng = np.random.default_rng((settings.seed, _STREAM, number))
    strength = settings.camera_strength
    share = (number - 1) / settings.cameras
    hue = 2 * math.pi * (share + rng.uniform(-0.06, 0.06))
    cast = 0.13 * strength * np.cos(hue + np.array((0.0, -2.1, 2.1)))
    tone = 2 * math.pi * (share * 2 + 0.25)
    pitch = float(rng.uniform(0.08, 0.34))
    side = rng.choice((-1.0, 1.0)) * rng.uniform(0.25, 0.6)
    light = np.array((side, -rng.uniform(0.3, 0.6), 0.85))
    light *= 1.05 / np.linalg.norm(light)
    return Camera(
        number=number,
        pitch=pitch,
        yaw=2 * math.pi * (share + float(rng.uniform(-0.1, 0.1))),
        light=(float(light[0]), float(light[1]), float(light[2])),
        horizon=float(0.40 - 0.9 * pitch + rng.uniform(-0.03, 0.03)),
        gain=(float(1 + cast[0]), float(1 + cast[1]), float(1 + cast[2])),
        contrast=1 + 0.22 * strength * math.sin(tone),
        brightness=0.07 * strength * math.cos(tone),
        saturation=1 - 0.3 * strength * float(rng.uniform(0, 1)),
        blur=0.0045 * strength * float(rng.uniform(0.1, 1)),
        noise=7.0 * strength * float(rng.uniform(0.2, 1)) + 1.0,
        zoom=0.885 + 0.03 * float(rng.uniform(-1, 1)),
        jitter=0.02 + 0.035 * strength,
    )


def expose(
    rng: np.random.Generator, planes: np.ndarray, camera: Camera, size: tuple[int, int]
) -> Image.Image:
    """What the camera makes of a drawn scene.

    Args:
        rng: Source of the noise and of the small changes from image to image.
        planes: The drawing, float32 `[3, h, w]` in 0-255; changed in place.
        camera: The camera.
        size: Width and height of the image; the drawing is reduced to it.
    """
    exposure = 1 + rng.normal(0, 0.04)
    gain = np.array(camera.gain, np.float32) * np.float32(exposure * camera.contrast)
    # The product rounds as it does for pixels that are stored one after another.
    pixels = np.ascontiguousarray(planes.transpose(1, 2, 0))
    gray = pixels @ np.array((0.30, 0.59, 0.11), np.float32)
    gain = gain[:, None, None]
    planes *= np.float32(camera.saturation) * gain
    gray *= np.float32(1 - camera.saturation)
    planes += gray * gain
    planes += np.float32(127 * (1 - camera.contrast) + 255 * camera.brightness)
    image = image_of(planes)
    if image.size != size:
        image = image.resize(size, Image.Resampling.BOX)
    blur = camera.blur * size[1] * rng.uniform(0.6, 1.4)
    if blur > 0.15:
        image = image.filter(ImageFilter.GaussianBlur(blur))
    grain = rng.integers(-127, 128, (size[1], size[0]), np.int8).astype(np.float32)
    grain *= np.float32(camera.noise / 73.0)
    noisy = np.array(image, np.float32)
    rows = noisy.reshape(size[1], 3 * size[0])
    rows += np.repeat(grain, 3, axis=1)
    return Image.fromarray(np.clip(noisy, 0, 255, out=noisy).astype(np.uint8))
