"""The colors that people and their clothes come in."""

from __future__ import annotations

import numpy as np

Color = tuple[int, int, int]

CLOTH: dict[str, Color] = {
    "black": (28, 28, 32),
    "charcoal": (62, 64, 70),
    "gray": (128, 130, 134),
    "silver": (190, 192, 196),
    "white": (238, 238, 234),
    "navy": (30, 40, 88),
    "blue": (42, 86, 184),
    "sky": (124, 178, 226),
    "teal": (24, 128, 132),
    "green": (40, 132, 66),
    "olive": (98, 100, 52),
    "lime": (158, 204, 70),
    "yellow": (240, 212, 64),
    "mustard": (204, 152, 42),
    "orange": (234, 122, 40),
    "red": (202, 40, 44),
    "burgundy": (110, 26, 48),
    "pink": (240, 150, 180),
    "magenta": (196, 48, 130),
    "purple": (110, 62, 150),
    "lilac": (182, 164, 214),
    "brown": (106, 70, 44),
    "beige": (212, 190, 154),
    "cream": (240, 228, 198),
}
DARK = ("black", "charcoal", "navy", "gray", "brown", "olive", "burgundy", "blue")
SKIN: tuple[Color, ...] = (
    (244, 208, 182),
    (232, 186, 154),
    (214, 162, 124),
    (184, 130, 92),
    (142, 94, 62),
    (98, 64, 44),
)
HAIR: tuple[Color, ...] = (
    (26, 22, 22),
    (54, 36, 26),
    (98, 62, 36),
    (152, 104, 56),
    (214, 176, 108),
    (160, 66, 34),
    (150, 150, 152),
    (198, 194, 188),
)
DENIM: tuple[Color, ...] = ((42, 62, 104), (70, 98, 146), (118, 146, 184), (36, 40, 54))


def cloth(rng: np.random.Generator, *, dark: float = 0.0) -> Color:
    """A cloth color; with probability `dark` one of the sober ones."""
    names = DARK if rng.random() < dark else tuple(CLOTH)
    return CLOTH[names[rng.integers(len(names))]]


def contrasting(rng: np.random.Generator, *others: Color, least: float = 120.0) -> Color:
    """A cloth color that is far from all `others`.

    Args:
        rng: The source of the choice.
        *others: Colors to stay away from.
        least: Smallest RGB distance; where no color has it, the farthest one is taken.
    """
    names = list(CLOTH.values())
    table = np.array(names, np.float32)
    gap = np.full(len(table), np.inf, np.float32)
    for other in others:
        gap = np.minimum(gap, np.linalg.norm(table - np.array(other, np.float32), axis=1))
    far = np.flatnonzero(gap >= least)
    chosen = int(far[rng.integers(len(far))]) if len(far) else int(gap.argmax())
    return names[chosen]


def pick(rng: np.random.Generator, colors: tuple[Color, ...], *, jitter: int = 6) -> Color:
    """One of `colors`, moved a little in every channel."""
    base = colors[rng.integers(len(colors))]
    moves = rng.integers(-jitter, jitter + 1, 3).tolist()
    red, green, blue = (min(max(b + move, 0), 255) for b, move in zip(base, moves, strict=True))
    return red, green, blue


def darker(color: Color, factor: float) -> Color:
    """`color` times `factor`."""
    return int(color[0] * factor), int(color[1] * factor), int(color[2] * factor)


def blend(one: Color, other: Color) -> Color:
    """The color half way between two."""
    return (one[0] + other[0]) // 2, (one[1] + other[1]) // 2, (one[2] + other[2]) // 2
