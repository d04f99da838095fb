"""What cameras, compression and bad light do to an image, much stronger than most do."""

from __future__ import annotations

import numpy as np
import simplejpeg
from PIL import Image, ImageFilter

from input_pipeline.part_labels.drawn.examples.textures import TextureBank

_GRAY = np.array((0.30, 0.59, 0.11), np.float32)


def expose(
    rng: np.random.Generator, pixels: np.ndarray, bank: TextureBank, *, mild: bool = False
) -> np.ndarray:
    """The image that some camera would store.

    Args:
        rng: Decides which.
        pixels: float32 `[H, W, 3]` in 0-255.
        bank: For shadows and uneven light.
        mild: Whether colors alone are changed, as of an image that a camera has taken already.

    Returns:
        uint8 `[H, W, 3]`.
    """
    if mild:
        return _colors(rng, pixels).clip(0, 255).astype(np.uint8)
    pixels = _light(rng, pixels, bank)
    pixels = _colors(rng, pixels)
    image = _optics(rng, Image.fromarray(pixels.clip(0, 255).astype(np.uint8)))
    return _storage(rng, _sensor(rng, np.asarray(image)))


def _light(rng: np.random.Generator, pixels: np.ndarray, bank: TextureBank) -> np.ndarray:
    size = (pixels.shape[0], pixels.shape[1])
    if rng.random() < 0.3:  # cast shadows and patches of sun
        edge = bank.noise(rng, size) * rng.uniform(0.5, 8) + rng.normal(0, 1)
        shadow = 1 - rng.uniform(0.1, 0.65) / (1 + np.exp(-edge))
        pixels = pixels * shadow[..., None]
    if rng.random() < 0.15:  # haze
        veil = 255 * rng.uniform(0.3, 1.0)
        pixels = pixels + rng.uniform(0.05, 0.5) * (veil - pixels)
    return pixels


def _colors(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    strong = rng.random() < 0.25
    spread = 0.16 if strong else 0.05
    matrix = np.eye(3) * np.exp(rng.normal(0, spread, 3)) + rng.normal(0, spread / 2, (3, 3))
    saturation = 0.0 if rng.random() < 0.1 else rng.uniform(0.3, 1.4)
    gray = np.outer(np.ones(3), _GRAY)
    matrix = (gray + saturation * (np.eye(3) - gray)) @ matrix
    pixels = np.maximum(pixels @ matrix.T.astype(np.float32), 0)
    gamma = np.float32(np.exp(rng.normal(0, 0.4 if strong else 0.2)))
    pixels = 255 * (pixels / 255).clip(0, 1) ** gamma
    contrast = np.exp(rng.normal(-0.1, 0.3 if strong else 0.15))
    middle = pixels.mean()
    return middle + contrast * (pixels - middle) + rng.normal(0, 22 if strong else 10)


def _optics(rng: np.random.Generator, image: Image.Image) -> Image.Image:
    size = image.size
    if rng.random() < 0.45:
        image = image.filter(ImageFilter.GaussianBlur(abs(rng.normal(0, 0.9))))
    if rng.random() < 0.08:  # moved
        kernel = np.zeros((5, 5))
        if rng.random() < 0.7:
            kernel[2] = 1
        else:
            np.fill_diagonal(kernel, 1)
        image = image.filter(ImageFilter.Kernel((5, 5), kernel.reshape(-1).tolist()))
    if rng.random() < 0.45:  # few pixels
        share = float(np.exp(rng.uniform(np.log(0.25), 0)))
        filters = (Image.Resampling.BILINEAR, Image.Resampling.BOX, Image.Resampling.NEAREST)
        small = (max(8, round(size[0] * share)), max(16, round(size[1] * share)))
        image = image.resize(small, filters[int(rng.choice(3, p=(0.5, 0.4, 0.1)))])
        back = (Image.Resampling.BILINEAR, Image.Resampling.BICUBIC, Image.Resampling.NEAREST)
        image = image.resize(size, back[int(rng.choice(3, p=(0.5, 0.4, 0.1)))])
    if rng.random() < 0.3:  # sharpened by the camera, with halos
        radius, percent = rng.uniform(0.5, 2.0), int(rng.uniform(40, 250))
        image = image.filter(ImageFilter.UnsharpMask(radius, percent, 0))
    return image


def _sensor(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    if rng.random() < 0.5:
        return pixels
    height, width, _ = pixels.shape
    noise = rng.standard_normal((height, width, 1), np.float32) * np.float32(abs(rng.normal(0, 7)))
    if rng.random() < 0.5:
        chroma = np.float32(abs(rng.normal(0, 7)))
        noise = noise + rng.standard_normal((height, width, 3), np.float32) * chroma
    return (pixels + noise).clip(0, 255).astype(np.uint8)


def _storage(rng: np.random.Generator, pixels: np.ndarray) -> np.ndarray:
    if rng.random() < 0.3:
        return pixels
    data = simplejpeg.encode_jpeg(
        np.ascontiguousarray(pixels),
        quality=int(rng.integers(18, 96)),
        colorsubsampling="420" if rng.random() < 0.7 else "444",
    )
    return simplejpeg.decode_jpeg(data)
