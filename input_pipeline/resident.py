"""A whole split decoded once, to be kept on the devices. Needs no TensorFlow."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import os

import numpy as np
import tqdm

from input_pipeline.decode import decode_image, decode_parts
from input_pipeline.prepared import PreparedSplit

_CHUNK = 64  # pictures that one task reads and decodes


@dataclasses.dataclass(frozen=True, eq=False)
class DecodedSplit:
    """Every picture of a split at one size, on the host.

    Attributes:
        images: RGB, uint8 `[n, H, W, 3]`.
        parts: Part class of every pixel, uint8 `[n, H, W]`, or None when not asked for.
    """

    images: np.ndarray
    parts: np.ndarray | None


def decode_split(
    split: PreparedSplit,
    *,
    image_size: tuple[int, int],
    parts: bool = True,
    workers: int | None = None,
    progress: bool = True,
) -> DecodedSplit:
    """Decodes and resizes all pictures of a split.

    Args:
        split: The prepared split.
        image_size: Height and width of the result, in pixels.
        parts: Whether to decode part maps too.
        workers: Number of threads; None is one per processor.
        progress: Whether to show a progress bar.

    Returns:
        The pictures in the order of the split, and their part maps.

    Raises:
        DataError: If part maps are asked for and a picture has none.
    """
    if parts:
        split.require_parts()
    images = np.empty((len(split), *image_size, 3), np.uint8)
    maps = np.empty((len(split), *image_size), np.uint8) if parts else None

    def decode(start: int) -> int:
        ids = range(start, min(start + _CHUNK, len(split)))
        for i, sample in zip(ids, split.read(ids), strict=True):
            images[i] = decode_image(sample.image, image_size=image_size)
            if maps is not None and sample.part_map is not None:
                maps[i] = decode_parts(sample.part_map, image_size=image_size)
        return len(ids)

    with (
        tqdm.tqdm(total=len(split), desc="Decoding", unit="image", disable=not progress) as bar,
        concurrent.futures.ThreadPoolExecutor(workers or os.cpu_count()) as pool,
    ):
        tasks = [pool.submit(decode, start) for start in range(0, len(split), _CHUNK)]
        try:
            for task in concurrent.futures.as_completed(tasks):
                bar.update(task.result())
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return DecodedSplit(images, maps)
