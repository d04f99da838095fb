import io
import struct
import zlib

import numpy as np
import pytest
from PIL import Image

from magnifier_jax.serve.uploads import BadUploadError, UploadLimits, read_upload

LIMITS = UploadLimits(bytes=100_000, pixels=10_000)


def encoded(image, kind="PNG", **options):
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def read(data):
    return read_upload(data, image_size=(8, 4), limits=LIMITS)


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "BMP", "TIFF", "WEBP"])
def test_formats(kind):
    pixels, size = read(encoded(Image.new("RGB", (40, 60), (10, 200, 90)), kind))
    assert size == (60, 40)
    assert pixels.shape == (8, 4, 3)
    np.testing.assert_allclose(pixels.mean((0, 1)), (10, 200, 90), atol=4)


def chunk(kind, content):
    checksum = struct.pack(">I", zlib.crc32(kind + content))
    return struct.pack(">I", len(content)) + kind + content + checksum


def png_bomb(width, height, filled):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    data = chunk(b"IDAT", zlib.compress(bytes(filled), 9))
    return b"\x89PNG\r\n\x1a\n" + header + data + chunk(b"IEND", b"")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "empty"),
        (bytes(100_001), "more than 100,000 bytes"),
        (b"<svg xmlns='http://www.w3.org/2000/svg'/>", "known format"),
        (b"GIF89a" + bytes(50), "known format"),
        (b"%!PS-Adobe-3.0 EPSF-3.0\n", "known format"),
        (png_bomb(30_000, 30_000, 50_000_000), "pixels"),
        (png_bomb(101, 100, 0), "10,100 pixels"),
        (png_bomb(100, 100, 0), "cannot be read"),
        (encoded(Image.new("RGB", (40, 60)))[:-20], "truncated"),
        (encoded(Image.new("RGB", (40, 60)), "JPEG")[:-20], "truncated"),
        (encoded(Image.new("RGB", (3, 60))), "too small"),
    ],
)
def test_what_is_refused(data, message):
    with pytest.raises(BadUploadError, match=message):
        read(data)


def test_jpegs_whose_scans_go_on_and_on_are_refused():
    """Each scan of a progressive JPEG costs as much as decoding every pixel."""
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (60, 40, 3), np.uint8))
    data = encoded(noise, "JPEG", progressive=True)
    assert read(data)[1] == (60, 40)
    start = data.index(b"\xff\xda")
    (length,) = struct.unpack_from(">H", data, start + 2)
    scan = data[start : start + 2 + length]
    with pytest.raises(BadUploadError, match="scans"):
        read(data[:start] + 200 * scan + data[start:])
