"""Patterns and prints on a limb's surface."""

from __future__ import annotations

import numpy as np

from input_pipeline.synthetic.figure.palette import Color, darker
from input_pipeline.synthetic.figure.shapes import Surface, noise_at, soft_noise
from input_pipeline.synthetic.people import Art, Pattern, Print, Weave


def _odd(position: np.ndarray) -> np.ndarray:
    return (np.floor(position).astype(np.int32) & 1).astype(bool)


def pattern_mask(surface: Surface, pattern: Pattern, count: int, *, aspect: float) -> np.ndarray:
    """Where the second color of `pattern` shows, bool `[h, w]`.

    Args:
        surface: The limb.
        pattern: Any but `Pattern.PLAIN`.
        count: Repeats around the limb.
        aspect: Length of the limb over its circumference, so that checks are square.
    """
    u = surface.u
    if pattern is Pattern.STRIPES:
        return _odd(u * (2 * count * aspect))
    if pattern is Pattern.TWO_TONE:
        return u > 0.5
    if pattern is Pattern.BAND:
        return (u > 0.34) & (u < 0.56)
    around = surface.around
    if pattern is Pattern.PINSTRIPES:
        return (around * (2 * count)) % 1 < 0.3
    if pattern is Pattern.CHECKS:
        return _odd(u * (2 * count * aspect)) ^ _odd(around * (2 * count))
    if pattern is Pattern.DIAGONAL:
        return _odd(u * (2 * count * aspect) + around * (2 * count))
    if pattern is Pattern.DOTS:
        row = u * (1.6 * count * aspect)
        column = around * (1.6 * count) + 0.5 * _odd(row)
        return (row % 1 - 0.5) ** 2 + (column % 1 - 0.5) ** 2 < 0.085
    noise = soft_noise()
    rows = (u * (14 * count * aspect)).astype(np.int32) % len(noise)
    columns = (around * (14 * count)).astype(np.int32) % len(noise)
    return noise[rows, columns] > 0.35


def dress_surface(
    surface: Surface, pattern: Pattern, accent: Color, count: int, *, aspect: float
) -> None:
    """Paints `pattern` on the limb in its second color."""
    if pattern is not Pattern.PLAIN:
        surface.paint(pattern_mask(surface, pattern, count, aspect=aspect), accent)


def print_on(surface: Surface, kind: Print, color: Color) -> None:
    """Paints a print on the chest and, larger, on the back."""
    if kind is Print.NONE:
        return
    chest = surface.front > 0
    x = np.where(chest, surface.left, 0.8 * surface.left)
    y = (surface.u - 0.36) * np.where(chest, 2.6, 2.1)
    if kind is Print.DISC:
        mask = x**2 + y**2 < 0.15
    elif kind is Print.SQUARE:
        mask = (np.abs(x) < 0.36) & (np.abs(y) < 0.32)
    elif kind is Print.BAR:
        mask = (np.abs(x) < 0.62) & (np.abs(y) < 0.17)
    else:
        mask = np.abs(y - 0.7 * np.abs(x) + 0.2) < 0.17
    surface.paint(mask & (np.abs(surface.front) > 0.2), color)


def weave(surface: Surface, cloth: Weave | None) -> None:
    """Lightens and darkens the limb as its cloth is woven."""
    if cloth is None:
        return
    noise = soft_noise()
    rows, columns = surface.u * cloth.along, surface.around * cloth.around
    if cloth.plaid:
        down = noise[:, cloth.shift % 61].take(rows.astype(np.int32), mode="wrap")
        across = noise[cloth.shift % 61].take(columns.astype(np.int32), mode="wrap")
        value = 0.7 * (down + across)
    else:
        value = noise_at(rows, columns, cloth.shift, 3 * cloth.shift)
    tint = 1 + np.float32(cloth.strength) * value
    surface.tint = tint if surface.tint is None else surface.tint * tint


def art_on(surface: Surface, chest: Art | None, back: Art | None) -> None:
    """Paints pictures on chest and back."""
    noise = soft_noise()
    for art, sign in ((chest, 1.0), (back, -1.0)):
        if art is None:
            continue
        x, y = surface.left, (surface.u - art.high) * 2.4
        inside = (sign * surface.front > 0.2) & (np.maximum(np.abs(x), np.abs(y)) < art.size)
        rows = ((y + 1) * 26).astype(np.int32) + art.shift
        columns = ((x + 1) * 26).astype(np.int32) + 5 * art.shift
        value = noise[rows % len(noise), columns % len(noise)]
        surface.paint(inside & (value > -0.2), art.color)
        surface.paint(inside & (value > 0.7), art.other)


def ring(surface: Surface, low: float, high: float, color: Color | None) -> None:
    """Paints a ring around the limb from `low` to `high` along it; nothing for None."""
    if color is not None:
        surface.paint((surface.u > low) & (surface.u < high), color)


def hem(surface: Surface, at: float, color: Color, *, width: float = 0.02) -> None:
    """Paints a thin dark seam where a garment ends."""
    ring(surface, at - width, at, darker(color, 0.65))
