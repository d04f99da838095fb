"""Backgrounds: one wide scene for each camera, of a style, with changes from image to image."""

from __future__ import annotations

import functools
import types
from collections.abc import Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from input_pipeline.synthetic.figure.shapes import Canvas, image_of
from input_pipeline.synthetic.scenes import (
    SCENE_HEIGHT,
    SCENE_WIDTH,
    WALLS,
    Wall,
    crop_scene,
    tinted,
)
from input_pipeline.synthetic.worlds.optics import WorldCamera
from input_pipeline.synthetic.worlds.wardrobe import shade

_STREAM = 12
_TILE = 256
_GROUNDS = ("slabs", "asphalt", "cobbles", "tiles", "carpet", "grass")
_LOWEST = 72
"""Rows that a wall has at least."""
_GRASSY = ("park", "lawn")
_WIDTHS = (0.06, 0.3, 0.7)
"""Of a pole, a box and a band, as shares of the image."""


@functools.lru_cache(maxsize=1)
def fractal() -> np.ndarray:
    """Tileable 1/f noise `[256, 256]` float32, mean 0, deviation 1."""
    rng = np.random.default_rng(21)
    frequency = np.hypot(*np.meshgrid(np.fft.fftfreq(_TILE), np.fft.fftfreq(_TILE)))
    frequency[0, 0] = 1
    spectrum = np.fft.fft2(rng.standard_normal((_TILE, _TILE))) / frequency**1.1
    spectrum[0, 0] = 0
    noise = np.fft.ifft2(spectrum).real
    return np.asarray(noise / noise.std(), np.float32)


def field(rng: np.random.Generator, height: int, width: int, scale: float) -> np.ndarray:
    """A piece `[height, width]` of the 1/f noise; `scale` steps through it a pixel."""
    rows = (np.arange(height) * scale + rng.integers(_TILE)).astype(int) % _TILE
    columns = (np.arange(width) * scale + rng.integers(_TILE)).astype(int) % _TILE
    return fractal().take(rows, axis=0).take(columns, axis=1)


def make_backdrop(seed: int, camera: WorldCamera) -> Image.Image:
    """The scene of a camera, RGB of size `(SCENE_WIDTH, SCENE_HEIGHT)`."""
    rng = np.random.default_rng((seed, _STREAM, camera.number))
    horizon = 0.42 - 0.75 * camera.pitch + rng.uniform(-0.08, 0.08)
    scene = _ground(rng, camera, horizon).resize(
        (SCENE_WIDTH, SCENE_HEIGHT), Image.Resampling.BILINEAR
    )
    kerb = int((horizon + rng.uniform(0.05, 0.3)) * SCENE_HEIGHT)
    if kerb > _LOWEST / 3:
        kerb = max(kerb, _LOWEST)
        BACKDROPS[camera.backdrop](rng, scene, kerb)
    if camera.backdrop == "crossing":
        _zebra(rng, scene, max(kerb, 0))
    scene = scene.filter(ImageFilter.GaussianBlur(float(rng.uniform(0.4, 1.4))))
    planes = Canvas.on(scene).planes
    gain = np.exp(rng.normal(0, 0.25)) * np.exp(rng.normal(0, 0.06, 3))
    tone = 1 + 0.05 * field(rng, SCENE_HEIGHT, SCENE_WIDTH, 0.3)
    row = np.arange(SCENE_HEIGHT, dtype=np.float32)[:, None]
    tone *= 1 - 0.35 * np.exp(-np.abs(row - kerb) / 6)
    planes *= tone
    planes *= gain.astype(np.float32)[:, None, None]
    return image_of(planes)


def _ground(rng: np.random.Generator, camera: WorldCamera, horizon: float) -> Image.Image:
    """Ground in perspective over the whole scene at half its size."""
    kind = "grass" if camera.backdrop in _GRASSY else _GROUNDS[int(rng.integers(5))]
    value = rng.uniform(60, 200)
    base = value * np.exp(rng.normal(0, (0.06, 0.03, 0.07)))
    if kind == "grass":
        base = np.array((86, 112, 62)) * rng.uniform(0.6, 1.3)
    row = np.arange(0, SCENE_HEIGHT, 2, dtype=np.float32)[:, None]
    column = np.arange(0, SCENE_WIDTH, 2, dtype=np.float32)
    depth = 60.0 / np.maximum(row - (horizon * SCENE_HEIGHT - 12), 4)
    across = (column - SCENE_WIDTH / 2) * depth / rng.uniform(20, 60)
    rough = 0.08 if kind in ("grass", "cobbles") else 0.03
    tone = 1 + rough * field(rng, len(row), len(column), 1.6)
    if kind in ("slabs", "tiles", "cobbles"):
        rate = {"slabs": 6.0, "tiles": 14.0, "cobbles": 26.0}[kind]
        distance = depth * rate
        across = across + 0.5 * (np.floor(distance) % 2) * (kind == "cobbles")
        joint = (np.abs(distance % 1 - 0.5) > 0.45) | (np.abs(across % 1 - 0.5) > 0.46)
        check = (np.floor(distance) + np.floor(across)) % 2
        tone = tone * (1 + rng.uniform(-0.3, 0.2) * joint - rng.uniform(0, 0.15) * check)
    line = rng.uniform(-3, 3)
    if rng.random() < 0.4:
        tone = tone + rng.uniform(-0.3, 0.6) * (np.abs(across - line) < rng.uniform(0.1, 0.8))
    return tinted(base.astype(np.float32), tone)


