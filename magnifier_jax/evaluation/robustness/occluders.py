"""Things that stand in front of a person: drawn objects with textures and edges of their own.

What is drawn depends on the region to hide and on a seed, never on a network, so that all networks
that are compared see the same images.
"""

from __future__ import annotations

import dataclasses
import enum
import zlib
from collections.abc import Callable

import numpy as np
from PIL import Image
from scipy import ndimage

CANVAS = (256, 128)
"""Height and width at which objects are drawn, in pixels, whatever size a network takes."""

_REACH = 3  # Pixels by which a region grows, so that its rim is hidden too.
_NEAR = 5  # Pieces of a region that are nearer than this share an object.
_SPECKLE = 12  # A piece of fewer pixels gets no object of its own.
_EDGE = 1.4  # Width of the soft edge, in pixels.


class Thing(enum.Enum):
    """What is drawn; the value is the exponent of its outline `|x|ⁿ + |y|ⁿ = 1`."""

    SIGN = 24.0
    CRATE = 20.0
    BAG = 5.0
    UMBRELLA = 2.2
    PLANT = 2.6
    PILLAR = 30.0


_BOXY = (Thing.SIGN, Thing.CRATE, Thing.PILLAR)  # They stand upright and fill a rectangle.


@dataclasses.dataclass(frozen=True, eq=False)
class Layer:
    """Objects to lay over an image.

    Attributes:
        color: uint8 `[H, W, 3]`.
        cover: How much of each pixel they hide, float32 `[H, W]` in 0…1.
    """

    color: np.ndarray
    cover: np.ndarray

    def over(self, image: np.ndarray) -> np.ndarray:
        """The image behind the objects; uint8 `[h, w, 3]` of any size, and so is the result."""
        size = (image.shape[1], image.shape[0])
        # Colors are weighted by their cover, or what lies beside an object would bleed in.
        weighted = self.color * self.cover[..., None]
        planes = [weighted[..., 0], weighted[..., 1], weighted[..., 2], self.cover]
        shrunk = [
            np.asarray(
                Image.fromarray(plane.astype(np.float32)).resize(size, Image.Resampling.BILINEAR)
            )
            for plane in planes
        ]
        mixed = np.stack(shrunk[:3], axis=-1) + (1 - shrunk[3][..., None]) * image
        return np.clip(np.rint(mixed), 0, 255).astype(np.uint8)


def draw_layer(
    region: np.ndarray, *, seed: tuple[int | str, ...], light: float = 1.0, boxy: bool = False
) -> Layer:
    """Draws objects that hide a region: one for each piece of it.

    Every pixel of the region that is not a speckle lies behind an object, and so does some of
    what is around it, for the objects have shapes of their own.

    Args:
        region: bool `[H, W]`; best of the size `CANVAS`.
        seed: Numbers and words; other ones draw other objects.
        light: Brightness of the image, 1 for a mean of half the range.
        boxy: Whether the region is a rectangle, which things of that form hide and no more.
    """
    words = [zlib.crc32(part.encode()) if isinstance(part, str) else part for part in seed]
    rng = np.random.default_rng(words)
    height, width = region.shape
    color = np.zeros((height, width, 3), np.float32)
    cover = np.zeros((height, width), np.float32)
    grown = region if boxy else ndimage.binary_dilation(region, iterations=_REACH)
    things = _BOXY if boxy else tuple(Thing)
    pieces, count = ndimage.label(ndimage.binary_dilation(region, iterations=_NEAR))
    for number in range(1, count + 1):
        inside = (pieces == number) & region
        if inside.sum() < _SPECKLE:
            continue
        thing = things[int(rng.integers(len(things)))]
        _draw_thing(rng, thing, color, cover, grown & (pieces == number))
    shade = np.clip(light, 0.45, 1.5)
    noisy = color * shade + rng.normal(0, 3.0, (height, width, 1)).astype(np.float32)
    return Layer(np.clip(noisy, 0, 255).astype(np.uint8), cover)


