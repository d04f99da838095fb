"""Opening image files from anywhere: of known formats, of bounded size, and whole.

Image libraries open formats that start programs, and fill in what is missing without a word. No
other module opens image files.
"""

from __future__ import annotations

import dataclasses
import functools
import importlib
import io
import logging
import os
import re
import struct
import warnings
import zlib
from collections.abc import Iterator, Mapping
from typing import Any

# Imported one by one, so that Pillow need not load its other formats to find these.
from PIL import (  # noqa: F401
    BmpImagePlugin,
    Image,
    JpegImagePlugin,
    PngImagePlugin,
    TiffImagePlugin,
    WebPImagePlugin,
)

from input_pipeline.errors import UserError

simplejpeg: Any
try:
    simplejpeg = importlib.import_module("simplejpeg")
except ImportError:  # There are no wheels for a few platforms.
    simplejpeg = None

FORMATS = ("JPEG", "PNG", "BMP", "TIFF", "WEBP")
"""Formats that are opened, by their contents; some others that Pillow knows start programs."""
MAX_PIXELS = 80_000_000
"""Pixels of the largest image that is opened, unless `MAGNIFIER_MAX_PIXELS` says otherwise."""
_BOUND = "MAGNIFIER_MAX_PIXELS"
_PNG, _JPEG = b"\x89PNG\r\n\x1a\n", b"\xff\xd8"

# It is refused by its size here; Pillow would say so a second time.
warnings.filterwarnings("ignore", category=Image.DecompressionBombWarning)


def max_pixels() -> int:
    """Pixels of the largest image that is opened; the environment may set another bound.

    Raises:
        UserError: `MAGNIFIER_MAX_PIXELS` is not a whole number above 0.
    """
    text = os.environ.get(_BOUND)
    if not text:
        return MAX_PIXELS
    try:
        bound = int(text)
    except ValueError:
        bound = 0
    if bound < 1:
        raise UserError(f"{_BOUND} is {text!r}: set it to a number of pixels, such as {MAX_PIXELS}")
    return bound


def set_max_pixels(bound: int) -> None:
    """Sets the pixels of the largest image that is opened, in this process and those it starts.

    Raises:
        UserError: `bound` is not above 0.
    """
    if bound < 1:
        raise UserError(f"the largest image needs at least 1 pixel, got {bound}")
    os.environ[_BOUND] = str(bound)


def open_image(source: bytes | str | os.PathLike[str]) -> Image.Image:
    """Opens an image of one of the `FORMATS`, reading no more than its header.

    Args:
        source: A file, or its content.

    Returns:
        The image, to be used as a context manager.

    Raises:
        ValueError: It is no such image or has more than `max_pixels()` pixels; the message is the
            reason alone.
        OSError: The file cannot be read.
    """
    bound = max_pixels()
    if Image.MAX_IMAGE_PIXELS is not None and bound > Image.MAX_IMAGE_PIXELS:
        Image.MAX_IMAGE_PIXELS = bound  # A person asked for it.
    file = io.BytesIO(source) if isinstance(source, bytes) else source
    try:
        image = Image.open(file, formats=FORMATS)
    except Image.UnidentifiedImageError:
        raise ValueError("not an image in a known format (JPEG, PNG, BMP, TIFF, WebP)") from None
    except (Image.DecompressionBombError, Image.DecompressionBombWarning):
        raise ValueError(f"the image has more pixels than {_too_large(bound)}") from None
    if image.width * image.height > bound:
        image.close()
        raise ValueError(
            f"the image is {image.height} × {image.width} (height × width), more pixels than "
            f"{_too_large(bound)}"
        )
    return image


def _too_large(bound: int) -> str:
    return f"the {bound:,} that are allowed: set {_BOUND} if it is to be used"


# --- Whole files --------------------------------------------------------------------------------


def check_whole(data: bytes) -> bool:
    """Refuses a PNG or JPEG that is not whole; other formats are left to their decoder.

    Returns:
        Whether Pillow need not decode it to be sure.

    Raises:
        ValueError: It is cut off or damaged; the message is the reason alone.
    """
    if data.startswith(_PNG):
        check_png(data)
    return data.startswith(_JPEG) and check_jpeg(data)


# --- PNG ----------------------------------------------------------------------------------------

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
    view, start, kind = memoryview(data), len(_PNG), b""
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


# --- JPEG ---------------------------------------------------------------------------------------

