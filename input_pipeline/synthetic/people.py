"""What a person is made of: attributes that stay the same in every image of an identity."""

from __future__ import annotations

import bisect
import dataclasses
import enum
import itertools
from typing import TypeVar

import numpy as np

from input_pipeline.synthetic.figure import palette
from input_pipeline.synthetic.figure.palette import Color


class Cut(enum.StrEnum):
    """Hair cuts."""

    BALD = "bald"
    BUZZ = "buzz"
    SHORT = "short"
    FRINGE = "fringe"
    BOB = "bob"
    LONG = "long"
    PONYTAIL = "ponytail"
    BUN = "bun"
    AFRO = "afro"


class Hat(enum.StrEnum):
    """What is worn on the head."""

    NONE = "none"
    CAP = "cap"
    BEANIE = "beanie"
    HOOD = "hood"


class TopKind(enum.StrEnum):
    """Garments of the upper body."""

    TEE = "tee"
    SHIRT = "shirt"
    SWEATER = "sweater"
    HOODIE = "hoodie"
    JACKET = "jacket"
    COAT = "coat"
    DRESS = "dress"


class Pattern(enum.StrEnum):
    """How two colors share a cloth."""

    PLAIN = "plain"
    STRIPES = "stripes"
    PINSTRIPES = "pinstripes"
    CHECKS = "checks"
    DOTS = "dots"
    TWO_TONE = "two-tone"
    BAND = "band"
    DIAGONAL = "diagonal"
    CAMOUFLAGE = "camouflage"


class Print(enum.StrEnum):
    """What is printed on chest and back."""

    NONE = "none"
    DISC = "disc"
    SQUARE = "square"
    BAR = "bar"
    CHEVRON = "chevron"


class BottomKind(enum.StrEnum):
    """Garments of the lower body."""

    TROUSERS = "trousers"
    JEANS = "jeans"
    WIDE = "wide"
    LEGGINGS = "leggings"
    SHORTS = "shorts"
    SKIRT = "skirt"
    LONG_SKIRT = "long skirt"


class ShoeKind(enum.StrEnum):
    """Shoes."""

    SNEAKER = "sneaker"
    BOOT = "boot"
    PUMP = "pump"


class BagKind(enum.StrEnum):
    """Bags."""

    NONE = "none"
    BACKPACK = "backpack"
    SHOULDER = "shoulder"
    HANDBAG = "handbag"


@dataclasses.dataclass(frozen=True)
class Weave:
    """Light and dark of a cloth besides its colors; the same in every image.

    Attributes:
        strength: Deviation of the brightness.
        along: Steps through the noise along a limb, 0 for none: stripes run along it.
        around: Steps around the limb, 0 for none: stripes run around it.
        shift: Where in the noise.
        plaid: Whether stripes along and around cross, instead of one noise in two directions.
    """

    strength: float
    along: float
    around: float
    shift: int
    plaid: bool = False


@dataclasses.dataclass(frozen=True)
class Art:
    """A picture of two colors printed on a garment; `shift` says which."""

    shift: int
    size: float
    high: float
    color: Color
    other: Color


@dataclasses.dataclass(frozen=True)
class Build:
    """The body under the clothes; all are factors around 1."""

    stature: float
    girth: float
    shoulders: float
    hips: float
    legs: float = 1.0
    head: float = 1.0


@dataclasses.dataclass(frozen=True)
class Head:
    """Face, hair and hat."""

    skin: Color
    cut: Cut
    hair: Color
    hat: Hat
    hat_color: Color
    beard: bool
    glasses: bool


@dataclasses.dataclass(frozen=True)
class Top:
    """Garment of the upper body.

    Attributes:
        kind: The garment.
        color: Color of the cloth.
        accent: Second color of the pattern.
        pattern: How the two share the cloth.
        count: How often the pattern repeats around the body.
        inner: What shows under an open jacket, at a collar or in a hood.
        print: Chest and back print.
        print_color: Its color.
        sleeve: Length in limb segments: 0 none, 1 to the elbow, 2 to the wrist.
        sleeve_color: Color of the sleeves, often that of the cloth.
        band: Ring around the upper arm, or None.
        cuff: Ring around the wrist, or None.
        length: Where a coat or dress ends, in leg segments from the hip.
        opening: Half width of the opening of what is worn open, 0 for closed by a zip.
        weave: Light and dark of the cloth.
        chest: Picture on the chest.
        back: Picture on the back.
        scarf: Color of a scarf, or None.
        hem: Color of a layer that shows below the garment, or None.
        waist: Where on the trunk it ends, 1 is the crotch; None for where its kind ends.
    """

    kind: TopKind
    color: Color
    accent: Color
    pattern: Pattern
    count: int
    inner: Color
    print: Print
    print_color: Color
    sleeve: float
    sleeve_color: Color
    band: Color | None
    cuff: Color | None
    length: float
    opening: float = 0.12
    weave: Weave | None = None
    chest: Art | None = None
    back: Art | None = None
    scarf: Color | None = None
    hem: Color | None = None
    waist: float | None = None

    @property
    def opens(self) -> bool:
        """Whether it is worn open at the front."""
        return self.kind in (TopKind.JACKET, TopKind.COAT)

    @property
    def hangs(self) -> bool:
        """Whether it covers the hips."""
        return self.kind in (TopKind.DRESS, TopKind.COAT)


