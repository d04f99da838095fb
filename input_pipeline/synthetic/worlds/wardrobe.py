"""People as streets show them: mostly dark, gray, denim, white and beige, few saturated colors."""

from __future__ import annotations

import bisect
import colorsys
import dataclasses
import functools
import itertools
import math

import numpy as np

from input_pipeline.synthetic.figure import palette
from input_pipeline.synthetic.figure.palette import Color
from input_pipeline.synthetic.people import (
    Art,
    Bag,
    BagKind,
    Bottom,
    BottomKind,
    Build,
    Choice,
    Cut,
    Hat,
    Head,
    Load,
    LoadKind,
    Pattern,
    Person,
    Print,
    ShoeKind,
    Shoes,
    Top,
    TopKind,
    Weave,
    one_of,
)

# Weight, and ranges of hue in turns, saturation and value.
_SHADES: tuple[tuple[float, tuple[float, float, float, float, float, float]], ...] = (
    (24.0, (0.0, 1.0, 0.0, 0.22, 0.06, 0.17)),  # black
    (10.0, (0.0, 1.0, 0.0, 0.12, 0.18, 0.36)),  # charcoal
    (10.0, (0.0, 1.0, 0.0, 0.10, 0.38, 0.62)),  # gray
    (6.0, (0.0, 1.0, 0.0, 0.08, 0.64, 0.82)),  # light gray
    (14.0, (0.0, 1.0, 0.0, 0.06, 0.84, 0.98)),  # white
    (9.0, (0.60, 0.68, 0.35, 0.75, 0.14, 0.36)),  # navy
    (5.0, (0.56, 0.65, 0.20, 0.55, 0.45, 0.85)),  # light blue
    (7.0, (0.06, 0.12, 0.15, 0.45, 0.55, 0.88)),  # beige, khaki
    (4.0, (0.04, 0.10, 0.35, 0.70, 0.20, 0.50)),  # brown
    (3.0, (0.15, 0.30, 0.20, 0.50, 0.20, 0.45)),  # olive
    (3.0, (0.95, 1.02, 0.45, 0.85, 0.25, 0.50)),  # burgundy
    (7.0, (0.97, 1.03, 0.60, 0.92, 0.50, 0.88)),  # red
    (6.0, (0.58, 0.66, 0.60, 0.90, 0.45, 0.85)),  # blue
    (10.0, (0.00, 1.00, 0.45, 0.95, 0.40, 0.95)),  # anything saturated
    (5.0, (0.00, 1.00, 0.12, 0.35, 0.65, 0.95)),  # pastel
)
_SHARES = tuple(itertools.accumulate(weight for weight, _ in _SHADES))
_DARK = 2
"""How many of the first shades are dark."""


def shade(rng: np.random.Generator, *, dark: float = 0.0) -> Color:
    """A color of a garment; with probability `dark` black or charcoal."""
    sober, kind, *places = rng.random(5).tolist()
    index = bisect.bisect(_SHARES, kind * _SHARES[-1])
    if sober < dark:
        index = int(kind * _DARK)
    low_h, high_h, low_s, high_s, low_v, high_v = _SHADES[index][1]
    hue, saturation, value = places
    return _color(
        low_h + hue * (high_h - low_h),
        low_s + saturation * (high_s - low_s),
        low_v + value * (high_v - low_v),
    )


def _color(hue: float, saturation: float, value: float) -> Color:
    red, green, blue = colorsys.hsv_to_rgb(hue % 1, saturation, value)
    return int(255 * red), int(255 * green), int(255 * blue)


def _apart(rng: np.random.Generator, color: Color, least: float = 60.0) -> Color:
    """A color of a garment that can be told from `color`, or the best of a few."""
    best, widest = color, -1.0
    for _ in range(4):
        other = shade(rng)
        gap = math.dist(other, color)
        if gap > widest:
            best, widest = other, gap
        if gap >= least:
            break
    return best


@functools.cache
def _weights(kinds: type[Choice], *weights: float) -> dict[Choice, float]:
    return dict(zip(kinds, weights, strict=True))


def _weave(rng: np.random.Generator) -> Weave | None:
    """A plain cloth in a third of the cases, else melange, stripes or plaid of any scale."""
    kind = rng.random()
    if kind < 0.35:
        return None
    fine = float(np.exp(rng.uniform(np.log(14), np.log(160))))
    strength = float(rng.uniform(0.02, 0.09))
    shift = int(rng.integers(1000))
    if kind < 0.75:
        return Weave(strength, fine, fine * float(rng.uniform(0.6, 1.6)), shift)
    if kind < 0.85:
        return Weave(strength * 1.6, fine, 0.0, shift)
    if kind < 0.91:
        return Weave(strength * 1.6, 0.0, fine, shift)
    return Weave(strength * 1.8, fine, fine, shift, plaid=True)


def _art(rng: np.random.Generator, on: Color, *, small: bool) -> Art:
    size = rng.uniform(0.12, 0.25) if small else rng.uniform(0.3, 0.7)
    return Art(
        shift=int(rng.integers(1000)),
        size=float(size),
        high=float(rng.uniform(0.22, 0.42)),
        color=_apart(rng, on, 90),
        other=shade(rng),
    )


def _draw_build(rng: np.random.Generator) -> Build:
    factors = rng.normal(1.0, (0.04, 0.12, 0.06, 0.07, 0.04)).tolist()
    stature, girth, shoulders, hips, legs = factors
    head = rng.normal(1.0, 0.05)
    if rng.random() < 0.04:  # a child
        stature, head, legs = rng.uniform(0.6, 0.8), rng.uniform(1.2, 1.4), 0.9
    return Build(
        stature=min(max(stature, 0.6), 1.1),
        girth=min(max(girth, 0.82), 1.45),
        shoulders=min(max(shoulders, 0.85), 1.16),
        hips=min(max(hips, 0.85), 1.18),
        legs=min(max(legs, 0.88), 1.12),
        head=float(head),
    )


