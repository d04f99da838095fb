"""Drawings for people: rankings with right and wrong matches, and part maps. Pillow only."""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw, ImageFont

from input_pipeline.dataset import BACKGROUND, PALETTE, PART_NAMES

PAPER, INK, FAINT = (255, 255, 255), (32, 36, 44), (120, 126, 138)
_BORDER, _GAP, _MARGIN, _TEXT = 4, 10, 20, 14
_OPACITY = 0.55


class Mark(enum.Enum):
    """Whether a match shows the query's identity; the value is the color of its border."""

    RIGHT = (34, 160, 84)
    WRONG = (214, 56, 56)
    UNKNOWN = (168, 174, 186)


@dataclasses.dataclass(frozen=True, eq=False)
class Shown:
    """One image of a ranking.

    Attributes:
        image: uint8 `[H, W, 3]`, or None for one that is not there.
        captions: Short lines to write under it.
        mark: The query itself has `UNKNOWN`.
    """

    image: np.ndarray | None
    captions: tuple[str, ...] = ()
    mark: Mark = Mark.UNKNOWN


@dataclasses.dataclass(frozen=True, eq=False)
class Ranking:
    """A query and its matches, nearest first."""

    query: Shown
    matches: tuple[Shown, ...]


def ranking_sheet(
    rankings: Sequence[Ranking],
    *,
    title: str = "",
    cell: tuple[int, int] = (192, 96),
    columns: int = 10,
) -> Image.Image:
    """Draws queries, and beside each its matches with green, red or gray borders.

    Args:
        rankings: One or more.
        title: A line above everything.
        cell: Height and width at which each image is shown, in pixels.
        columns: Matches in a row; a query with more of them takes several rows.
    """
    columns = max(1, min(columns, max(len(ranking.matches) for ranking in rankings)))
    rows = [max(1, -(-len(ranking.matches) // columns)) for ranking in rankings]
    lines = max(len(shown.captions) for row in rankings for shown in (row.query, *row.matches))
    step = cell[1] + 2 * _BORDER + _GAP
    row_height = cell[0] + 2 * _BORDER + lines * (_TEXT + 3) + 2 * _GAP
    first = _MARGIN + step + 2 * _GAP  # Where the matches begin.
    top = _MARGIN + (_TEXT + 3 + _GAP if title else 0)
    sheet, pen = _paper(
        width=first + columns * step - _GAP + _MARGIN,
        height=top + sum(rows) * row_height - 2 * _GAP + _MARGIN,
    )
    pen.text((_MARGIN, _MARGIN - 4), title, INK, font=font(_TEXT + 3))
    rule = first - 2 * _GAP + _GAP // 2
    y = top
    for ranking, taken in zip(rankings, rows, strict=True):
        bottom = y + taken * row_height - 2 * _GAP
        _place(sheet, pen, ranking.query, (_MARGIN, y), cell)
        pen.line((rule, y, rule, bottom), fill=Mark.UNKNOWN.value)
        for place, shown in enumerate(ranking.matches):
            row, column = divmod(place, columns)
            corner = (first + column * step, y + row * row_height)
            _place(sheet, pen, shown, corner, cell, label=str(place + 1))
        y = bottom + 2 * _GAP
    return sheet


def part_map_sheet(
    images: np.ndarray,
    part_maps: np.ndarray,
    *,
    cell: tuple[int, int] = (192, 96),
    columns: int = 6,
    part_names: Sequence[str] = PART_NAMES,
) -> Image.Image:
    """Draws images, each beside itself with its part map laid over it, and a legend.

    Args:
        images: uint8 `[N, H, W, 3]`.
        part_maps: Part classes `[N, h, w]`, of any size.
        cell: Height and width at which each image is shown, in pixels.
        columns: Pairs in a row.
        part_names: Names of the classes, for the legend.
    """
    columns = min(columns, len(images))
    step_x, step_y = 2 * cell[1] + 2 * _GAP, cell[0] + _GAP
    rows = -(-len(images) // columns)
    legend = 2 * _GAP + _TEXT
    sheet, pen = _paper(
        width=max(2 * _MARGIN + columns * step_x - 2 * _GAP, 2 * _MARGIN + 96 * len(part_names)),
        height=2 * _MARGIN + rows * step_y - _GAP + legend,
    )
    for i, (image, part_map) in enumerate(zip(images, part_maps, strict=True)):
        x, y = _MARGIN + i % columns * step_x, _MARGIN + i // columns * step_y
        shown = _resize(image, cell)
        sheet.paste(shown, (x, y))
        sheet.paste(Image.fromarray(overlay(np.asarray(shown), part_map)), (x + cell[1], y))
    y = _MARGIN + rows * step_y + _GAP // 2
    for part, name in enumerate(part_names):
        x = _MARGIN + 96 * part
        pen.rectangle((x, y, x + _TEXT, y + _TEXT), fill=part_color(part))
        pen.text((x + _TEXT + 5, y - 1), name, INK, font=font(_TEXT - 1))
    return sheet


def overlay(image: np.ndarray, part_map: np.ndarray) -> np.ndarray:
    """An image under its part map; the background is darkened.

    Args:
        image: uint8 `[H, W, 3]`.
        part_map: Part classes `[h, w]`, of any size.

    Returns:
        uint8 `[H, W, 3]`.
    """
    height, width = image.shape[:2]
    classes = Image.fromarray(part_map.astype(np.uint8))
    cells = np.asarray(classes.resize((width, height), Image.Resampling.NEAREST))
    colors = np.array([part_color(part) for part in range(int(cells.max()) + 1)], np.uint8)
    mixed = (1 - _OPACITY) * image + _OPACITY * colors[cells]
    mixed[cells == BACKGROUND] = 0.35 * image[cells == BACKGROUND]
    return mixed.round().astype(np.uint8)


def part_color(part: int) -> tuple[int, int, int]:
    """The color of a part class; they repeat after those of the taxonomy."""
    red, green, blue = PALETTE[part % len(PALETTE)]
    return int(red), int(green), int(blue)


def _place(
    sheet: Image.Image,
    pen: ImageDraw.ImageDraw,
    shown: Shown,
    corner: tuple[int, int],
    cell: tuple[int, int],
    *,
    label: str = "query",
) -> None:
    x, y = corner
    right, bottom = x + cell[1] + 2 * _BORDER - 1, y + cell[0] + 2 * _BORDER - 1
    pen.rectangle((x, y, right, bottom), fill=shown.mark.value)
    if shown.image is None:
        pen.rectangle((x + _BORDER, y + _BORDER, right - _BORDER, bottom - _BORDER), fill=PAPER)
        pen.text((x + _BORDER + 6, y + cell[0] // 2), "not found", FAINT, font=font(_TEXT - 1))
    else:
        sheet.paste(_resize(shown.image, cell), (x + _BORDER, y + _BORDER))
    width = font(_TEXT - 1).getlength(label)
    pen.rectangle((x, y, x + width + 9, y + _TEXT + 5), fill=shown.mark.value)
    pen.text((x + 5, y + 2), label, PAPER, font=font(_TEXT - 1))
    if shown.mark is not Mark.UNKNOWN:  # For those who do not tell red from green.
        word = shown.mark.name.lower()
        place = (right - font(_TEXT - 1).getlength(word), bottom + 4)
        pen.text(place, word, shown.mark.value, font=font(_TEXT - 1))
    for line, text in enumerate(shown.captions):
        small = font(_TEXT - 1)
        room = cell[1] + 2 * _BORDER
        place = (x, bottom + 4 + line * (_TEXT + 3))
        pen.text(place, _fit(text, room, small), INK, font=small)


def _fit(text: str, room: int, small: ImageFont.FreeTypeFont | ImageFont.ImageFont) -> str:
    """The text, or its end where all of it does not fit: files differ at the end."""
    short = text
    while len(short) > 1 and small.getlength(short) > room:
        text = text[1:]
        short = "…" + text
    return short


def _resize(image: np.ndarray, cell: tuple[int, int]) -> Image.Image:
    return Image.fromarray(image).resize((cell[1], cell[0]), Image.Resampling.BICUBIC)


def _paper(*, width: int, height: int) -> tuple[Image.Image, ImageDraw.ImageDraw]:
    sheet = Image.new("RGB", (width, height), PAPER)
    return sheet, ImageDraw.Draw(sheet)


def font(size: int) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """The font of all drawings at a size in pixels."""
    return ImageFont.load_default(size)
