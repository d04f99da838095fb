"""Backgrounds: one wide view of wall and ground for each camera, cropped anew for every image."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

from input_pipeline.synthetic.cameras import Camera
from input_pipeline.synthetic.figure.palette import Color
from input_pipeline.synthetic.figure.shapes import Canvas, image_of, soft_noise

_STREAM = 2
SCENE_HEIGHT = 288
SCENE_WIDTH = 960
"""Size of a scene in its own pixels; the horizon and the person's feet have fixed rows in it."""

FOOT_ROW = 0.93

Wall = Callable[[np.random.Generator, Image.Image, int], None]


def make_scene(seed: int, camera: Camera) -> Image.Image:
    """The view of a camera, RGB of size `(SCENE_WIDTH, SCENE_HEIGHT)`."""
    rng = np.random.default_rng((seed, _STREAM, camera.number))
    kerb = int((camera.horizon + 0.16) * SCENE_HEIGHT)
    scene = _ground(rng, camera, kerb)
    walls = tuple(WALLS.values())
    walls[(camera.number - 1 + seed) % len(walls)](rng, scene, kerb)
    scene = scene.filter(ImageFilter.GaussianBlur(0.8))
    planes = Canvas.on(scene).planes
    row = np.arange(SCENE_HEIGHT, dtype=np.float32)[:, None]
    column = np.arange(SCENE_WIDTH, dtype=np.float32)
    contact = 1 - 0.35 * np.exp(-np.abs(row - kerb) / 7)
    sun = 1 + 0.12 * np.sin(column / 140 + rng.uniform(0, 6)) * np.float32(0.7)
    return image_of(planes * (contact * sun))


def tinted(color: np.ndarray, tone: np.ndarray) -> Image.Image:
    """An RGB image in one color `[3]`, lighter and darker by the factors `tone` `[h, w]`."""
    return image_of(color[:, None, None] * tone)


def _noise(rng: np.random.Generator, height: int, width: int, grain: float) -> np.ndarray:
    """Smooth noise `[height, width]`, its lumps about `12 / grain` pixels wide."""
    tile = soft_noise()
    rows = (np.arange(height) * grain + rng.integers(128)).astype(int) % len(tile)
    columns = (np.arange(width) * grain + rng.integers(128)).astype(int) % len(tile)
    return tile.take(rows, axis=0).take(columns, axis=1)


def _ground(rng: np.random.Generator, camera: Camera, kerb: int) -> Image.Image:
    """Paving in perspective over the whole scene; joints run to a vanishing point."""
    bases = (
        (150, 146, 140),
        (112, 112, 116),
        (96, 124, 74),
        (176, 168, 152),
        (136, 128, 122),
        (92, 94, 98),
    )
    base = np.array(bases[(camera.number - 1) % len(bases)], np.float32)
    row = np.arange(SCENE_HEIGHT, dtype=np.float32)[:, None]
    column = np.arange(SCENE_WIDTH, dtype=np.float32)
    depth = 60.0 / np.maximum(row - (camera.horizon * SCENE_HEIGHT - 12), 4)
    across = (column - SCENE_WIDTH / 2) * depth / 34
    tone = 1 + 0.05 * _noise(rng, SCENE_HEIGHT, SCENE_WIDTH, 0.9)
    tone = tone + 0.07 * _noise(rng, SCENE_HEIGHT, SCENE_WIDTH, 0.12)
    kind = camera.number % 3
    if kind == 1:
        distance = depth * 8
        joint = (np.abs(distance % 1 - 0.5) > 0.46) | (np.abs(across % 1 - 0.5) > 0.47)
        check = ((np.floor(distance) + np.floor(across)) % 2) * 0.06
        tone = tone * (1 - 0.22 * joint - check)
    elif kind == 2:
        stripe = (across % 3.0 < 0.9) & (depth < 0.75)
        tone = tone + 0.5 * stripe
    else:
        tone = tone + 0.06 * rng.standard_normal((SCENE_HEIGHT, SCENE_WIDTH))
    tone = tone * (0.86 + 0.24 * (row - kerb) / (SCENE_HEIGHT - kerb))
    return tinted(base, tone)