def _draw_thing(
    rng: np.random.Generator,
    thing: Thing,
    color: np.ndarray,
    cover: np.ndarray,
    piece: np.ndarray,
) -> None:
    """Draws one object over a piece of the region, onto what is there already."""
    window = _window(piece)
    piece, color, cover = piece[window], color[window], cover[window]
    along, across = _frame(piece, upright=thing in _BOXY)
    exponent = thing.value
    radius = (np.abs(along) ** exponent + np.abs(across) ** exponent) ** (1 / exponent)
    # Large enough for every pixel of the piece, whatever the outline.
    reach = float(radius[piece].max()) * 1.02
    if thing is Thing.PLANT:
        # Leaves reach out unevenly.
        angle = np.arctan2(along, across)
        waves = rng.integers(5, 9)
        ripple = 0.10 * (1 + np.sin(waves * angle + rng.uniform(0, 6.28)))
        radius = radius / (1 + ripple + 0.06 * (1 + np.sin(17 * angle)))
    radius /= reach
    slope = np.hypot(*np.gradient(radius)) + 1e-6
    shape = np.clip((1 - radius) / slope / _EDGE + 0.5, 0, 1).astype(np.float32)
    u, v = along / reach, across / reach
    painted = _PAINTERS[thing](rng, u, v)
    # A rounder body faces the light less at its sides; its rim is in its own shadow.
    side = rng.choice((-1.0, 1.0))
    bulge = np.sqrt(np.clip(1 - np.minimum(radius, 1) ** 2, 0, 1))
    rounded = 0.8 if thing in (Thing.BAG, Thing.UMBRELLA, Thing.PILLAR) else 0.35
    shading = 1 - rounded * 0.45 * (1 - bulge) + 0.12 * rounded * side * v
    shading *= 1 + 0.07 * _noise(rng, radius.shape, cells=6)
    rim = np.clip((1 - radius) / slope / 3.0, 0, 1)
    painted = painted * (shading * (0.72 + 0.28 * rim))[..., None]
    color += shape[..., None] * (painted.astype(np.float32) - color)
    np.maximum(cover, shape, out=cover)


def _window(piece: np.ndarray) -> tuple[slice, slice]:
    """Where an object over a piece can reach, which is all that has to be looked at."""
    rows, columns = np.flatnonzero(piece.any(1)), np.flatnonzero(piece.any(0))
    room = max(rows[-1] - rows[0], columns[-1] - columns[0]) // 2 + 6
    return (
        slice(max(0, rows[0] - room), rows[-1] + room + 1),
        slice(max(0, columns[0] - room), columns[-1] + room + 1),
    )


def _frame(piece: np.ndarray, *, upright: bool) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates of every pixel along and across a piece; ±1 at its ends, float64 `[H, W]`."""
    rows, columns = np.nonzero(piece)
    points = np.stack([rows, columns], axis=1).astype(float)
    axes = np.eye(2)
    if not upright and len(points) > 2:
        spread, directions = np.linalg.eigh(np.cov(points.T) + 1e-6 * np.eye(2))
        if spread[1] > 1.6 * spread[0]:  # A round piece has no direction.
            axes = directions[:, ::-1].T
    places = points @ axes.T
    low, high = places.min(0) - 0.5, places.max(0) + 0.5
    grid = np.moveaxis(np.indices(piece.shape), 0, -1) @ axes.T
    half = np.maximum((high - low) / 2, 2.0)
    scaled = (grid - (low + high) / 2) / half
    return scaled[..., 0], scaled[..., 1]


def _noise(rng: np.random.Generator, shape: tuple[int, ...], *, cells: int) -> np.ndarray:
    """Smooth noise of mean 0 and deviation about 1, `[H, W]`; `cells` is how coarse."""
    size = (max(2, shape[0] // cells), max(2, shape[1] // cells))
    coarse = Image.fromarray(rng.standard_normal(size).astype(np.float32))
    smooth = np.asarray(coarse.resize((shape[1], shape[0]), Image.Resampling.BICUBIC))
    return smooth / max(float(smooth.std()), 1e-6)


def _pick(rng: np.random.Generator, colors: tuple[tuple[int, int, int], ...]) -> np.ndarray:
    base = np.array(colors[int(rng.integers(len(colors)))], float)
    return np.clip(base * rng.uniform(0.8, 1.15) + rng.normal(0, 6, 3), 8, 248)


def _filled(shape: tuple[int, ...], color: np.ndarray) -> np.ndarray:
    return np.broadcast_to(color, (*shape, 3)).astype(float)


def _sign(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """A board with a frame and lines of something like writing."""
    board = _pick(rng, ((232, 228, 214), (34, 92, 160), (192, 44, 40), (240, 196, 52)))
    ink = np.array((28.0, 30, 34)) if board.mean() > 110 else np.array((238.0, 238, 232))
    painted = _filled(u.shape, board)
    lines = int(rng.integers(2, 5))
    row = (u + 0.8) / 1.6 * lines
    letters = np.sin(v * rng.uniform(18, 30) + 5 * np.floor(row)) > -0.2
    written = (np.abs(u) < 0.8) & (np.abs(v) < 0.74) & (np.abs(row % 1 - 0.5) < 0.24) & letters
    painted[written] = ink
    painted[np.maximum(np.abs(u), np.abs(v)) > 0.9] = 0.5 * ink + 0.5 * board
    return painted


def _crate(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Cardboard with tape, or planks."""
    base = _pick(rng, ((166, 128, 86), (140, 104, 66), (186, 156, 112), (96, 82, 70)))
    painted = _filled(u.shape, base)
    painted *= (1 + 0.06 * _noise(rng, u.shape, cells=3))[..., None]
    if rng.random() < 0.5:
        planks = (u * rng.integers(3, 6) + 9) % 1
        painted *= (1 + 0.05 * np.sin(23 * v + 7 * u))[..., None]
        painted[planks < 0.1] *= 0.5
    else:
        painted[np.abs(v - rng.uniform(-0.2, 0.2)) < 0.12] = (206, 190, 150)
        painted[u < -0.82] *= 0.82
    return painted


