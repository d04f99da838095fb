"""Explanations as drawings: part maps, heat maps and bars beside the images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageDraw

from magnifier_jax.evaluation.heat_maps import stretch
from magnifier_jax.evaluation.report.drawing import FAINT, INK, PAPER, overlay, part_color
from magnifier_jax.evaluation.report.drawing import font as text_font

if TYPE_CHECKING:
    from magnifier_jax.evaluation.explain import Explanation, MatchExplanation, PartSimilarity

_CELL = (192, 96)  # Height and width of each image.
_GAP, _MARGIN, _LINE = 8, 20, 17
_BARS = 250  # Width of the column of bars.
_ALIKE, _UNLIKE = np.array((232.0, 72, 40)), np.array((40.0, 96, 232))
_BRANCH_COLORS = ((59, 111, 212), (217, 96, 59), (47, 158, 99))


def heat_overlay(image: np.ndarray, heat: np.ndarray, *, strongest: float) -> np.ndarray:
    """An image in gray under its heat map: red where it speaks for likeness, blue against it.

    Args:
        image: uint8 `[H, W, 3]`.
        heat: `[h, w]`.
        strongest: The value that gets the full color.

    Returns:
        uint8 `[H, W, 3]`.
    """
    gray = image.mean(-1, keepdims=True) * 0.75 + 40
    shares = np.clip(stretch(heat, image.shape[:2]) / max(strongest, 1e-12), -1, 1)[..., None]
    color = np.where(shares > 0, _ALIKE, _UNLIKE)
    opacity = 0.75 * np.abs(shares) ** 0.7
    return np.clip(np.rint((1 - opacity) * gray + opacity * color), 0, 255).astype(np.uint8)


def match_panels(
    explanation: Explanation, match: MatchExplanation, *, size: tuple[int, int] = _CELL
) -> list[tuple[str, np.ndarray, np.ndarray]]:
    """What stands side by side for one match: a title, and the query's and the match's image.

    Args:
        explanation: Of the query.
        match: One of its matches.
        size: Height and width of the images.
    """
    query, other = _resized(explanation.query, size), _resized(match.image, size)
    panels = [("images", query, other)]
    if explanation.part_map is not None and match.part_map is not None:
        seen = overlay(query, explanation.part_map), overlay(other, match.part_map)
        panels.append(("parts", seen[0], seen[1]))
    for name in match.query_heat:
        pair = match.query_heat[name], match.match_heat[name]
        # One scale for both images, so that they can be compared.
        strongest = max(float(np.abs(heat).max()) for heat in pair)
        panels.append(
            (
                name,
                heat_overlay(query, pair[0], strongest=strongest),
                heat_overlay(other, pair[1], strongest=strongest),
            )
        )
    return panels


def explanation_sheet(
    explanation: Explanation, *, title: str = "", captions: Sequence[str] = ()
) -> Image.Image:
    """Draws an explanation: a row a match, with panels, bars of parts and shares of branches.

    Args:
        explanation: What to draw.
        title: A line above everything.
        captions: One for each match, such as its name.
    """
    rows = [match_panels(explanation, match) for match in explanation.matches]
    pair = 2 * _CELL[1] + 3
    left = _MARGIN + len(rows[0]) * (pair + 2 * _GAP) + _GAP
    height = _CELL[0] + 3 * _LINE + 2 * _GAP
    top = _MARGIN + (2 * _LINE if title else 0)
    sheet = Image.new("RGB", (left + _BARS + _MARGIN, top + len(rows) * height + _MARGIN), PAPER)
    pen = ImageDraw.Draw(sheet)
    pen.text((_MARGIN, _MARGIN - 4), title, INK, font=text_font(16))
    for row, (match, panels) in enumerate(zip(explanation.matches, rows, strict=True)):
        y = top + row * height
        caption = captions[row] if row < len(captions) else f"match {row + 1}"
        line = f"{caption} · distance {match.distance:.3f}"
        pen.text((_MARGIN, y), f"{line} · {match.summary()}", INK, font=text_font(13))
        y += _LINE + 3
        for column, (name, query, other) in enumerate(panels):
            x = _MARGIN + column * (pair + 2 * _GAP)
            sheet.paste(Image.fromarray(query), (x, y))
            sheet.paste(Image.fromarray(other), (x + _CELL[1] + 3, y))
            pen.text((x, y + _CELL[0] + 2), name, FAINT, font=text_font(12))
        _bars(pen, match, (left, y))
    return sheet


def _bars(pen: ImageDraw.ImageDraw, match: MatchExplanation, corner: tuple[int, int]) -> None:
    """Bars of the parts, and under them how much each branch adds to the squared distance."""
    x, y = corner
    label, width = 78, _BARS - 78 - 34
    for part in match.parts:
        pen.text((x, y), part.name, INK, font=text_font(12))
        if part.similarity is None:
            text = f"hidden in the {' and the '.join(part.hidden_in)}"
            pen.text((x + label, y), text, FAINT, font=text_font(11))
        else:
            share, text = bar(part)
            middle = x + label + width // 2
            end = middle + round(share * width / 2)
            box = (min(middle, end), y + 2, max(middle, end), y + 11)
            pen.rectangle(box, fill=part_color(part.part))
            pen.line((middle, y, middle, y + 13), fill=FAINT)
            pen.text((x + label + width + 4, y), text, INK, font=text_font(11))
        y += _LINE
    y += 4
    pen.text((x, y), "squared distance", FAINT, font=text_font(11))
    start = float(x)
    y += _LINE - 2
    for branch, color in zip(match.branches, _BRANCH_COLORS, strict=False):
        reach = branch.share * _BARS
        pen.rectangle((start, y, start + max(0, reach - 1), y + 9), fill=color)
        start += reach
    texts = [f"{branch.branch} {branch.share:.0%}" for branch in match.branches]
    pen.text((x, y + 11), ", ".join(texts), INK, font=text_font(11))


def bar(part: PartSimilarity) -> tuple[float, str]:
    """How far a part's bar goes, −1 to 1, and what stands beside it."""
    if part.score is not None:
        return float(np.clip(part.score / 3, -1, 1)), f"{part.score:+.1f}σ"
    assert part.similarity is not None
    return float(np.clip(part.similarity, -1, 1)), f"{part.similarity:.2f}"


def _resized(image: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    height, width = size
    return np.asarray(Image.fromarray(image).resize((width, height), Image.Resampling.BICUBIC))
