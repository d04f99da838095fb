"""Procedural textures with the statistics of photographs: for cloth, walls, clutter and noise."""

from __future__ import annotations

import enum
import functools
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFilter

SIDE = 192
"""Height and width of a texture, in pixels."""


class Kind(enum.StrEnum):
    """Kinds of textures."""

    CLOUDS = "clouds"
    LEAVES = "leaves"
    BLOCKS = "blocks"
    STRIPES = "stripes"
    CHECKS = "checks"
    GROUND = "ground"
    RINGS = "rings"
    CELLS = "cells"
    GLYPHS = "glyphs"


HELD_OUT = (Kind.RINGS, Kind.CELLS, Kind.GLYPHS)
"""Kinds that training never sees, to measure on."""
SEEN = tuple(kind for kind in Kind if kind not in HELD_OUT)
"""Kinds that training sees."""


def random_color(rng: np.random.Generator) -> np.ndarray:
    """A color as often dark and pale as in photographs of streets, float32 `[3]` in 0-255."""
    level = 255 * rng.random() ** rng.choice((1.0, 1.6, 2.2))
    chroma = rng.normal(0, 1, 3) * rng.choice((6.0, 18.0, 55.0), p=(0.4, 0.35, 0.25))
    return np.clip(level + chroma - chroma.mean(), 0, 255).astype(np.float32)


def make_texture(rng: np.random.Generator, kind: Kind) -> np.ndarray:
    """A texture of this kind, uint8 `[SIDE, SIDE, 3]`."""
    pixels = _MAKERS[kind](rng)
    grain = fractal_noise(rng, rng.uniform(0.6, 1.6))[..., None]
    pixels = pixels * (1 + rng.uniform(0, 0.22) * grain)
    return np.clip(pixels, 0, 255).astype(np.uint8)


