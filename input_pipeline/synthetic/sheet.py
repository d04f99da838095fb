"""A contact sheet: people across cameras with their part maps, look-alikes below each other."""

from __future__ import annotations

import pathlib

import numpy as np
from PIL import Image

from input_pipeline.dataset import PALETTE
from input_pipeline.errors import DataError
from input_pipeline.images.integrity import open_image
from input_pipeline.synthetic.plan import TRAIN
from input_pipeline.synthetic.settings import SETTINGS_FILE, read_settings
from input_pipeline.synthetic.worker import part_root

_GAP = 4
_PAPER = 255


def contact_sheet(
    root: pathlib.Path,
    output: pathlib.Path,
    *,
    people: int = 8,
    columns: int = 6,
    height: int = 128,
) -> None:
    """Writes a sheet of training people, one in each row, look-alikes below each other.

    Two people of each group are shown. Every image has its part map at its right, in the
    colors of `PALETTE`.

    Args:
        root: A dataset of `generate`.
        output: The sheet, `.png` or `.jpg`.
        people: Number of people shown.
        columns: Images of each, taken evenly over what there is.
        height: Height of an image on the sheet, in pixels.

    Raises:
        DataError: `root` has no training images, or `output` has another suffix.
    """
    if output.suffix.lower() not in (".png", ".jpg", ".jpeg"):
        raise DataError(f"{output} is no image name: end it in .png or .jpg")
    of_person: dict[str, list[pathlib.Path]] = {}
    for path in sorted((root / TRAIN).glob("*.jpg")):
        of_person.setdefault(path.name.split("_")[0], []).append(path)
    if not of_person:
        raise DataError(f"{root / TRAIN} has no images: render the dataset first")
    group = read_settings(root / SETTINGS_FILE).look_alikes
    shown = [paths for index, paths in enumerate(of_person.values()) if index % group < 2]
    rows = [_row(root, paths, columns, height) for paths in shown[:people]]
    width = max(row.shape[1] for row in rows)
    sheet = [
        np.pad(row, ((0, _GAP), (0, width - row.shape[1]), (0, 0)), constant_values=_PAPER)
        for row in rows
    ]
    output.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(np.concatenate(sheet)[:-_GAP]).save(output, quality=88)


def _row(root: pathlib.Path, paths: list[pathlib.Path], columns: int, height: int) -> np.ndarray:
    """Images and part maps of one person side by side, uint8 `[height, w, 3]`."""
    chosen = np.linspace(0, len(paths) - 1, min(columns, len(paths))).round().astype(int)
    tiles: list[np.ndarray] = []
    for index in chosen:
        path = paths[index]
        with open_image(path) as image:
            size = (round(height * image.width / image.height), height)
            tiles.append(np.asarray(image.resize(size, Image.Resampling.LANCZOS)))
        with open_image(part_root(root) / TRAIN / f"{path.stem}.png") as part_map:
            parts = np.asarray(part_map.resize(size, Image.Resampling.NEAREST))
        tiles += [PALETTE[parts], np.full((height, _GAP, 3), _PAPER, np.uint8)]
    return np.concatenate(tiles[:-1], axis=1)