def _draw_head(rng: np.random.Generator, top: Color) -> Head:
    cut = one_of(rng, _weights(Cut, 0.5, 1.0, 3.0, 1.0, 1.0, 2.0, 1.2, 0.5, 0.2))
    hat = one_of(rng, _weights(Hat, 8.4, 0.7, 0.6, 0.3))
    manly = cut in (Cut.BALD, Cut.BUZZ, Cut.SHORT)
    dark_hair = rng.random() < 0.6
    return Head(
        skin=palette.pick(rng, palette.SKIN, jitter=12),
        cut=cut,
        hair=palette.pick(rng, palette.HAIR[:2] if dark_hair else palette.HAIR, jitter=14),
        hat=hat,
        hat_color=top if hat is Hat.HOOD else shade(rng, dark=0.4),
        beard=bool(manly and rng.random() < 0.3),
        glasses=bool(rng.random() < 0.2),
    )


def _draw_top(rng: np.random.Generator) -> Top:
    kind = one_of(rng, _weights(TopKind, 3.0, 1.6, 1.6, 1.5, 2.6, 1.3, 0.5))
    outer = kind in (TopKind.JACKET, TopKind.COAT)
    color = shade(rng, dark=0.3 if outer else 0.1)
    accent = _apart(rng, color, 50)
    sleeves = {
        TopKind.TEE: (0.0, 0.5, 0.55, 0.6, 0.75, 1.3),
        TopKind.SHIRT: (0.6, 1.5, 2.0, 2.0),
        TopKind.DRESS: (0.0, 0.3, 0.6, 2.0),
    }.get(kind, (2.0,))
    closed = rng.random() < 0.5
    return Top(
        kind=kind,
        color=color,
        accent=accent,
        pattern=one_of(rng, _weights(Pattern, 12.0, 1.2, 0.4, 0.9, 0.3, 0.7, 0.7, 0.15, 0.25)),
        count=int(rng.integers(2, 11)),
        inner=shade(rng),
        print=Print.NONE,
        print_color=accent,
        sleeve=sleeves[rng.integers(len(sleeves))],
        sleeve_color=_apart(rng, color) if rng.random() < 0.08 else color,
        band=None,
        cuff=None,
        length=float(rng.uniform(0.1, 1.3)),
        opening=0.0 if closed else float(rng.uniform(0.06, 0.4)),
        weave=_weave(rng),
        chest=_art(rng, color, small=rng.random() < 0.4) if rng.random() < 0.25 else None,
        back=_art(rng, color, small=rng.random() < 0.3) if rng.random() < 0.15 else None,
        scarf=shade(rng) if rng.random() < 0.06 else None,
        hem=shade(rng) if rng.random() < 0.1 else None,
        waist=float(rng.uniform(0.84, 1.15)),
    )


def _draw_bottom(rng: np.random.Generator) -> Bottom:
    kind = one_of(rng, _weights(BottomKind, 3.0, 3.4, 0.7, 1.3, 1.2, 0.7, 0.4))
    jeans = kind is BottomKind.JEANS
    if jeans:
        hue, saturation, value = rng.uniform((0.57, 0.2, 0.18), (0.65, 0.6, 0.72)).tolist()
        color = _color(hue, saturation, value)
    else:
        color = shade(rng, dark=0.45)
    pattern = Pattern.PLAIN
    if not jeans and rng.random() < 0.06:
        choices = (Pattern.CHECKS, Pattern.PINSTRIPES, Pattern.CAMOUFLAGE)
        pattern = choices[rng.integers(len(choices))]
    return Bottom(
        kind=kind,
        color=color,
        accent=_apart(rng, color, 50),
        pattern=pattern,
        count=int(rng.integers(3, 9)),
        stripe=shade(rng) if not jeans and rng.random() < 0.05 else None,
        cuff=None,
        sock=shade(rng),
        weave=_weave(rng) if rng.random() < 0.6 else None,
    )


def draw_passenger(rng: np.random.Generator) -> Person:
    """A new person, every attribute drawn from `rng`."""
    top, shoe, bag = _draw_top(rng), shade(rng, dark=0.4), shade(rng, dark=0.35)
    white_sole = rng.random() < 0.4
    return Person(
        build=_draw_build(rng),
        head=_draw_head(rng, top.color),
        top=top,
        bottom=_draw_bottom(rng),
        shoes=Shoes(
            kind=one_of(rng, _weights(ShoeKind, 3.0, 0.9, 1.1)),
            color=shoe,
            sole=(225, 225, 222) if white_sole else palette.darker(shoe, 0.6),
        ),
        bag=Bag(
            kind=one_of(rng, _weights(BagKind, 4.6, 2.2, 1.6, 1.4)),
            color=bag,
            accent=palette.darker(bag, 0.8) if rng.random() < 0.7 else _apart(rng, bag),
        ),
        load=_draw_load(rng),
    )


def _draw_load(rng: np.random.Generator) -> Load:
    kind = one_of(rng, _weights(LoadKind, 89.0, 2.0, 3.0, 2.0, 4.0))
    color = shade(rng, dark=0.2)
    return Load(kind, color, palette.darker(color, 0.7))


def without_load(person: Person) -> Person:
    """The same person with empty hands."""
    return dataclasses.replace(person, load=Load())
