"""Image files and part maps: read whole, encoded for a prepared dataset, decoded.

Every image is encoded as an upright 8-bit RGB JPEG or PNG and every part map as an 8-bit
single-channel PNG, so that the loaders need to know nothing else. What already is that stays as it
is, byte by byte; anything else is re-encoded without loss.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import os
import pathlib
from typing import Any

import numpy as np
from PIL import Image, ImageOps

from input_pipeline.dataset import NUM_PARTS
from input_pipeline.errors import reason_of
from input_pipeline.images.integrity import check_whole, open_image

MIN_SIDE = 8  # pixels; a smaller image shows nobody
_ORIENTATION = 0x0112  # EXIF tag
_BITS_PER_SAMPLE = 258  # TIFF tag
_SIXTEEN_BIT = frozenset({"I", "I;16", "I;16L", "I;16B", "I;16N"})
_PNG_GRAY, _PNG_RGB = 0, 2  # color types in the header of a PNG
_FEW_LEVELS = 32  # gray levels; an image of fewer shows too little
_DIM = 64  # of 256 levels


# --- Files --------------------------------------------------------------------------------------


def relative_name(path: pathlib.Path, *, root: pathlib.Path) -> str:
    """`path` relative to the dataset's root, with forward slashes."""
    # For a hundred thousand files os.path.relpath alone would take a second.
    text, above = str(path), f"{root}{os.sep}"
    name = text[len(above) :] if text.startswith(above) else os.path.relpath(path, root)
    return pathlib.PurePath(name).as_posix()


def open_rgb(path: pathlib.Path) -> Image.Image:
    """Opens an image file as the network sees it: upright 8-bit RGB, and whole.

    Raises:
        ValueError: It is not a whole image; the message is the reason alone.
    """
    with open_image(encode_image(path).data) as image:
        return image.convert("RGB")


def read_image(path: pathlib.Path, *, image_size: tuple[int, int]) -> np.ndarray:
    """Reads an image file as the training's loaders would.

    Args:
        path: As for `encode_image`.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        ValueError: It is not a whole image or too small; the message is the reason alone.
    """
    return read_image_bytes(_read(path), image_size=image_size)