class TextureBank:
    """Textures made once and cut from ever after."""

    def __init__(self, rng: np.random.Generator, kinds: Sequence[Kind], *, count: int) -> None:
        """Makes `count` textures, of all kinds in turn; some milliseconds each."""
        self.textures = np.stack(
            [make_texture(rng, kinds[number % len(kinds)]) for number in range(count)]
        )
        self.noises = np.stack(
            [fractal_noise(rng, rng.uniform(0.7, 2.2)) for _ in range(min(count, 64))]
        )

    def cut(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A piece of a texture, enlarged or reduced, float32 `[height, width, 3]` in 0-255."""
        texture = self.textures[int(rng.integers(len(self.textures)))]
        return _cut(rng, texture, size)

    def noise(self, rng: np.random.Generator, size: tuple[int, int]) -> np.ndarray:
        """A piece of noise with mean 0 and deviation 1 before it was cut, `[height, width]`."""
        noise = self.noises[int(rng.integers(len(self.noises)))]
        return _cut(rng, noise, size)


def _cut(rng: np.random.Generator, tile: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    step = float(np.exp(rng.uniform(np.log(0.5), np.log(1.45)))) * min(1.0, SIDE / height / 1.5)
    tall, wide = min(SIDE - 1.0, height * step), min(SIDE - 1.0, width * step)
    rows = rng.uniform(0, SIDE - tall) + np.arange(height) * (tall / height)
    columns = rng.uniform(0, SIDE - wide) + np.arange(width) * (wide / width)
    if rng.random() < 0.5:
        columns = columns[::-1]
    piece = tile.take(rows.astype(int), axis=0).take(columns.astype(int), axis=1)
    return piece.astype(np.float32)


@functools.lru_cache(maxsize=4)
def _frequencies(side: int) -> np.ndarray:
    frequency = np.hypot(*np.meshgrid(np.fft.rfftfreq(side), np.fft.fftfreq(side)))
    frequency[0, 0] = 1.0
    return frequency


def fractal_noise(rng: np.random.Generator, power: float, side: int = SIDE) -> np.ndarray:
    """Noise whose amplitude falls as 1 / frequency ** power, as in photographs for 1.

    Returns:
        float32 `[side, side]` with mean 0 and deviation 1.
    """
    white = np.fft.rfft2(rng.standard_normal((side, side)))
    white[0, 0] = 0
    noise = np.fft.irfft2(white / _frequencies(side) ** power, (side, side))
    return (noise / noise.std()).astype(np.float32)


def _between(noise: np.ndarray, colors: Sequence[np.ndarray]) -> np.ndarray:
    """Colors along a noise of deviation 1, `[SIDE, SIDE, 3]`."""
    where = np.clip((noise + 2) / 4, 0, 1) * (len(colors) - 1)
    stops = np.arange(len(colors))
    return np.stack(
        [np.interp(where, stops, [color[channel] for color in colors]) for channel in range(3)], -1
    )


def _clouds(rng: np.random.Generator) -> np.ndarray:
    colors = [random_color(rng) for _ in range(int(rng.integers(2, 5)))]
    return _between(fractal_noise(rng, rng.uniform(0.8, 2.2)), colors)


def _leaves(rng: np.random.Generator) -> np.ndarray:
    """Shapes of all sizes that hide each other, as things in the world do ("dead leaves")."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(random_color(rng).astype(int).tolist()))
    pen = ImageDraw.Draw(image)
    base, spread = random_color(rng), rng.uniform(0.2, 1.0)
    sizes = SIDE * 0.55 * (1 + np.arange(int(rng.integers(60, 320)))) ** -rng.uniform(0.35, 0.6)
    for size in sizes:
        color = tuple((base + spread * (random_color(rng) - base)).astype(int).tolist())
        x, y = rng.uniform(-0.1 * SIDE, 1.1 * SIDE, 2)
        tall, wide = size * np.exp(rng.normal(0, 0.6, 2)) / 2
        shape = rng.random()
        if shape < 0.4:
            pen.rectangle((x - wide, y - tall, x + wide, y + tall), fill=color)
        elif shape < 0.65:
            pen.ellipse((x - wide, y - tall, x + wide, y + tall), fill=color)
        else:
            turn = np.sort(rng.uniform(0, 2 * np.pi, int(rng.integers(3, 7))))
            points = np.stack((x + wide * np.cos(turn), y + tall * np.sin(turn)), -1)
            pen.polygon([tuple(point) for point in points.tolist()], fill=color)
    return _soften(rng, image)


def _soften(rng: np.random.Generator, image: Image.Image) -> np.ndarray:
    softer = image.filter(ImageFilter.GaussianBlur(float(rng.choice((0.0, 0.6, 1.2, 3.0)))))
    return np.asarray(softer, np.float32)


def _blocks(rng: np.random.Generator) -> np.ndarray:
    """Bricks, tiles, windows or shelves."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(random_color(rng).astype(int).tolist()))
    pen = ImageDraw.Draw(image)
    color, other = random_color(rng), random_color(rng)
    wide, high = rng.uniform(6, 60), rng.uniform(6, 60)
    gap, spread, shift = rng.uniform(0.5, 8), rng.uniform(0, 0.4), rng.choice((0.0, 0.5))
    for line, top in enumerate(np.arange(-high, SIDE, high)):
        for left in np.arange(-wide * (1 + shift * (line % 2)), SIDE, wide):
            tone = 1 + spread * rng.normal()
            fill = other if rng.random() < 0.1 else color
            box = (left, top, left + max(wide - gap, 2), top + max(high - gap, 2))
            pen.rectangle(box, fill=tuple((fill * tone).astype(int).tolist()))
    return _soften(rng, image)


def _stripes(rng: np.random.Generator) -> np.ndarray:
    """Parallel stripes, or the bars of a fence."""
    angle = rng.choice((0.0, np.pi / 2, rng.uniform(0, np.pi)))
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    along = row * np.cos(angle) + column * np.sin(angle)
    along = along + rng.uniform(0, 3) * fractal_noise(rng, 2.0)
    wave = np.sin(2 * np.pi * along / np.exp(rng.uniform(np.log(3), np.log(48))))
    return _between(2 * np.tanh(wave * rng.uniform(1, 6)), [random_color(rng), random_color(rng)])


def _checks(rng: np.random.Generator) -> np.ndarray:
    """Plaid: stripes across stripes."""
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    pixels = np.zeros((SIDE, SIDE, 3), np.float32) + random_color(rng)
    for along in (row, column):
        for _ in range(int(rng.integers(1, 3))):
            period = np.exp(rng.uniform(np.log(5), np.log(40)))
            mask = ((along / period + rng.random()) % 1 < rng.uniform(0.15, 0.6)) * 0.6
            pixels += mask[..., None] * (random_color(rng) - pixels)
    return pixels


def _ground(rng: np.random.Generator) -> np.ndarray:
    """A wall above a ground, each with a texture, and an edge or two between them."""
    pixels = _between(fractal_noise(rng, rng.uniform(0.8, 1.6)) * 0.5, [random_color(rng)] * 2)
    for _ in range(int(rng.integers(1, 4))):
        row = int(rng.uniform(0.2, 0.95) * SIDE)
        color, amplitude = random_color(rng), rng.uniform(0.02, 0.2)
        noise = fractal_noise(rng, rng.uniform(0.5, 1.4))[row:, :, None]
        pixels[row:] = color * (1 + amplitude * noise)
    for _ in range(int(rng.integers(0, 4))):
        left, wide = int(rng.integers(SIDE)), int(rng.integers(1, 30))
        tone = 0.3 * random_color(rng) + 0.7 * pixels[:, left : left + wide].mean((0, 1))
        pixels[: int(rng.integers(SIDE)), left : left + wide] = tone
    above, below = rng.uniform(0.7, 1.3, 2)
    return pixels * np.linspace(above, below, SIDE)[:, None, None]


def _rings(rng: np.random.Generator) -> np.ndarray:
    """Wood or marble."""
    row, column = np.mgrid[:SIDE, :SIDE].astype(np.float32)
    distance = np.hypot(row - rng.uniform(-SIDE, 2 * SIDE), 0.4 * (column - rng.uniform(0, SIDE)))
    wave = np.sin(distance / rng.uniform(2, 9) + rng.uniform(0.5, 4) * fractal_noise(rng, 1.7))
    return _between(2 * wave, [random_color(rng) for _ in range(3)])


def _cells(rng: np.random.Generator) -> np.ndarray:
    """Stones: every pixel has the color of the nearest of some points."""
    import scipy.spatial

    points = rng.uniform(0, SIDE, (int(rng.integers(30, 400)), 2))
    pixels = np.indices((SIDE, SIDE)).reshape(2, -1).T
    distance, nearest = scipy.spatial.cKDTree(points).query(pixels, k=2)
    colors = random_color(rng) + rng.uniform(8, 60) * rng.standard_normal((len(points), 1))
    joint = (distance[:, 1] - distance[:, 0] < rng.uniform(0, 3))[:, None]
    return np.where(joint, random_color(rng), colors[nearest[:, 0]]).reshape(SIDE, SIDE, 3)


def _glyphs(rng: np.random.Generator) -> np.ndarray:
    """Lines of strokes, as writing on signs and shirts."""
    image = Image.new("RGB", (SIDE, SIDE), tuple(random_color(rng).astype(int).tolist()))
    pen, color = ImageDraw.Draw(image), tuple(random_color(rng).astype(int).tolist())
    size = rng.uniform(6, 36)
    for top in np.arange(0, SIDE, 1.5 * size):
        for left in np.arange(0, SIDE, 0.8 * size):
            if rng.random() < 0.2:
                continue
            for _ in range(3):
                ends = np.stack((left + size * 0.6 * rng.random(2), top + size * rng.random(2)), -1)
                pen.line([tuple(end) for end in ends.tolist()], fill=color, width=int(1 + size / 9))
    return _soften(rng, image)


_MAKERS = {
    Kind.CLOUDS: _clouds,
    Kind.LEAVES: _leaves,
    Kind.BLOCKS: _blocks,
    Kind.STRIPES: _stripes,
    Kind.CHECKS: _checks,
    Kind.GROUND: _ground,
    Kind.RINGS: _rings,
    Kind.CELLS: _cells,
    Kind.GLYPHS: _glyphs,
}