def _plaster(rng: np.random.Generator, color: Color, kerb: int) -> Image.Image:
    tone = (
        1
        + 0.05 * _noise(rng, kerb, SCENE_WIDTH, 0.15)
        + 0.02 * rng.standard_normal((kerb, SCENE_WIDTH))
    )
    return tinted(np.array(color), tone)


def _bricks(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    wall = _plaster(rng, (168, 160, 150), kerb)
    draw = ImageDraw.Draw(wall)
    high, wide = 7, 17
    for line, top in enumerate(range(kerb - high, -high, -high)):
        for left in range(-wide + (line % 2) * wide // 2, SCENE_WIDTH, wide):
            tone = rng.uniform(0.8, 1.1)
            color = (int(150 * tone), int(84 * tone), int(66 * tone))
            draw.rectangle((left, top, left + wide - 2, top + high - 2), fill=color)
    for left in range(int(rng.integers(60, 140)), SCENE_WIDTH, 260):
        draw.rectangle((left, kerb - 92, left + 44, kerb), fill=(60, 66, 60))
        draw.rectangle((left + 4, kerb - 88, left + 40, kerb), fill=(84, 98, 92))
        draw.rectangle((left + 9, kerb - 80, left + 35, kerb - 50), fill=(150, 172, 180))
    scene.paste(wall, (0, 0))


def _shops(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    wall = _plaster(rng, (92, 88, 90), kerb)
    draw = ImageDraw.Draw(wall)
    left = 6
    while left < SCENE_WIDTH:
        wide = int(rng.integers(70, 120))
        glow = rng.uniform(0.75, 1.1)
        draw.rectangle(
            (left, 8, left + wide, kerb - 10),
            fill=(int(178 * glow), int(186 * glow), int(190 * glow)),
        )
        for _ in range(7):
            x, size = left + int(rng.integers(wide)), int(rng.integers(8, 22))
            goods = tuple(int(v) for v in rng.integers(60, 220, 3))
            top = kerb - 12 - int(rng.integers(size, 70))
            draw.rectangle((x, top, min(x + size, left + wide), top + size), fill=goods)
        shine = left + wide // 3
        draw.polygon(
            [(shine, 8), (shine + 18, 8), (shine - 12, kerb - 10), (shine - 30, kerb - 10)],
            fill=(206, 214, 220),
        )
        draw.line((left + wide, 0, left + wide, kerb), fill=(48, 46, 50), width=5)
        left += wide + 6
    scene.paste(wall, (0, 0))


def _park(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    tone = _noise(rng, kerb, SCENE_WIDTH, 0.8) + 1.3 * _noise(rng, kerb, SCENE_WIDTH, 0.25)
    wall = tinted(np.array((74, 104, 60)), 0.85 + 0.14 * tone)
    draw = ImageDraw.Draw(wall)
    for left in range(int(rng.integers(20, 60)), SCENE_WIDTH, 110):
        x, wide = left + int(rng.integers(-20, 20)), int(rng.integers(7, 14))
        draw.rectangle((x, 0, x + wide, kerb), fill=(84, 66, 50))
        draw.line((x + 1, 0, x + 1, kerb), fill=(116, 94, 72), width=2)
    draw.line((0, kerb - 26, SCENE_WIDTH, kerb - 26), fill=(62, 64, 66), width=2)
    for x in range(0, SCENE_WIDTH, 12):
        draw.line((x, kerb - 26, x, kerb), fill=(62, 64, 66), width=1)
    scene.paste(wall, (0, 0))


def _tiles(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    wall = _plaster(rng, (206, 208, 202), kerb)
    draw = ImageDraw.Draw(wall)
    for y in range(kerb, 0, -13):
        draw.line((0, y, SCENE_WIDTH, y), fill=(176, 178, 174))
    for x in range(0, SCENE_WIDTH, 20):
        draw.line((x, 0, x, kerb), fill=(176, 178, 174))
    draw.rectangle((0, kerb - 46, SCENE_WIDTH, kerb - 36), fill=(46, 98, 150))
    for left in range(int(rng.integers(20, 120)), SCENE_WIDTH, 210):
        poster = tuple(int(v) for v in rng.integers(70, 210, 3))
        draw.rectangle((left, 6, left + 66, kerb - 52), fill=(50, 50, 54))
        draw.rectangle((left + 4, 10, left + 62, kerb - 56), fill=poster)
        draw.ellipse((left + 16, 16, left + 50, 44), fill=tuple(255 - v for v in poster))
    scene.paste(wall, (0, 0))


def _facade(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    wall = _plaster(rng, (190, 174, 146), kerb)
    draw = ImageDraw.Draw(wall)
    for left in range(int(rng.integers(0, 40)), SCENE_WIDTH, 74):
        for bottom in (kerb - 34, kerb - 112):
            draw.rectangle((left, bottom - 52, left + 36, bottom), fill=(226, 220, 206))
            draw.rectangle((left + 3, bottom - 49, left + 33, bottom - 3), fill=(88, 102, 118))
            draw.line(
                (left + 18, bottom - 49, left + 18, bottom - 3), fill=(226, 220, 206), width=2
            )
            draw.line(
                (left + 3, bottom - 28, left + 33, bottom - 28), fill=(226, 220, 206), width=2
            )
    draw.rectangle((0, kerb - 16, SCENE_WIDTH, kerb), fill=(136, 126, 112))
    scene.paste(wall, (0, 0))


def _street(rng: np.random.Generator, scene: Image.Image, kerb: int) -> None:
    wall = _plaster(rng, (132, 136, 142), kerb)
    draw = ImageDraw.Draw(wall)
    left = -40
    while left < SCENE_WIDTH:
        wide = int(rng.integers(150, 190))
        paint = [(176, 36, 38), (52, 78, 128), (206, 206, 204), (44, 44, 48), (150, 154, 156)][
            int(rng.integers(5))
        ]
        low = kerb - 8
        draw.rounded_rectangle((left, low - 40, left + wide, low), 12, fill=paint)
        draw.polygon(
            [
                (left + 26, low - 38),
                (left + 48, low - 70),
                (left + wide - 44, low - 70),
                (left + wide - 20, low - 38),
            ],
            fill=paint,
        )
        draw.polygon(
            [
                (left + 34, low - 40),
                (left + 52, low - 65),
                (left + wide - 49, low - 65),
                (left + wide - 30, low - 40),
            ],
            fill=(60, 72, 84),
        )
        for wheel in (left + 32, left + wide - 36):
            draw.ellipse((wheel - 15, low - 15, wheel + 15, low + 15), fill=(26, 26, 28))
            draw.ellipse((wheel - 7, low - 7, wheel + 7, low + 7), fill=(130, 132, 136))
        left += wide + int(rng.integers(14, 50))
    scene.paste(wall, (0, 0))


WALLS: Mapping[str, Wall] = types.MappingProxyType(
    {
        "bricks": _bricks,
        "shops": _shops,
        "park": _park,
        "tiles": _tiles,
        "facade": _facade,
        "traffic": _street,
    }
)
"""What can stand behind the ground; each draws from the top of a scene down to a row."""


def crop_scene(
    rng: np.random.Generator,
    scene: Image.Image,
    size: tuple[int, int],
    foot: tuple[float, float],
    zoom: float,
) -> Image.Image:
    """A part of the scene, RGB.

    Args:
        rng: Chooses where along the scene.
        scene: From `make_scene`.
        size: Width and height in pixels.
        foot: Column and row in the result where `FOOT_ROW` of the scene comes to lie.
        zoom: How much larger than the whole height of the scene; 1 shows all of it.
    """
    scale = SCENE_HEIGHT / (size[1] * zoom)
    wide, high = size[0] * scale, size[1] * scale
    top = min(max(0.0, FOOT_ROW * SCENE_HEIGHT - foot[1] * scale), SCENE_HEIGHT - high)
    left = rng.uniform(0, SCENE_WIDTH - wide)
    box = (left, max(top, 0.0), left + wide, min(max(top, 0.0) + high, SCENE_HEIGHT))
    return scene.resize(size, Image.Resampling.BILINEAR, box=box)
