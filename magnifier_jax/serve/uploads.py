"""Images that strangers send: bounded in bytes, in pixels and in the work that they make."""

from __future__ import annotations

import dataclasses

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import MagnifierError
from input_pipeline.images.codec import open_image, read_image_bytes

_SCANS = 100  # A progressive JPEG has about ten; each costs as much as decoding all pixels.
_START_OF_SCAN = b"\xff\xda"


class BadUploadError(MagnifierError):
    """An uploaded image cannot be used."""


@dataclasses.dataclass(frozen=True)
class UploadLimits:
    """What an upload may be.

    Attributes:
        bytes: Of the file.
        pixels: Width × height.
    """

    bytes: int = 10 * 2**20
    pixels: int = 24_000_000


def read_upload(
    data: bytes, *, image_size: tuple[int, int], limits: UploadLimits
) -> tuple[NDArray[np.uint8], tuple[int, int]]:
    """Decodes an uploaded image as the network sees it.

    Args:
        data: The file.
        image_size: Height and width of the result, in pixels.
        limits: What it may be.

    Returns:
        uint8 RGB `[H, W, 3]`, and the height and width that it had.

    Raises:
        BadUploadError: It is too large, is no image, or is not whole.
    """
    if not data:
        raise BadUploadError("The file is empty.")
    if len(data) > limits.bytes:
        raise BadUploadError(f"The file has more than {limits.bytes:,} bytes.")
    try:
        with open_image(data) as image:
            size, kind = (image.height, image.width), image.format
        if size[0] * size[1] > limits.pixels:
            raise BadUploadError(
                f"The image has {size[0] * size[1]:,} pixels, more than the {limits.pixels:,} "
                "that are allowed."
            )
        if kind == "JPEG" and data.count(_START_OF_SCAN) > _SCANS:
            raise BadUploadError("The JPEG has too many scans.")
        return read_image_bytes(data, image_size=image_size), size
    except BadUploadError:
        raise
    except Exception as error:  # Pillow raises whatever the decoder of the format raises.
        raise BadUploadError(f"The file cannot be read: {error}.") from error
