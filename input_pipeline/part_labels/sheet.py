"""A sheet of images beside their part maps, to look at before training."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline.dataset import BACKGROUND, PALETTE, PART_NAMES, ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.files import open_whole
from input_pipeline.images import encode_parts, open_image, open_rgb

_CELL = (96, 192)  # width and height of one image
_GAP = 8
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
    sheet = _draw([labeled[pick] for pick in picks], columns=columns)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open_whole(path) as file:
            sheet.save(file, format="PNG")
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


def _draw(samples: Sequence[Sample], *, columns: int) -> Image.Image:
    width, height = _CELL
    columns = min(columns, len(samples))
    rows = -(-len(samples) // columns)
    pair = 2 * width + _GAP
    legend = 24
    size = (max(columns * (pair + _GAP) + _GAP, 640), rows * (height + _GAP) + _GAP + legend)
    sheet = Image.new("RGB", size, "white")
    _draw_legend(sheet)
    for number, sample in enumerate(samples):
        left = _GAP + number % columns * (pair + _GAP)
        top = legend + _GAP + number // columns * (height + _GAP)
        image, drawn = _load(sample)
        sheet.paste(image.resize(_CELL), (left, top))
        sheet.paste(drawn.resize(_CELL, Image.Resampling.NEAREST), (left + width, top))
    return sheet


def _load(sample: Sample) -> tuple[Image.Image, Image.Image]:
    """The image, and the image with its parts drawn over it."""
    assert sample.part_map is not None
    culprit = sample.path
    try:
        image = open_rgb(sample.path)
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
