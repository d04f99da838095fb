"""A sheet of images beside their part maps, to look at before training."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline.dataset import BACKGROUND, PALETTE, PART_NAMES, ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.files import open_whole
from input_pipeline.images.codec import encode_parts, open_rgb
from input_pipeline.images.integrity import open_image

_CELL = (96, 192)  # width and height of one image
_GAP = 8
_CAPTION = 14  # pixels of its line
_OPACITY = 0.55


def write_sheet(
    dataset: ReidDataset, path: pathlib.Path, *, count: int = 32, columns: int = 8
) -> None:
    """Writes images and their part maps, drawn over them, side by side into one PNG.

    Args:
        dataset: Its labeled images are taken at even distances, training first.
        path: The PNG to write.
        count: How many images.
        columns: How many in a row.

    Raises:
        DataError: No image has a part map, a file cannot be used, or the PNG cannot be written.
    """
    labeled = [
        sample
        for sample in (*dataset.train, *dataset.query, *dataset.gallery)
        if sample.part_map is not None
    ]
    if not labeled:
        raise DataError(f"{dataset.name} has no part maps to look at: add part labels first")
    picks = np.unique(np.linspace(0, len(labeled) - 1, count).round().astype(int))
    draw_sheet([Captioned(labeled[pick]) for pick in picks], path, columns=columns)


@dataclasses.dataclass(frozen=True)
class Captioned:
    """An image with its part map, if it has one, and what is to be written below.

    Attributes:
        sample: The image; where it has no part map, it is shown beside itself.
        caption: A few characters; '' for none.
    """

    sample: Sample
    caption: str = ""


def draw_sheet(shown: Sequence[Captioned], path: pathlib.Path, *, columns: int = 8) -> None:
    """Draws images and their part maps, over them, side by side into one file.

    Args:
        shown: What to draw, in this order.
        path: The file to write, a JPEG if it is named so, else a PNG.
        columns: How many in a row.

    Raises:
        DataError: There are no images, a file cannot be used, or `path` cannot be written.
    """
    if not shown:
        raise DataError(f"there are no images to draw into {path}")
    sheet = _draw(shown, columns=columns)
    is_jpeg = path.suffix.lower() in (".jpg", ".jpeg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            sheet.save(file, format="JPEG" if is_jpeg else "PNG", quality=90)
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


def overlay(image: Image.Image, parts: np.ndarray) -> Image.Image:
    """The image with the colors of its parts laid over it; the background stays as it is.

    Args:
        image: RGB.
        parts: uint8 `[H, W]`, as large as the image.
    """
    pixels = np.asarray(image, np.float32)
    opacity = np.where(parts == BACKGROUND, 0.0, _OPACITY)[..., None]
    mixed = pixels * (1 - opacity) + PALETTE[parts] * opacity
    return Image.fromarray(mixed.round().astype(np.uint8))


def _draw(shown: Sequence[Captioned], *, columns: int) -> Image.Image:
    width, height = _CELL
    columns = min(columns, len(shown))
    rows = -(-len(shown) // columns)
    pair = 2 * width + _GAP
    tall = height + (_CAPTION if any(one.caption for one in shown) else 0)
    legend = 24
    size = (max(columns * (pair + _GAP) + _GAP, 640), rows * (tall + _GAP) + _GAP + legend)
    sheet = Image.new("RGB", size, "white")
    _draw_legend(sheet)
    pen = ImageDraw.Draw(sheet)
    for number, one in enumerate(shown):
        left = _GAP + number % columns * (pair + _GAP)
        top = legend + _GAP + number // columns * (tall + _GAP)
        image, drawn = _load(one.sample)
        sheet.paste(image.resize(_CELL), (left, top))
        sheet.paste(drawn.resize(_CELL, Image.Resampling.NEAREST), (left + width, top))
        pen.text((left, top + height + 2), one.caption, fill="black")
    return sheet


def _load(sample: Sample) -> tuple[Image.Image, Image.Image]:
    """The image, and the image with its parts drawn over it."""
    culprit = sample.path
    try:
        image = open_rgb(sample.path)
        if sample.part_map is None:
            return image, image
        culprit = sample.part_map
        parts = encode_parts(sample.part_map, size=(image.height, image.width))
    except ValueError as error:
        raise DataError(f"{culprit}: {error}") from error
    with open_image(parts.data) as classes:
        return image, overlay(image, np.asarray(classes))


def _draw_legend(sheet: Image.Image) -> None:
    pen = ImageDraw.Draw(sheet)
    left = _GAP
    for name, color in zip(PART_NAMES, PALETTE.tolist(), strict=True):
        pen.rectangle((left, _GAP, left + 12, _GAP + 12), fill=tuple(color))
        pen.text((left + 16, _GAP), name, fill="black")
        left += 80
