"""A sheet of pictures beside their part maps, to look at before training."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np
from PIL import Image, ImageDraw

from input_pipeline.dataset import BACKGROUND, PALETTE, PART_NAMES, ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.images import encode_image, encode_parts, open_image

_CELL = (96, 192)  # width and height of one picture
_GAP = 8
_OPACITY = 0.55


def write_sheet(
    dataset: ReidDataset, path: pathlib.Path, *, count: int = 32, columns: int = 8
) -> None:
    """Writes pictures and their part maps, drawn over them, side by side into one PNG.

    Args:
        dataset: Its labelled pictures are taken at even distances, training first.
        path: The PNG to write.
        count: How many pictures.
        columns: How many in a row.

    Raises:
        DataError: No picture has a part map, a file cannot be used, or the PNG cannot be written.
    """
    labelled = [
        sample
        for sample in (*dataset.train, *dataset.query, *dataset.gallery)
        if sample.part_map is not None
    ]
    if not labelled:
        raise DataError(f"{dataset.name} has no part maps to look at: add part labels first")
    picks = np.unique(np.linspace(0, len(labelled) - 1, count).round().astype(int))
    sheet = _draw([labelled[pick] for pick in picks], columns=columns)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        sheet.save(path, format="PNG")
    except OSError as error:
        raise DataError(f"{path} cannot be written: {error.strerror or error}") from error


def overlay(picture: Image.Image, parts: np.ndarray) -> Image.Image:
    """The picture with the colours of its parts laid over it; the background stays as it is.

    Args:
        picture: RGB.
        parts: uint8 `[H, W]`, as large as the picture.
    """
    pixels = np.asarray(picture, np.float32)
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
        picture, drawn = _load(sample)
        sheet.paste(picture.resize(_CELL), (left, top))
        sheet.paste(drawn.resize(_CELL, Image.Resampling.NEAREST), (left + width, top))
    return sheet


def _load(sample: Sample) -> tuple[Image.Image, Image.Image]:
    assert sample.part_map is not None
    culprit = sample.path
    try:
        encoded = encode_image(sample.path)
        culprit = sample.part_map
        parts = encode_parts(sample.part_map, size=encoded.size)
    except ValueError as error:
        raise DataError(f"{culprit}: {error}") from error
    with open_image(encoded.data) as image:
        picture = image.convert("RGB")
    with open_image(parts.data) as image:
        return picture, overlay(picture, np.asarray(image))


def _draw_legend(sheet: Image.Image) -> None:
    pen = ImageDraw.Draw(sheet)
    left = _GAP
    for name, color in zip(PART_NAMES, PALETTE.tolist(), strict=True):
        pen.rectangle((left, _GAP, left + 12, _GAP + 12), fill=tuple(color))
        pen.text((left + 16, _GAP), name, fill="black")
        left += 80
