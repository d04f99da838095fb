"""Image files and part maps: read whole, encoded for a prepared dataset, decoded to arrays.

Every image is encoded as an upright 8-bit RGB JPEG or PNG and every part map as an 8-bit
single-channel PNG, so that the loaders need to know nothing else. What already is that stays as it
is, byte by byte; anything else is re-encoded without loss.
"""

from __future__ import annotations

import dataclasses
import io
import pathlib
import struct
import zlib
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from input_pipeline.dataset import NUM_PARTS

# --- Encoding -------------------------------------------------------------------------------------


MIN_SIDE = 8  # pixels; a smaller picture shows nobody
_ORIENTATION = 0x0112  # EXIF tag
_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_PNG_GREY, _PNG_RGB = 0, 2  # colour types in the header of a PNG


def encode_image(path: pathlib.Path) -> tuple[bytes, tuple[int, int]]:
    """Reads a picture, proves that all of it decodes, and returns it as RGB JPEG or PNG.

    Args:
        path: A picture in any format that Pillow reads: grey, palette, RGBA (its transparency is
            dropped), CMYK and 16-bit ones become 8-bit RGB, and EXIF rotation is applied.

    Returns:
        The encoded picture, and its (height, width) in pixels.

    Raises:
        ValueError: If the file is not a whole picture; the message is the reason alone.
    """
    data = _read(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            image.load()
            if image.format == "PNG":
                check_png(data)
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            if upright and image.mode == "RGB" and _is_plain(data, image.format, _PNG_RGB):
                return data, (image.height, image.width)
            rgb = _to_rgb(image if upright else ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow raises whatever the decoder of the format raises
        raise ValueError(_reason(error)) from error
    return _to_png(rgb), (rgb.height, rgb.width)


def check_size(size: tuple[int, int]) -> None:
    """Refuses a picture that is too small to show a person.

    Args:
        size: (height, width) in pixels.

    Raises:
        ValueError: If a side is shorter than `MIN_SIDE`; the message is the reason alone.
    """
    if min(size) < MIN_SIDE:
        raise ValueError(
            f"the picture is {size[0]} × {size[1]} (height × width), too small to show a person: "
            f"each side needs {MIN_SIDE} pixels"
        )


@dataclasses.dataclass(frozen=True)
class EncodedParts:
    """A part map.

    Attributes:
        data: 8-bit single-channel PNG.
        num_parts: Number of classes that it takes: its largest one plus 1.
    """

    data: bytes
    num_parts: int


def encode_parts(
    path: pathlib.Path, *, size: tuple[int, int], num_parts: int = NUM_PARTS
) -> EncodedParts:
    """Reads a part map, checks it, and returns it as 8-bit single-channel PNG.

    Args:
        path: A single-channel picture of class numbers; of a palette picture the indices count.
        size: (height, width) of the upright picture that it belongs to.
        num_parts: Number of classes that it may have, at most 256.

    Returns:
        The encoded part map.

    Raises:
        ValueError: If it is not such a picture, of another size, or has a class out of range; the
            message is the reason alone.
    """
    data = _read(path)
    try:
        with Image.open(io.BytesIO(data)) as image:
            classes = np.asarray(image)
            if image.format == "PNG":
                check_png(data)
            plain = image.mode == "L" and _is_plain(data, image.format, _PNG_GREY)
    except Exception as error:  # as above
        raise ValueError(_reason(error)) from error
    if classes.ndim != 2:
        raise ValueError(f"a part map has one channel of class numbers, this has {classes.shape}")
    if classes.shape != size:
        raise ValueError(
            f"the part map is {classes.shape[0]} × {classes.shape[1]} but its picture is "
            f"{size[0]} × {size[1]} (height × width)"
        )
    if classes.max() >= num_parts or classes.min() < 0:
        raise ValueError(
            f"classes must be 0 to {num_parts - 1}, found {classes.min()} to {classes.max()}: "
            "convert the part maps first"
        )
    if not plain:
        data = _to_png(Image.fromarray(classes.astype(np.uint8)))
    return EncodedParts(data, int(classes.max()) + 1)


def _read(path: pathlib.Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if not data:
        raise ValueError("the file is empty")
    return data


def _is_plain(data: bytes, file_format: str | None, png_colour: int) -> bool:
    """Whether a decoder finds 8 bits a channel and the channels that Pillow's mode tells."""
    if file_format == "PNG":
        return data[24] == 8 and data[25] == png_colour
    return file_format == "JPEG" and png_colour == _PNG_RGB


def _to_rgb(image: Image.Image) -> Image.Image:
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("pixels of more than 16 bits are not supported")
        image = Image.fromarray((values >> 8).astype(np.uint8))
    if image.mode == "F":
        raise ValueError("pixels that are floating-point numbers are not supported")
    return image.convert("RGB")


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


def _reason(error: Exception) -> str:
    if isinstance(error, Image.UnidentifiedImageError):
        return "not a picture in a known format"
    return " ".join(str(error).split()) or type(error).__name__


# --- Decoding -------------------------------------------------------------------------------------


def decode_image(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Decodes an RGB picture and resizes it bilinearly, antialiased when it shrinks.

    Args:
        data: JPEG or PNG of 8-bit RGB, as a prepared split stores it.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    with Image.open(io.BytesIO(data)) as image:
        return resize_image(image, image_size=image_size)


def resize_image(image: Image.Image, *, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes an opened RGB picture bilinearly, antialiased when it shrinks.

    Args:
        image: 8-bit RGB.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    height, width = image_size
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def decode_parts(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Decodes a part map and resizes it by true nearest neighbour, so that no class is invented.

    Args:
        data: Single-channel 8-bit PNG, as a prepared split stores it.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W]`.
    """
    with Image.open(io.BytesIO(data)) as image:
        classes = np.asarray(image)
    rows, columns = (
        nearest_indices(source, target, np.arange(target))
        for source, target in zip(classes.shape, image_size, strict=True)
    )
    # Two gathers are several times as fast as one over both axes.
    return classes.take(rows, axis=0).take(columns, axis=1)


def nearest_indices(source: Any, target: int, pixels: Any) -> Any:
    """Index of the source pixel under the centre of each target pixel.

    floor((i + 1/2) · source / target), in whole numbers, so that every loader picks the same one.

    Args:
        source: Length of the source, in pixels.
        target: Length of the target, in pixels.
        pixels: 0, 1, … target − 1 as NumPy array or tensor, `[target]`.

    Returns:
        Like `pixels`.
    """
    return (2 * pixels + 1) * source // (2 * target)


# --- PNG ------------------------------------------------------------------------------------------


_SIGNATURE = 8  # bytes before the first chunk
_AROUND = 12  # bytes of a chunk besides its content: length, kind and checksum


def check_png(data: bytes) -> None:
    """Refuses a PNG that is cut off or damaged anywhere.

    Pillow is content once it has all pixels, and does not look at their checksums; TensorFlow
    wants every chunk, and would refuse in the middle of training what Pillow took.

    Args:
        data: A file that begins as a PNG does. What follows the last chunk does not matter.

    Raises:
        ValueError: If a chunk is missing or its checksum is wrong; the message is the reason alone.
    """
    view, start, kind = memoryview(data), _SIGNATURE, b""
    while kind != b"IEND":
        if start + _AROUND > len(data):
            raise ValueError("the PNG is truncated")
        length, kind = struct.unpack_from(">I4s", data, start)
        end = start + _AROUND + length
        if end > len(data):
            raise ValueError("the PNG is truncated")
        (checksum,) = struct.unpack_from(">I", data, end - 4)
        if zlib.crc32(view[start + 4 : end - 4]) != checksum:
            raise ValueError(f"the PNG is damaged: a checksum is wrong after byte {start}")
        start = end


def read_image(path: pathlib.Path, *, image_size: tuple[int, int]) -> np.ndarray:
    """Reads any picture as the training's loaders would.

    Args:
        path: A picture in any format that Pillow reads; EXIF rotation is applied.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        ValueError: It is not a whole picture or too small; the message is the reason alone.
    """
    data, size = encode_image(path)
    check_size(size)
    return decode_image(data, image_size=image_size)