def _wall(rng: np.random.Generator, kerb: int) -> Image.Image:
    """A plain wall from the top of a scene down to `kerb`."""
    color = np.array(shade(rng), np.float32) * 0.6 + 70
    tone = 1 + 0.08 * field(rng, kerb, SCENE_WIDTH, 0.5)
    return tinted(color, tone)


def _any(rng: np.random.Generator) -> tuple[int, int, int]:
    red, green, blue = rng.integers(20, 236, 3)
    gray = (int(red) + int(green) + int(blue)) // 3
    return (2 * gray + int(red)) // 3, (2 * gray + int(green)) // 3, (2 * gray + int(blue)) // 3


def _plaza(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """Far houses and near columns."""
    draw = ImageDraw.Draw(scene)
    sky = int(rng.integers(150, 250))
    draw.rectangle((0, 0, SCENE_WIDTH, kerb), fill=(sky - 8, sky, min(sky + 10, 255)))
    left = 0
    while left < SCENE_WIDTH:
        wide, top = int(rng.integers(40, 140)), int(kerb * rng.uniform(0.0, 0.7))
        color = _any(rng)
        draw.rectangle((left, top, left + wide, kerb), fill=color)
        for y in range(top + 5, kerb - 6, 14):
            for x in range(left + 5, left + wide - 6, 12):
                draw.rectangle((x, y, x + 5, y + 7), fill=(70, 76, 86))
        left += wide
    for x in rng.integers(0, SCENE_WIDTH, int(rng.integers(2, 8))):
        color, wide = _any(rng), int(rng.integers(4, 30))
        low = kerb + int(rng.integers(5, 60))
        draw.rectangle((x, 0, x + wide, low), fill=color)
        draw.line((x + wide - 1, 0, x + wide - 1, low), fill=(50, 50, 50), width=2)


def _corridor(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """Panels, doors and lamps."""
    wall = _wall(rng, kerb)
    draw = ImageDraw.Draw(wall)
    rail = int(kerb * rng.uniform(0.5, 0.8))
    draw.rectangle((0, rail, SCENE_WIDTH, kerb), fill=_any(rng))
    for x in range(int(rng.integers(0, 60)), SCENE_WIDTH, int(rng.integers(60, 160))):
        draw.line((x, 0, x, kerb), fill=(90, 90, 92), width=2)
        if rng.random() < 0.5:
            draw.rectangle((x + 10, int(kerb * 0.2), x + 50, kerb), fill=_any(rng))
        if rng.random() < 0.5:
            draw.rectangle((x, 4, x + 40, 12), fill=(250, 250, 240))
    draw.rectangle((0, kerb - 5, SCENE_WIDTH, kerb), fill=(60, 58, 56))
    scene.paste(wall, (0, 0))


def _lawn(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """Trees before a hedge, and a path."""
    tone = 0.8 + 0.25 * field(rng, kerb, SCENE_WIDTH, 0.9)
    green = np.array((66, 92, 52)) * rng.uniform(0.6, 1.4)
    scene.paste(tinted(green, tone), (0, 0))
    draw = ImageDraw.Draw(scene)
    for x in rng.integers(0, SCENE_WIDTH, 6):
        wide, low = int(rng.integers(4, 18)), kerb + int(rng.integers(0, 40))
        draw.rectangle((x, 0, x + wide, low), fill=(82, 68, 54))
    y, deep = kerb + int(rng.integers(10, 60)), int(rng.integers(20, 80))
    draw.rectangle((0, y, SCENE_WIDTH, y + deep), fill=(168, 160, 146))


def _crossing(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """A street with signs; its stripes are on the ground."""
    scene.paste(_wall(rng, kerb), (0, 0))
    draw = ImageDraw.Draw(scene)
    for x in rng.integers(0, SCENE_WIDTH, 9):
        draw.line((x, 0, x, kerb + 10), fill=(90, 92, 96), width=4)
        size, y = int(rng.integers(8, 24)), int(rng.integers(0, max(kerb // 2, 1)))
        draw.ellipse((x - size, y, x + size, y + 2 * size), fill=_any(rng))


def _zebra(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    draw = ImageDraw.Draw(scene)
    light, slope = int(rng.integers(170, 245)), float(rng.uniform(-0.8, 0.8))
    wide = int(rng.integers(16, 40))
    drift = int(slope * (SCENE_HEIGHT - kerb))
    for x in range(-300, SCENE_WIDTH + 300, 2 * wide):
        corners = [
            (x, kerb + 8),
            (x + wide, kerb + 8),
            (x + wide + drift, SCENE_HEIGHT),
            (x + drift, SCENE_HEIGHT),
        ]
        draw.polygon(corners, fill=(light, light, light))


def _railing(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """A railing or fence, with something blurred behind it."""
    tone = 0.8 + 0.3 * field(rng, kerb, SCENE_WIDTH, 0.25)
    scene.paste(tinted(np.array(_any(rng)), tone), (0, 0))
    draw = ImageDraw.Draw(scene)
    bar, step = _any(rng), int(rng.integers(8, 30))
    top = int(kerb * rng.uniform(0.2, 0.6))
    for x in range(0, SCENE_WIDTH, step):
        draw.line((x, top, x, kerb + 6), fill=bar, width=int(rng.integers(1, 4)))
    for y in (top, (top + kerb) // 2, kerb + 6):
        draw.line((0, y, SCENE_WIDTH, y), fill=bar, width=4)


def _glass(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """Panes that mirror bright and dark."""
    wall = _wall(rng, kerb)
    draw = ImageDraw.Draw(wall)
    left = 0
    while left < SCENE_WIDTH:
        wide = int(rng.integers(30, 90))
        color = np.array(_any(rng))
        for y in range(0, kerb, 6):
            glow = 0.5 + 0.9 * abs(np.sin(y / 40 + left))
            fill = np.clip(color * glow, 0, 255).astype(int)
            draw.rectangle((left, y, left + wide, y + 6), fill=tuple(int(v) for v in fill))
        draw.line((left, 0, left, kerb), fill=(50, 52, 56), width=4)
        left += wide
    scene.paste(wall, (0, 0))


def _clutter(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    """Stalls and goods: boxes and discs of any size and color, down to the ground."""
    scene.paste(_wall(rng, kerb), (0, 0))
    draw = ImageDraw.Draw(scene)
    low = min(kerb + 70, SCENE_HEIGHT)
    for _ in range(260):
        x, y = int(rng.integers(-20, SCENE_WIDTH)), int(rng.integers(-10, low))
        wide, tall = (int(v) for v in rng.integers(4, 60, 2))
        shape = draw.ellipse if rng.random() < 0.25 else draw.rectangle
        shape((x, y, x + wide, min(y + tall, low)), fill=_any(rng))


BACKDROPS: Mapping[str, Wall] = types.MappingProxyType(
    {
        **WALLS,
        "plaza": _plaza,
        "corridor": _corridor,
        "lawn": _lawn,
        "crossing": _crossing,
        "railing": _railing,
        "glass": _glass,
        "clutter": _clutter,
    }
)
"""What each of `BACKDROP_STYLES` draws above the ground."""


def crop_backdrop(
    rng: np.random.Generator,
    scene: Image.Image,
    size: tuple[int, int],
    foot: tuple[float, float],
) -> Canvas:
    """A part of the scene as a new canvas, in the light of the moment."""
    zoom = float(np.exp(rng.normal(0.15, 0.2)))
    zoom = min(max(zoom, 1.0), 2.0)
    part = crop_scene(rng, scene, size, foot, zoom)
    canvas = Canvas.on(part, mirrored=rng.random() < 0.5)
    gain = np.exp(rng.normal(0, 0.15)) * np.exp(rng.normal(0, 0.04, 3))
    planes = canvas.planes
    planes *= gain.astype(np.float32)[:, None, None]
    for _ in range(int(rng.integers(0, 3))):
        _thing(rng, planes, foot[1])
    return canvas


def _thing(rng: np.random.Generator, planes: np.ndarray, foot: float) -> None:
    """A box, pole or band behind the person, on planes `[3, h, w]`."""
    height, width = planes.shape[1:]
    wide = int(width * _WIDTHS[rng.integers(3)] * rng.uniform(0.5, 1.5)) + 1
    left = int(rng.integers(-wide, width))
    low = int(min(foot * rng.uniform(0.35, 0.98), height))
    top = int(low - height * rng.uniform(0.05, 0.9))
    box = planes[:, max(top, 0) : max(low, 0), max(left, 0) : max(left + wide, 0)]
    if box.size:
        color = np.array(_any(rng), np.float32)[:, None, None]
        box *= 0.1
        box += 0.9 * color * np.linspace(1.1, 0.85, box.shape[2], dtype=np.float32)
        box[:, :, -1:] *= 0.7
        box[:, :1] *= 1.15