def _bag(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Woven cloth with a seam, a pocket and a strap."""
    base = _pick(
        rng,
        ((54, 66, 96), (122, 44, 52), (52, 96, 78), (40, 40, 46), (150, 118, 74), (98, 74, 128)),
    )
    painted = _filled(u.shape, base)
    rows, columns = np.indices(u.shape)
    weave = 1 + 0.08 * np.sin(rows * 1.9) * np.sin(columns * 1.9)
    painted *= (weave * (1 + 0.08 * _noise(rng, u.shape, cells=9)))[..., None]
    pocket = (u > 0.05) & (u < 0.7) & (np.abs(v) < 0.55)
    painted[pocket] *= 1.16
    rim = pocket & ((np.abs(u - 0.07) < 0.05) | (np.abs(np.abs(v) - 0.53) < 0.05))
    painted[rim] *= 0.6
    strap = np.abs(v - rng.uniform(-0.55, 0.55) - 0.25 * u) < 0.09
    painted[strap] = 0.55 * painted[strap] + 0.45 * _pick(rng, ((30, 28, 28), (168, 140, 96)))
    return painted


def _umbrella(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Panels that meet in a point, every other one of another shade."""
    base = _pick(rng, ((176, 40, 58), (40, 74, 138), (44, 44, 50), (222, 178, 60), (70, 128, 92)))
    other = base * 0.78 if rng.random() < 0.6 else _pick(rng, ((236, 232, 222), (210, 206, 200)))
    painted = _filled(u.shape, base)
    turn = (np.arctan2(u + 0.35, v) / (2 * np.pi) * 12 + rng.uniform(0, 1)) % 2
    painted[turn < 1] = other
    painted[np.minimum(turn % 1, 1 - turn % 1) < 0.05] *= 0.6
    return painted


def _plant(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Leaves over each other, each with a vein."""
    painted = _filled(u.shape, np.array((34.0, 62, 36)))
    for _ in range(46):
        row, column = rng.uniform(-1.15, 1.15, 2)
        angle, length = rng.uniform(0, np.pi), rng.uniform(0.22, 0.42)
        down, right = u - row, v - column
        along = down * np.cos(angle) + right * np.sin(angle)
        beside = right * np.cos(angle) - down * np.sin(angle)
        leaf = (along / length) ** 2 + (beside / (0.4 * length)) ** 2
        green = np.array((74.0, 128, 62)) * rng.uniform(0.55, 1.3) + rng.normal(0, 7, 3)
        inside = leaf < 1
        painted[inside] = green * (1.08 - 0.3 * leaf[inside, None])
        painted[inside & (np.abs(beside) < 0.05 * length)] *= 1.25
    return painted


def _pillar(rng: np.random.Generator, u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Concrete, steel or brick."""
    if rng.random() < 0.4:
        painted = _filled(u.shape, _pick(rng, ((150, 82, 62), (168, 104, 84))))
        rows, columns = np.indices(u.shape)
        course = rows // 7
        joint = (rows % 7 == 0) | ((columns + 6 * (course % 2)) % 13 == 0)
        painted *= (1 + 0.1 * _noise(rng, u.shape, cells=7))[..., None]
        painted[joint] = (176, 168, 158)
        return painted
    painted = _filled(u.shape, _pick(rng, ((152, 154, 156), (118, 122, 128), (188, 184, 176))))
    painted *= (1 + 0.05 * _noise(rng, u.shape, cells=2))[..., None]
    if rng.random() < 0.4:
        painted[(u + 2 + 0.3 * v) * 4 % 2 < 0.5] = (226, 186, 52)
    return painted


_PAINTERS: dict[Thing, Callable[[np.random.Generator, np.ndarray, np.ndarray], np.ndarray]] = {
    Thing.SIGN: _sign,
    Thing.CRATE: _crate,
    Thing.BAG: _bag,
    Thing.UMBRELLA: _umbrella,
    Thing.PLANT: _plant,
    Thing.PILLAR: _pillar,
}
