"""Whether a PNG file is whole."""

from __future__ import annotations

import struct
import zlib

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