@dataclasses.dataclass(frozen=True)
class Bottom:
    """Garment of the lower body.

    Attributes:
        kind: The garment.
        color: Color of the cloth.
        accent: Second color of the pattern.
        pattern: How the two share the cloth.
        count: How often the pattern repeats around a leg.
        stripe: Panel down the sides of the thighs, or ring around what hangs; or None.
        cuff: Ring at the end of trousers or of a long skirt, or None.
        sock: Color of the socks, where shins are bare.
        weave: Light and dark of the cloth.
    """

    kind: BottomKind
    color: Color
    accent: Color
    pattern: Pattern
    count: int
    stripe: Color | None
    cuff: Color | None
    sock: Color
    weave: Weave | None = None


@dataclasses.dataclass(frozen=True)
class Shoes:
    """Shoes and the color of their soles."""

    kind: ShoeKind
    color: Color
    sole: Color


@dataclasses.dataclass(frozen=True)
class Bag:
    """A bag, or none."""

    kind: BagKind
    color: Color
    accent: Color


class LoadKind(enum.StrEnum):
    """What is held or pushed; it is no part of the body and hides what is behind it."""

    NONE = "none"
    UMBRELLA = "umbrella"
    SUITCASE = "suitcase"
    PRAM = "pram"
    BICYCLE = "bicycle"


@dataclasses.dataclass(frozen=True)
class Load:
    """What is held or pushed, or nothing."""

    kind: LoadKind = LoadKind.NONE
    color: Color = (40, 40, 44)
    accent: Color = (90, 90, 96)


@dataclasses.dataclass(frozen=True)
class Person:
    """All attributes of one identity."""

    build: Build
    head: Head
    top: Top
    bottom: Bottom
    shoes: Shoes
    bag: Bag
    load: Load = Load()

    @property
    def bare_thighs(self) -> bool:
        """Whether nothing is wrapped around each thigh."""
        skirts = (BottomKind.SKIRT, BottomKind.LONG_SKIRT)
        return self.top.kind is TopKind.DRESS or self.bottom.kind in skirts

    @property
    def long_skirt(self) -> bool:
        """Whether a skirt covers the shins, with its rim there."""
        return self.top.kind is not TopKind.DRESS and self.bottom.kind is BottomKind.LONG_SKIRT

    @property
    def bare_shins(self) -> bool:
        """Whether nothing but socks is wrapped around each shin."""
        return self.bare_thighs or self.bottom.kind is BottomKind.SHORTS


Choice = TypeVar("Choice", bound=enum.StrEnum)


def one_of(rng: np.random.Generator, weights: dict[Choice, float]) -> Choice:
    """One of the keys, with probabilities in proportion to the weights."""
    share = list(itertools.accumulate(weights.values()))
    return list(weights)[bisect.bisect(share, rng.random() * share[-1])]


def either_way(rng: np.random.Generator) -> float:
    """-1 or 1: what `rng.choice((-1.0, 1.0))` draws, in a quarter of its time."""
    return 1.0 if rng.integers(2) else -1.0


def _draw_head(rng: np.random.Generator) -> Head:
    cut = one_of(rng, dict(zip(Cut, (0.4, 0.7, 2.2, 1.2, 1.3, 1.8, 1.1, 0.7, 0.6), strict=True)))
    hat = one_of(rng, dict(zip(Hat, (7.0, 1.2, 1.0, 0.5), strict=True)))
    manly = cut in (Cut.BALD, Cut.BUZZ, Cut.SHORT)
    return Head(
        skin=palette.pick(rng, palette.SKIN),
        cut=cut,
        hair=palette.pick(rng, palette.HAIR),
        hat=hat,
        hat_color=palette.cloth(rng),
        beard=bool(manly and rng.random() < 0.35),
        glasses=bool(rng.random() < 0.2),
    )


