"""What the classes of other body parsers are among our eight."""

from __future__ import annotations

import dataclasses
import difflib
from collections.abc import Mapping

import numpy as np

from input_pipeline.dataset import (
    BACKGROUND,
    FOOT,
    HEAD,
    LOWER_ARM,
    LOWER_LEG,
    PART_NAMES,
    TORSO,
    UPPER_ARM,
    UPPER_LEG,
)
from input_pipeline.errors import DataError

UNKNOWN = 255
_IGNORED = 255  # What Pascal-style label maps mark borders with.


@dataclasses.dataclass(frozen=True)
class LimbSplit:
    """A limb that the source has in one piece, cut at a distance from the chest.

    Attributes:
        classes: Classes of the source that form the limb together.
        near: Our class of the end that is near the torso.
        far: Our class of the other end.
        share: Part of the limb's length that is `near`, between 0 and 1.
        compact: Our class of a piece that is about as wide as long, such as a hand below a long
            sleeve; None cuts those too.
    """

    classes: tuple[int, ...]
    near: int
    far: int
    share: float = 0.5
    compact: int | None = None


@dataclasses.dataclass(frozen=True)
class LabelFormat:
    """The classes of one parser.

    Attributes:
        name: What commands call it.
        title: What people call it.
        classes: For every class number, the source's name of it and our class. Where a limb split
            applies, our class is the one that most of the limb gets.
        splits: Limbs to cut in two.
        is_iuv: Whether label maps have two more channels, the coordinates on the surface.
        mark: What file names of label maps have after the image's name, if they have it.
    """

    name: str
    title: str
    classes: tuple[tuple[str, int], ...]
    splits: tuple[LimbSplit, ...] = ()
    is_iuv: bool = False
    mark: str = ""

    @property
    def table(self) -> np.ndarray:
        """Our class of every value, uint8 `[256]`; `UNKNOWN` where the source has no class."""
        table = np.full(256, UNKNOWN, np.uint8)
        table[: len(self.classes)] = [part for _, part in self.classes]
        table[_IGNORED] = BACKGROUND
        return table


def _arm(*classes: int) -> LimbSplit:
    """Clothing classes show the arm below the sleeve: a short piece is a hand or a forearm."""
    return LimbSplit(classes, near=UPPER_ARM, far=LOWER_ARM, compact=LOWER_ARM)