_DHT, _SOI, _EOI, _SOS, _DRI, _DQT, _DAC = 0xC4, 0xD8, 0xD9, 0xDA, 0xDD, 0xDB, 0xCC
_FRAMES = frozenset(range(0xC0, 0xD0)) - {_DHT, 0xC8, _DAC}
_SEQUENTIAL, _PROGRESSIVE = frozenset({0xC0, 0xC1}), 0xC2
_NEEDED = _FRAMES | {_DHT, _SOS, _DRI, _DQT, _DAC}  # what decides the pixels
_ALONE = frozenset({0x01, *range(0xD0, 0xD8)})  # markers without a length
_BEFORE_SEGMENT = re.compile(rb"\xff[^\x00\xff]")
# Within entropy-coded data, 0xFF00 is a byte 0xFF and the RST markers belong to the data.
_AFTER_SCAN = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_COEFFICIENTS = 64  # of a block
# First codes of the tables of annex K.3, for files that leave their tables out: bits and symbol.
_STANDARD = {(0, 0): (2, 0), (0, 1): (2, 0), (1, 0): (2, 1), (1, 1): (2, 0)}
_SLACK = 32  # bits of a run of zeros that may belong to the codes around it


def check_jpeg(data: bytes) -> bool:
    """Refuses a JPEG that is cut off or damaged, as far as its data can tell.

    It is decoded without tolerance (whatever libjpeg warns of is an error), all of its scans have
    to be there, and data overwritten by zeros, which often decode to something, is found.

    Args:
        data: A file that begins as a JPEG does. What follows its end marker does not matter, such
            as a second image or what a camera notes there.

    Returns:
        Whether all of it was decoded; if not, the format is too unusual, and decoding it with
        Pillow is what is left to do.

    Raises:
        ValueError: It is not whole; the message is the reason alone.
    """
    jpeg = _parse(data)
    _check_scans(jpeg)
    _check_zeros(jpeg)
    if simplejpeg is None:
        _say_that_less_is_checked()
        return False
    if jpeg.process not in _SEQUENTIAL | {_PROGRESSIVE}:
        return False
    # Gray is enough: all data is read for it, and the smallest scale spares most of the arithmetic.
    color = "CMYK" if len(jpeg.blocks) == 4 else "GRAY"
    try:
        simplejpeg.decode_jpeg(jpeg.essence, color, min_height=1, min_width=1, strict=True)
    except ValueError as error:
        if "subsampling" in str(error):
            return False
        raise ValueError(f"the JPEG is damaged: {error}") from error
    return True


@functools.cache
def _say_that_less_is_checked() -> None:
    logging.getLogger(__name__).warning(
        "simplejpeg is not installed, so that some JPEGs that lack data may pass"
    )


@dataclasses.dataclass(frozen=True)
class _Scan:
    """One scan of a JPEG.

    Attributes:
        tables: Numbers of the tables for DC and AC coefficients, by component.
        first: First coefficient of the spectral band, 0 to 63.
        last: Last coefficient of the band.
        low: Bits of the coefficients that are still missing after this scan.
        codes: Bits and symbol of the code of all zeros, by class (0: DC, 1: AC) and table.
        entropy: The data.
    """

    tables: Mapping[int, tuple[int, int]]
    first: int
    last: int
    low: int
    codes: Mapping[tuple[int, int], tuple[int, int]]
    entropy: bytes


@dataclasses.dataclass(frozen=True)
class _Jpeg:
    """The structure of a JPEG file.

    Attributes:
        process: The marker of its frame, which names the coding process.
        blocks: Blocks of each component in a unit of interleaved data.
        scans: Its scans, in order.
        essence: The file without metadata and what lies between its segments.
    """

    process: int
    blocks: Mapping[int, int]
    scans: tuple[_Scan, ...]
    essence: bytes


def _parse(data: bytes) -> _Jpeg:
    """Takes a JPEG apart, up to its end marker."""
    process, blocks, scans, codes = 0, {}, [], dict(_STANDARD)
    essence = [data[:2]]
    for marker, body, entropy in _segments(data):
        try:
            if marker in _FRAMES:
                process = marker
                components = [body[6 + 3 * i : 9 + 3 * i] for i in range(body[5])]
                blocks = {c[0]: (c[1] >> 4) * (c[1] & 15) for c in components}
            elif marker == _DHT:
                codes |= _first_codes(body)
            elif marker == _SOS:
                if process in _SEQUENTIAL:  # Some encoders leave these fields at zero.
                    body = body[: 1 + 2 * body[0]] + b"\x00\x3f\x00"
                scans.append(_scan(body, dict(codes), entropy))
        except IndexError:
            raise ValueError("the JPEG is damaged: a segment is too short") from None
        if marker in _NEEDED or (scans and marker != _EOI):
            length = struct.pack(">H", len(body) + 2)
            essence.append(bytes([0xFF, marker]) + length + body + entropy)
    if not scans or not process:
        raise ValueError("the JPEG is truncated: it has no image data")
    return _Jpeg(process, blocks, tuple(scans), b"".join([*essence, b"\xff\xd9"]))