def _draw_top(rng: np.random.Generator) -> Top:
    kind = one_of(rng, dict(zip(TopKind, (3.0, 1.6, 1.6, 1.4, 1.8, 0.8, 0.8), strict=True)))
    color = palette.cloth(rng, dark=0.3)
    accent = palette.contrasting(rng, color)
    patterns = (5.0, 1.2, 0.6, 1.0, 0.6, 0.8, 0.8, 0.4, 0.3)
    sleeves = {
        TopKind.TEE: (0.0, 0.55, 0.55, 0.7),
        TopKind.SHIRT: (0.6, 1.5, 2.0, 2.0),
        TopKind.DRESS: (0.0, 0.3, 0.6, 2.0),
    }.get(kind, (2.0,))
    return Top(
        kind=kind,
        color=color,
        accent=accent,
        pattern=one_of(rng, dict(zip(Pattern, patterns, strict=True))),
        count=int(rng.integers(3, 8)),
        inner=palette.contrasting(rng, color, least=90),
        print=one_of(rng, dict(zip(Print, (2.5, 1.0, 1.0, 1.0, 0.7), strict=True))),
        print_color=palette.contrasting(rng, color, accent, least=90),
        sleeve=sleeves[rng.integers(len(sleeves))],
        sleeve_color=palette.cloth(rng) if rng.random() < 0.2 else color,
        band=palette.contrasting(rng, color) if rng.random() < 0.2 else None,
        cuff=palette.contrasting(rng, color) if rng.random() < 0.15 else None,
        length=float(rng.choice((0.45, 0.75, 1.15))),
    )


def _draw_bottom(rng: np.random.Generator, top: Color) -> Bottom:
    weights = (2.6, 2.8, 0.9, 1.0, 1.5, 1.0, 0.6)
    kind = one_of(rng, dict(zip(BottomKind, weights, strict=True)))
    jeans = kind is BottomKind.JEANS
    color = palette.pick(rng, palette.DENIM) if jeans else palette.cloth(rng, dark=0.6)
    if np.linalg.norm(np.subtract(color, top)) < 70 and rng.random() < 0.8:
        color = palette.contrasting(rng, top)
    pattern = Pattern.PLAIN
    if not jeans and rng.random() < 0.2:
        choices = (Pattern.CHECKS, Pattern.PINSTRIPES, Pattern.CAMOUFLAGE, Pattern.DOTS)
        pattern = choices[rng.integers(len(choices))]
    return Bottom(
        kind=kind,
        color=color,
        accent=palette.contrasting(rng, color, least=70),
        pattern=pattern,
        count=int(rng.integers(3, 7)),
        stripe=palette.contrasting(rng, color) if not jeans and rng.random() < 0.15 else None,
        cuff=palette.contrasting(rng, color) if rng.random() < 0.12 else None,
        sock=palette.cloth(rng, dark=0.3),
    )


def draw_person(rng: np.random.Generator) -> Person:
    """A new person, every attribute drawn from `rng`."""
    stature, girth, shoulders, hips = rng.normal(1.0, (0.03, 0.08, 0.05, 0.06))
    shoe = palette.cloth(rng, dark=0.35)
    bag = palette.cloth(rng, dark=0.3)
    top = _draw_top(rng)
    head = _draw_head(rng)
    if head.hat is Hat.HOOD:
        head = dataclasses.replace(head, hat_color=top.color)
    return Person(
        build=Build(
            stature=float(np.clip(stature, 0.92, 1.06)),
            girth=float(np.clip(girth, 0.88, 1.25)),
            shoulders=float(np.clip(shoulders, 0.88, 1.12)),
            hips=float(np.clip(hips, 0.88, 1.15)),
        ),
        head=head,
        top=top,
        bottom=_draw_bottom(rng, top.color),
        shoes=Shoes(
            kind=one_of(rng, dict(zip(ShoeKind, (3.0, 1.2, 1.0), strict=True))),
            color=shoe,
            sole=palette.CLOTH["white"] if rng.random() < 0.6 else palette.darker(shoe, 0.5),
        ),
        bag=Bag(
            kind=one_of(rng, dict(zip(BagKind, (5.0, 1.8, 1.4, 1.0), strict=True))),
            color=bag,
            accent=palette.contrasting(rng, bag),
        ),
    )
