"""Styles of cameras and of backgrounds, by name, so that some can be left out of a dataset."""

from __future__ import annotations

import dataclasses
import types
from collections.abc import Mapping

Span = tuple[float, float]
"""Least and most of something that is drawn for each camera."""


@dataclasses.dataclass(frozen=True)
class CameraStyle:
    """What the cameras of one style have in common; each draws its own values from the spans.

    Attributes:
        pitch: How far it looks down, in radians.
        taper: As in `View`.
        lines: Resolution, as rows on a whole image.
        exposure: Mean brightness that it aims at, 0 to 1 in linear light.
        warmth: Red over blue of its white, as a logarithm.
        tint: Green over red and blue of its white, as a logarithm.
        mixing: How much each color channel takes from the others.
        saturation: 1 keeps colors, 0 is gray.
        gamma: Exponent of its tone curve, 1 as a display expects.
        contrast: Steepness of its tone curve in the middle, 1 as it is.
        haze: Share of stray light.
        blur: Deviation of the defocus, in rows of 128.
        motion: Deviation of the motion blur along rows, in rows of 128.
        noise: Deviation in gray levels.
        sharpen: Strength of the halos around edges.
        jpeg: Quality of its compression.
        sun: Share of images in direct sunlight.
        hardness: Direct light over all light, where there is direct light.
        spread: Deviation of the exposure from image to image, as a logarithm.
        combed: Whether odd and even rows are of different moments.
    """

    pitch: Span = (0.1, 0.35)
    taper: Span = (0.0, 0.15)
    lines: Span = (90.0, 150.0)
    exposure: Span = (0.16, 0.30)
    warmth: Span = (-0.1, 0.1)
    tint: Span = (-0.05, 0.05)
    mixing: Span = (0.0, 0.12)
    saturation: Span = (0.75, 1.1)
    gamma: Span = (0.9, 1.15)
    contrast: Span = (0.95, 1.25)
    haze: Span = (0.0, 0.04)
    blur: Span = (0.2, 0.7)
    motion: Span = (0.0, 0.5)
    noise: Span = (1.5, 4.5)
    sharpen: Span = (0.0, 0.6)
    jpeg: Span = (55.0, 92.0)
    sun: Span = (0.0, 0.3)
    hardness: Span = (0.25, 0.5)
    spread: Span = (0.08, 0.2)
    combed: bool = False


CAMERA_STYLES: Mapping[str, CameraStyle] = types.MappingProxyType(
    {
        "overcast": CameraStyle(hardness=(0.1, 0.3), sun=(0.0, 0.1), warmth=(-0.18, 0.0)),
        "sunny": CameraStyle(
            exposure=(0.2, 0.36),
            contrast=(1.1, 1.5),
            saturation=(0.8, 1.15),
            sun=(0.6, 0.9),
            hardness=(0.55, 0.8),
            warmth=(-0.02, 0.16),
            spread=(0.15, 0.35),
        ),
        "dusk": CameraStyle(
            exposure=(0.07, 0.15),
            warmth=(-0.4, -0.15),
            saturation=(0.5, 0.85),
            noise=(4.0, 9.0),
            blur=(0.5, 1.1),
            motion=(0.4, 1.2),
        ),
        "night": CameraStyle(
            exposure=(0.06, 0.14),
            warmth=(0.3, 0.7),
            tint=(-0.05, 0.1),
            saturation=(0.4, 0.8),
            contrast=(1.1, 1.5),
            noise=(5.0, 10.0),
            motion=(0.4, 1.4),
            hardness=(0.4, 0.7),
            sun=(0.5, 0.9),
        ),
        "mall": CameraStyle(
            pitch=(0.2, 0.45),
            taper=(0.08, 0.25),
            exposure=(0.22, 0.38),
            warmth=(0.08, 0.3),
            saturation=(0.8, 1.1),
            sun=(0.0, 0.0),
        ),
        "subway": CameraStyle(
            tint=(0.08, 0.22),
            warmth=(-0.1, 0.1),
            contrast=(0.75, 1.0),
            saturation=(0.45, 0.8),
            haze=(0.02, 0.07),
            lines=(70.0, 110.0),
            sun=(0.0, 0.0),
        ),
        "dome": CameraStyle(
            pitch=(0.45, 0.8),
            taper=(0.2, 0.45),
            lines=(60.0, 100.0),
            blur=(0.3, 0.9),
            tint=(-0.12, 0.05),
        ),
        "analog": CameraStyle(
            lines=(45.0, 75.0),
            sharpen=(0.6, 1.8),
            jpeg=(25.0, 60.0),
            saturation=(0.6, 1.3),
            mixing=(0.1, 0.25),
            combed=True,
        ),
        "phone": CameraStyle(
            pitch=(-0.02, 0.12),
            taper=(-0.02, 0.04),
            lines=(130.0, 170.0),
            saturation=(0.9, 1.3),
            contrast=(1.1, 1.4),
            sharpen=(0.3, 1.0),
            blur=(0.05, 0.3),
            noise=(1.0, 3.0),
            jpeg=(75.0, 95.0),
        ),
        "haze": CameraStyle(
            haze=(0.08, 0.22),
            contrast=(0.7, 0.95),
            gamma=(1.0, 1.3),
            saturation=(0.5, 0.9),
            blur=(0.5, 1.2),
            exposure=(0.25, 0.42),
        ),
        "backlit": CameraStyle(
            exposure=(0.07, 0.16),
            contrast=(1.2, 1.6),
            haze=(0.0, 0.08),
            hardness=(0.05, 0.2),
            spread=(0.2, 0.4),
            warmth=(-0.15, 0.2),
        ),
        "faded": CameraStyle(
            saturation=(0.15, 0.5),
            mixing=(0.08, 0.2),
            tint=(-0.15, 0.12),
            warmth=(-0.2, 0.2),
            contrast=(0.85, 1.2),
        ),
    }
)
"""Camera styles."""

BACKDROP_STYLES = (
    "bricks",
    "shops",
    "park",
    "tiles",
    "facade",
    "traffic",
    "plaza",
    "corridor",
    "lawn",
    "crossing",
    "railing",
    "glass",
    "clutter",
)
"""Styles of backgrounds, each drawn by a function of that name in `backdrops`."""


def chosen_styles(text: str, known: tuple[str, ...]) -> tuple[str, ...]:
    """The styles that `text` names, joined by `+`, in the order of `known`; all where it is empty.

    Raises:
        ValueError: It names one that is not known, or none.
    """
    if not text:
        return known
    names = text.split("+")
    wrong = [name for name in names if name not in known]
    if wrong or len(set(names)) != len(names):
        raise ValueError(f"name some of {'+'.join(known)}, each once")
    return tuple(name for name in known if name in names)