def _segments(data: bytes) -> Iterator[tuple[int, bytes, bytes]]:
    """Marker, content and following entropy-coded data of each segment but the last.

    Raises:
        ValueError: The end marker is missing.
    """
    position = 2
    while found := _BEFORE_SEGMENT.search(data, position):
        marker, position = data[found.end() - 1], found.end()
        if marker == _EOI:
            return
        if marker == _SOI:
            raise ValueError("the JPEG is truncated: another one begins before its end marker")
        if marker in _ALONE:
            continue
        if position + 2 > len(data):
            break
        (length,) = struct.unpack_from(">H", data, position)
        start, position = position + 2, position + length
        if position > len(data):
            break
        entropy = b""
        if marker == _SOS:
            after = _AFTER_SCAN.search(data, position)
            if after is None:
                break
            entropy, position = data[position : after.start()], after.start()
        yield marker, data[start : start + length - 2], entropy
    raise ValueError("the JPEG is truncated: its end marker is missing")


def _first_codes(body: bytes) -> dict[tuple[int, int], tuple[int, int]]:
    """Bits and symbol of the first code of each table, which is all zeros."""
    codes, position = {}, 0
    while position < len(body):
        counts = body[position + 1 : position + 17]
        bits = next((n for n, count in enumerate(counts, 1) if count), 0)
        if bits:
            codes[body[position] >> 4, body[position] & 15] = (bits, body[position + 17])
        position += 17 + sum(counts)
    return codes


def _scan(body: bytes, codes: Mapping[tuple[int, int], tuple[int, int]], entropy: bytes) -> _Scan:
    count = body[0]
    tables = {body[1 + 2 * i]: (body[2 + 2 * i] >> 4, body[2 + 2 * i] & 15) for i in range(count)}
    first, last, bits = body[1 + 2 * count], body[2 + 2 * count], body[3 + 2 * count]
    return _Scan(tables, first, last, bits & 15, codes, entropy)


def _check_scans(jpeg: _Jpeg) -> None:
    """Refuses a file some of whose scans are missing, of which libjpeg does not warn.

    Raises:
        ValueError: A coefficient of a component has not been given to its last bit.
    """
    missing = {component: [1] * _COEFFICIENTS for component in jpeg.blocks}
    for scan in jpeg.scans:
        for component in scan.tables:
            bits = missing.get(component)
            if bits is None or scan.last >= _COEFFICIENTS:
                raise ValueError("the JPEG is damaged: a scan is of nothing in the image")
            bits[scan.first : scan.last + 1] = [scan.low] * (scan.last + 1 - scan.first)
    if any(map(any, missing.values())):
        raise ValueError("the JPEG is truncated: some of its scans are missing")


def _check_zeros(jpeg: _Jpeg) -> None:
    """Refuses sequential data that holds a run of zeros which no encoder writes.

    Where the code of all zeros stands for a coefficient that is not 0, a run of zeros as long as a
    block is a block in which all coefficients are the same, which no image has.

    Raises:
        ValueError: There is such a run.
    """
    if jpeg.process not in _SEQUENTIAL:
        return
    for scan in jpeg.scans:
        longest, between = 0, _SLACK
        for component, (dc, ac) in scan.tables.items():
            bits, symbol = scan.codes.get((1, ac), _STANDARD[1, 0])
            skipped, size = symbol >> 4, symbol & 15
            if symbol:
                longest = max(longest, -(-(_COEFFICIENTS - 1) // (skipped + 1)) * (bits + size))
            else:  # It ends the block: a run of zeros is an even area.
                dc_bits, dc_size = scan.codes.get((0, dc), _STANDARD[0, 0])
                blocks = jpeg.blocks.get(component, 1) if len(scan.tables) > 1 else 1
                between += blocks * (bits + dc_bits + dc_size)
        if longest and bytes((longest + between) // 8 + 2) in scan.entropy:
            raise ValueError("the JPEG is damaged: some of its data was overwritten by zeros")