def read_image_bytes(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Reads the content of an image file as `read_image` reads the file.

    Args:
        data: The content of a file as for `encode_image`.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        ValueError: It is not a whole image or too small; the message is the reason alone.
    """
    encoded = _encode(data)
    check_size(encoded.size)
    return decode_image(encoded.data, image_size=image_size)


# --- Encoding -----------------------------------------------------------------------------------


@dataclasses.dataclass(frozen=True)
class EncodedImage:
    """An image.

    Attributes:
        data: 8-bit RGB JPEG or PNG.
        size: (height, width) in pixels.
        levels: The lowest and the highest value that became 0 to 255, for a file of one channel of
            16 bits; None for others.
        is_dim: Whether it has colors of 16 bits and uses less than 64 of the 256 levels.
    """

    data: bytes
    size: tuple[int, int]
    levels: tuple[int, int] | None = None
    is_dim: bool = False


@dataclasses.dataclass(frozen=True)
class EncodedParts:
    """A part map.

    Attributes:
        data: 8-bit single-channel PNG.
        num_parts: Number of classes that it takes: its largest one plus 1.
        pixels: Pixels of each class up to `num_parts`, if they were counted.
    """

    data: bytes
    num_parts: int
    pixels: tuple[int, ...] = dataclasses.field(default=(), compare=False)


@dataclasses.dataclass(frozen=True)
class Proven:
    """What a file was encoded to when all of it was decoded.

    Attributes:
        digest: Of the encoded data, which is that of the file where it was kept as it is.
        size: (height, width) in pixels.
        num_parts: Number of classes of a part map; 0 for an image.
    """

    digest: bytes
    size: tuple[int, int]
    num_parts: int = 0


def digest(data: bytes) -> bytes:
    """16 bytes that no two different files have in common."""
    return hashlib.blake2b(data, digest_size=16).digest()


def encode_image(path: pathlib.Path, *, proven: Proven | None = None) -> EncodedImage:
    """Reads an image, proves that all of it decodes, and returns it as RGB JPEG or PNG.

    Gray, palette, RGBA (its transparency is dropped), CMYK and 16-bit images become 8-bit RGB, and
    EXIF rotation is applied.

    Args:
        path: An image in one of the `FORMATS`, whatever its name.
        proven: What an earlier call found; a file that is still the same need not be decoded.

    Raises:
        ValueError: If the file is not a whole image; the message is the reason alone.
    """
    data = _read(path)
    if proven is not None and digest(data) == proven.digest:
        return EncodedImage(data, proven.size)
    return _encode(data)


def _encode(data: bytes) -> EncodedImage:
    try:
        with open_image(data) as image:
            if not check_whole(data) or image.mode != "RGB":
                image.load()
            upright = image.getexif().get(_ORIENTATION, 1) == 1
            if upright and image.mode == "RGB" and _is_plain(data, image.format, _PNG_RGB):
                return EncodedImage(data, (image.height, image.width))
            has_deep_colors = _has_deep_colors(image, data)
            rgb, levels = _to_rgb(image if upright else ImageOps.exif_transpose(image))
    except Exception as error:  # Pillow raises whatever the decoder of the format raises
        raise ValueError(reason_of(error)) from error
    is_dim = has_deep_colors and levels is None and int(np.asarray(rgb).max()) < _DIM
    return EncodedImage(_to_png(rgb), (rgb.height, rgb.width), levels, is_dim)


def check_size(size: tuple[int, int]) -> None:
    """Refuses an image that is too small to show a person.

    Args:
        size: (height, width) in pixels.

    Raises:
        ValueError: If a side is shorter than `MIN_SIDE`; the message is the reason alone.
    """
    if min(size) < MIN_SIDE:
        raise ValueError(
            f"the image is {size[0]} × {size[1]} (height × width), too small to show a person: "
            f"each side needs {MIN_SIDE} pixels"
        )


def encode_parts(
    path: pathlib.Path,
    *,
    size: tuple[int, int],
    num_parts: int = NUM_PARTS,
    proven: Proven | None = None,
) -> EncodedParts:
    """Reads a part map, checks it, and returns it as 8-bit single-channel PNG.

    Args:
        path: A single-channel image of class numbers; of a palette image the indices count.
        size: (height, width) of the upright image that it belongs to.
        num_parts: Number of classes that it may have, at most 256.
        proven: As for `encode_image`.

    Raises:
        ValueError: If it is not such an image, of another size, or has a class out of range; the
            message is the reason alone.
    """
    data = _read(path)
    if proven is not None and (proven.size != size or proven.num_parts > num_parts):
        proven = None
    if proven is not None and digest(data) == proven.digest:
        return EncodedParts(data, proven.num_parts)
    classes, plain = _read_classes(data)
    if classes.ndim != 2:
        raise ValueError(f"a part map has one channel of class numbers, this has {classes.shape}")
    if classes.shape != size:
        raise ValueError(
            f"the part map is {classes.shape[0]} × {classes.shape[1]} but its image is "
            f"{size[0]} × {size[1]} (height × width)"
        )
    if classes.max() >= num_parts or classes.min() < 0:
        raise ValueError(
            f"classes must be 0 to {num_parts - 1}, found {classes.min()} to {classes.max()}: "
            "convert the part maps first"
        )
    if not plain:
        data = _to_png(Image.fromarray(classes.astype(np.uint8)))
    pixels = np.bincount(classes.reshape(-1).astype(np.int64))
    return EncodedParts(data, len(pixels), tuple(pixels.tolist()))


def read_classes(path: pathlib.Path) -> np.ndarray:
    """Reads the pixels of a whole label map; of a palette image the indices.

    Returns:
        `[H, W]`, or with channels if the file has them.

    Raises:
        ValueError: If the file is not a whole image; the message is the reason alone.
    """
    return _read_classes(_read(path))[0]


def _read_classes(data: bytes) -> tuple[np.ndarray, bool]:
    """The pixels, and whether the data is an 8-bit single-channel PNG."""
    try:
        with open_image(data) as image:
            classes = np.asarray(image)
            check_whole(data)
            return classes, image.mode == "L" and _is_plain(data, image.format, _PNG_GRAY)
    except Exception as error:  # Pillow raises whatever the decoder of the format raises
        raise ValueError(reason_of(error)) from error


def _read(path: pathlib.Path) -> bytes:
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ValueError(error.strerror or str(error)) from error
    if not data:
        raise ValueError("the file is empty")
    return data


def _is_plain(data: bytes, file_format: str | None, png_color: int) -> bool:
    """Whether a decoder finds 8 bits a channel and the channels that Pillow's mode tells."""
    if file_format == "PNG":
        return data[24] == 8 and data[25] == png_color
    return file_format == "JPEG" and png_color == _PNG_RGB


def _has_deep_colors(image: Image.Image, data: bytes) -> bool:
    """Whether Pillow reduced channels of 16 bits, which it does for all but single ones."""
    if image.format == "PNG":
        return data[24] == 16
    bits = getattr(image, "tag_v2", {}).get(_BITS_PER_SAMPLE, 8)
    return max(bits if isinstance(bits, tuple) else (bits,)) == 16


def _to_rgb(image: Image.Image) -> tuple[Image.Image, tuple[int, int] | None]:
    """An 8-bit RGB image, and the values that became 0 to 255 if it was gray of 16 bits."""
    if image.mode in _SIXTEEN_BIT:
        values = np.asarray(image).astype(np.int64)
        if values.min() < 0 or values.max() > 0xFFFF:
            raise ValueError("pixels of more than 16 bits are not supported")
        gray, levels = _to_eight_bits(values)
        return Image.fromarray(gray).convert("RGB"), levels
    if image.mode == "F":
        raise ValueError("pixels that are floating-point numbers are not supported")
    return image.convert("RGB"), None


def _to_eight_bits(values: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """Maps up to 16 bits to 8, and tells the values that became 0 and 255.

    The upper 8 bits of what the image uses: cameras of 10, 12 and 14 bits leave the rest at zero.
    An image that would keep too few gray levels, as one of temperatures, is stretched instead.
    """
    low, high = int(values.min()), int(values.max())
    # Bits of the sensor that the highest value speaks for: 8, 10, 12, 14 or 16.
    depth = max(8, (high.bit_length() + 1) // 2 * 2)
    shift = depth - 8
    kept = (high >> shift) - (low >> shift) + 1
    if kept < _FEW_LEVELS <= high - low:
        stretched = (values - low) * 255 // (high - low)
        return stretched.astype(np.uint8), (low, high)
    return (values >> shift).astype(np.uint8), (0, (1 << depth) - 1)


def upright_rgb(image: Image.Image) -> Image.Image:
    """An opened image as its file would be read: upright, in 8-bit RGB.

    Raises:
        ValueError: It cannot be read as such; the message is the reason alone.
    """
    try:
        rgb, _ = _to_rgb(ImageOps.exif_transpose(image))
        return rgb
    except Exception as error:  # as above
        raise ValueError(reason_of(error)) from error


def _to_png(image: Image.Image) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "PNG")
    return buffer.getvalue()


# --- Decoding -------------------------------------------------------------------------------------


def decode_image(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Decodes an RGB image and resizes it bilinearly, antialiased when it shrinks.

    Args:
        data: JPEG or PNG of 8-bit RGB, as a prepared split stores it.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    with open_image(data) as image:
        return resize_image(image, image_size=image_size)


def resize_image(image: Image.Image, *, image_size: tuple[int, int]) -> np.ndarray:
    """Resizes an opened RGB image bilinearly, antialiased when it shrinks.

    Args:
        image: 8-bit RGB.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W, 3]`.
    """
    height, width = image_size
    return np.asarray(image.resize((width, height), Image.Resampling.BILINEAR))


def decode_parts(data: bytes, *, image_size: tuple[int, int]) -> np.ndarray:
    """Decodes a part map and resizes it by true nearest neighbor, so that no class is invented.

    Args:
        data: Single-channel 8-bit PNG, as a prepared split stores it.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 `[H, W]`.
    """
    with open_image(data) as image:
        classes = np.asarray(image)
    rows, columns = (
        nearest_indices(source, target, np.arange(target))
        for source, target in zip(classes.shape, image_size, strict=True)
    )
    # Two gathers are several times as fast as one over both axes.
    return classes.take(rows, axis=0).take(columns, axis=1)


def nearest_indices(source: Any, target: int, pixels: Any) -> Any:
    """Index of the source pixel under the center of each target pixel.

    floor((i + 1/2) · source / target), in whole numbers, so that every loader picks the same one.

    Args:
        source: Length of the source, in pixels.
        target: Length of the target, in pixels.
        pixels: 0, 1, … target − 1 as NumPy array or tensor, `[target]`.

    Returns:
        Like `pixels`.
    """
    return (2 * pixels + 1) * source // (2 * target)
