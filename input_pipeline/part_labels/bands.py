"""Fixed body bands: a stand-in for part labels that knows nothing of the image."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import pathlib
import warnings
from collections.abc import Iterable

import numpy as np

from input_pipeline.dataset import (
    FOOT,
    HEAD,
    LOWER_ARM,
    LOWER_LEG,
    TORSO,
    UPPER_ARM,
    UPPER_LEG,
    ReidDataset,
    Sample,
)
from input_pipeline.errors import DataError
from input_pipeline.images.integrity import open_image
from input_pipeline.part_labels.label_maps import write_parts

_ORIENTATION = 0x0112  # EXIF tag; values from 5 on exchange width and height.
# Class, then top, bottom, left and right as shares of the image, of a person who stands in it.
_BANDS = (
    (HEAD, 0.00, 0.16, 0.30, 0.70),
    (UPPER_ARM, 0.17, 0.33, 0.12, 0.88),
    (LOWER_ARM, 0.33, 0.50, 0.10, 0.90),
    (TORSO, 0.16, 0.50, 0.27, 0.73),
    (UPPER_LEG, 0.50, 0.70, 0.22, 0.78),
    (LOWER_LEG, 0.70, 0.92, 0.24, 0.76),
    (FOOT, 0.92, 1.00, 0.22, 0.78),
)


def draw_bands(height: int, width: int) -> np.ndarray:
    """The part map of every image of this size, uint8 `[height, width]`."""
    parts = np.zeros((height, width), np.uint8)
    for part, top, bottom, left, right in _BANDS:
        rows = slice(round(height * top), round(height * bottom))
        parts[rows, round(width * left) : round(width * right)] = part
    return parts


def with_bands(dataset: ReidDataset, *, cache_dir: pathlib.Path) -> ReidDataset:
    """Gives every training image the fixed bands as its part map, and warns that it does.

    Query and gallery get none: bands are no truth to compare with. Images that cannot be opened
    get none either; preparation names them.

    Args:
        dataset: Any reader's output.
        cache_dir: Where the part maps are written, one for each size of image.

    Raises:
        DataError: They cannot be written.
    """
    warnings.warn(
        f"{dataset.name} is trained with fixed body bands instead of part labels: a stand-in that "
        "ignores pose; part labels 'drawn', made by the parser of this package, follow it",
        stacklevel=2,
    )
    with concurrent.futures.ThreadPoolExecutor() as pool:
        sizes = list(pool.map(_upright_size, (sample.path for sample in dataset.train)))
    maps = {size: cache_dir / f"{size[1]}x{size[0]}.png" for size in _known(sizes)}
    try:
        for (height, width), path in maps.items():
            if not path.exists():
                write_parts(draw_bands(height, width), path)
    except OSError as error:
        raise DataError(
            f"part maps cannot be written into {cache_dir}: {error.strerror or error}; choose "
            "another folder or free some space"
        ) from error

    def banded(sample: Sample, size: tuple[int, int] | None) -> Sample:
        return dataclasses.replace(sample, part_map=maps[size] if size else None)

    return dataclasses.replace(
        dataset,
        train=tuple(map(banded, dataset.train, sizes)),
        query=tuple(dataclasses.replace(sample, part_map=None) for sample in dataset.query),
        gallery=tuple(dataclasses.replace(sample, part_map=None) for sample in dataset.gallery),
    )


def _known(sizes: Iterable[tuple[int, int] | None]) -> set[tuple[int, int]]:
    return {size for size in sizes if size is not None}


def _upright_size(path: pathlib.Path) -> tuple[int, int] | None:
    """(height, width) after EXIF rotation, or None where the file is no image."""
    try:
        with open_image(path) as image:
            turned = image.getexif().get(_ORIENTATION, 1) >= 5
            return (image.width, image.height) if turned else (image.height, image.width)
    except Exception:  # Pillow raises whatever the decoder of the format raises
        return None
