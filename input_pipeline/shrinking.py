"""Pictures that have to shrink: Pillow's threads decode them into the batch that they are part of.

TensorFlow's antialiased resizing gives the same numbers in twice the time. Pillow called by
TensorFlow would wait for Python's lock more than it works, and pixels handed to TensorFlow would be
copied several times.
"""

from __future__ import annotations

import dataclasses
import io
from collections.abc import Mapping, Sequence
from concurrent.futures import Executor, Future

import numpy as np
from PIL import Image

from input_pipeline.decode import decode_parts, resize_image
from input_pipeline.errors import DataError
from input_pipeline.records import EncodedSample


@dataclasses.dataclass(frozen=True, eq=False)
class ShrinkingPictures:
    """The pictures of a batch that have to shrink, while threads decode them.

    Attributes:
        images: RGB, uint8 `[N, H, W, 3]`; undefined where no picture shrinks.
        parts: Part classes, uint8 `[N, H, W]`, or None when not asked for.
        tasks: What is being decoded, by place in the batch.
    """

    images: np.ndarray
    parts: np.ndarray | None
    tasks: Mapping[int, Future[None]]

    def join(
        self, images: np.ndarray, parts: np.ndarray | None
    ) -> tuple[np.ndarray, np.ndarray | None]:
        """Waits for the threads, and takes the pictures that do not shrink from the arguments.

        Args:
            images: RGB, uint8 `[N, H, W, 3]`; not read if all pictures shrink.
            parts: Part classes, uint8 `[N, H, W]`, or None when not asked for.

        Returns:
            All images and their part classes, shaped like the attributes and read-only.

        Raises:
            DataError: A picture or a part map cannot be decoded.
        """
        if not self.tasks:
            return images, parts
        try:
            for task in self.tasks.values():
                task.result()
        except (OSError, SyntaxError) as error:  # Pillow raises the latter for a bad PNG
            raise undecodable(error) from error
        for place in set(range(len(self.images))) - self.tasks.keys():
            self.images[place] = images[place]
            if self.parts is not None and parts is not None:
                self.parts[place] = parts[place]
        for array in (self.images, self.parts):
            if array is not None:
                array.flags.writeable = False
        return self.images, self.parts


def start_shrinking(
    samples: Sequence[EncodedSample], *, image_size: tuple[int, int], parts: bool, pool: Executor
) -> ShrinkingPictures:
    """Lets the threads of `pool` decode what has to shrink in height or in width.

    Args:
        samples: The pictures of a batch.
        image_size: Height and width of the result, in pixels.
        parts: Whether to decode part maps too.
        pool: Threads.

    Raises:
        DataError: A picture has no header that can be read.
    """
    height, width = image_size
    # Memory that no picture is written to is never touched, and so costs nothing.
    images = np.empty((len(samples), height, width, 3), np.uint8)
    maps = np.empty((len(samples), height, width), np.uint8) if parts else None

    def decode(place: int, image: Image.Image, part_map: bytes) -> None:
        with image:
            images[place] = resize_image(image, image_size=image_size)
        if maps is not None:
            maps[place] = decode_parts(part_map, image_size=image_size)

    tasks = {}
    for place, sample in enumerate(samples):
        try:
            image = Image.open(io.BytesIO(sample.image))  # reads no more than the header
        except OSError as error:
            raise undecodable(error) from error
        if image.height > height or image.width > width:
            tasks[place] = pool.submit(decode, place, image, sample.part_map or b"")
    return ShrinkingPictures(images, maps, tasks)


def undecodable(error: Exception) -> DataError:
    """The error that says that a prepared picture is damaged."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        "a prepared picture cannot be decoded: delete the prepared dataset so that it is made "
        f"again ({reason})"
    )