_PARTS = LabelFormat(
    "parts",
    "the eight classes of this package (EANet, MagnifierNet)",
    tuple((name, part) for part, name in enumerate(PART_NAMES)),
)
_DENSEPOSE14 = LabelFormat(
    "densepose14",
    "DensePose, 14 coarse parts",
    (
        ("background", BACKGROUND),
        ("torso", TORSO),
        ("right hand", LOWER_ARM),
        ("left hand", LOWER_ARM),
        ("left foot", FOOT),
        ("right foot", FOOT),
        ("right upper leg", UPPER_LEG),
        ("left upper leg", UPPER_LEG),
        ("right lower leg", LOWER_LEG),
        ("left lower leg", LOWER_LEG),
        ("left upper arm", UPPER_ARM),
        ("right upper arm", UPPER_ARM),
        ("left lower arm", LOWER_ARM),
        ("right lower arm", LOWER_ARM),
        ("head", HEAD),
    ),
)
_DENSEPOSE24 = LabelFormat(
    "densepose24",
    "DensePose, 24 surface patches",
    (
        ("background", BACKGROUND),
        ("torso, back", TORSO),
        ("torso, front", TORSO),
        ("right hand", LOWER_ARM),
        ("left hand", LOWER_ARM),
        ("left foot", FOOT),
        ("right foot", FOOT),
        ("right upper leg, back", UPPER_LEG),
        ("left upper leg, back", UPPER_LEG),
        ("right upper leg, front", UPPER_LEG),
        ("left upper leg, front", UPPER_LEG),
        ("right lower leg, back", LOWER_LEG),
        ("left lower leg, back", LOWER_LEG),
        ("right lower leg, front", LOWER_LEG),
        ("left lower leg, front", LOWER_LEG),
        ("left upper arm, front", UPPER_ARM),
        ("right upper arm, front", UPPER_ARM),
        ("left upper arm, back", UPPER_ARM),
        ("right upper arm, back", UPPER_ARM),
        ("left lower arm, front", LOWER_ARM),
        ("right lower arm, front", LOWER_ARM),
        ("left lower arm, back", LOWER_ARM),
        ("right lower arm, back", LOWER_ARM),
        ("head, right side", HEAD),
        ("head, left side", HEAD),
    ),
)
_DENSEPOSE_IUV = LabelFormat(
    "densepose_iuv",
    "DensePose, IUV images",
    _DENSEPOSE24.classes,
    is_iuv=True,
    mark="_IUV",
)
_LIP = LabelFormat(
    "lip20",
    "LIP, 20 classes",
    (
        ("background", BACKGROUND),
        ("hat", HEAD),
        ("hair", HEAD),
        ("glove", LOWER_ARM),
        ("sunglasses", HEAD),
        ("upper clothes", TORSO),
        ("dress", TORSO),
        ("coat", TORSO),
        ("socks", FOOT),
        ("trousers", UPPER_LEG),
        ("jumpsuit", TORSO),
        ("scarf", TORSO),
        ("skirt", UPPER_LEG),
        ("face", HEAD),
        ("left arm", LOWER_ARM),
        ("right arm", LOWER_ARM),
        ("left leg", LOWER_LEG),
        ("right leg", LOWER_LEG),
        ("left shoe", FOOT),
        ("right shoe", FOOT),
    ),
    (
        _arm(14),
        _arm(15),
        LimbSplit((9, 12, 16, 17), near=UPPER_LEG, far=LOWER_LEG),
    ),
)
_ATR = LabelFormat(
    "atr18",
    "ATR, 18 classes",
    (
        ("background", BACKGROUND),
        ("hat", HEAD),
        ("hair", HEAD),
        ("sunglasses", HEAD),
        ("upper clothes", TORSO),
        ("skirt", UPPER_LEG),
        ("trousers", UPPER_LEG),
        ("dress", TORSO),
        ("belt", TORSO),
        ("left shoe", FOOT),
        ("right shoe", FOOT),
        ("face", HEAD),
        ("left leg", LOWER_LEG),
        ("right leg", LOWER_LEG),
        ("left arm", LOWER_ARM),
        ("right arm", LOWER_ARM),
        ("bag", BACKGROUND),
        ("scarf", TORSO),
    ),
    (
        _arm(14),
        _arm(15),
        LimbSplit((5, 6, 12, 13), near=UPPER_LEG, far=LOWER_LEG),
    ),
)
_PASCAL = LabelFormat(
    "pascal7",
    "Pascal-Person-Part, 7 classes",
    (
        ("background", BACKGROUND),
        ("head", HEAD),
        ("torso", TORSO),
        ("upper arms", UPPER_ARM),
        ("lower arms", LOWER_ARM),
        ("upper legs", UPPER_LEG),
        ("lower legs", LOWER_LEG),
    ),
    (LimbSplit((6,), near=LOWER_LEG, far=FOOT, share=0.8),),
)

FORMATS: Mapping[str, LabelFormat] = {
    label_format.name: label_format
    for label_format in (_PARTS, _DENSEPOSE14, _DENSEPOSE24, _DENSEPOSE_IUV, _LIP, _ATR, _PASCAL)
}
"""Every known format of label maps by its name."""


def find_format(name: str) -> LabelFormat:
    """The format of this name.

    Raises:
        DataError: There is none; the message suggests the nearest.
    """
    if name in FORMATS:
        return FORMATS[name]
    near = difflib.get_close_matches(name.lower(), FORMATS, n=1, cutoff=0.3)
    hint = f"did you mean {near[0]}? " if near else ""
    raise DataError(f"no part label format is called {name!r}: {hint}(known: {', '.join(FORMATS)})")
