import io
import pathlib
import struct
import zlib
from collections.abc import Callable

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import UserError
from input_pipeline.images.codec import (
    EncodedImage,
    EncodedParts,
    Proven,
    digest,
    encode_image,
    encode_parts,
    open_rgb,
    read_classes,
    read_image,
)
from input_pipeline.images.integrity import max_pixels, open_image, set_max_pixels


def opened(data: bytes) -> Image.Image:
    image = Image.open(io.BytesIO(data))
    image.load()
    return image


@pytest.fixture
def picture() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (7, 5, 3), np.uint8)


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_plain_pictures_are_kept_byte_by_byte(picture, tmp_path, suffix):
    path = tmp_path / f"a picture.{suffix}"
    Image.fromarray(picture).save(path)
    assert encode_image(path) == EncodedImage(path.read_bytes(), (7, 5))


@pytest.mark.parametrize("mode", ["L", "1", "P", "RGBA", "LA", "PA", "CMYK", "YCbCr"])
def test_other_modes_become_rgb(picture, tmp_path, mode):
    image = Image.fromarray(picture).convert(mode)
    path = tmp_path / {"CMYK": "x.jpg", "YCbCr": "x.jpg", "PA": "x.tif"}.get(mode, "x.png")
    if mode == "PA":
        image = image.convert("LA")
    image.save(path, quality=95)
    encoded = encode_image(path)
    data, size = encoded.data, encoded.size
    stored = opened(data)
    assert stored.mode == "RGB"
    assert stored.format == ("JPEG" if mode == "YCbCr" else "PNG")
    assert size == (7, 5)
    np.testing.assert_array_equal(
        np.asarray(stored), np.asarray(opened(path.read_bytes()).convert("RGB"))
    )


@pytest.mark.parametrize("suffix", ["bmp", "webp", "tif"])
def test_other_formats_become_png(picture, tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(picture).save(path)
    data = encode_image(path).data
    assert opened(data).format == "PNG"
    np.testing.assert_array_equal(
        np.asarray(opened(data)), np.asarray(opened(path.read_bytes()).convert("RGB"))
    )


def test_sixteen_bits_keep_their_upper_eight(tmp_path):
    values = np.array([[0, 255, 256], [0x1234, 0x8000, 0xFFFF]], np.uint16)
    path = tmp_path / "x.png"
    Image.fromarray(values).save(path)
    encoded = encode_image(path)
    data, size = encoded.data, encoded.size
    assert size == (2, 3)
    gray = [[0, 0, 1], [0x12, 0x80, 0xFF]]
    np.testing.assert_array_equal(np.asarray(opened(data)), np.stack([gray] * 3, -1))


def test_sixteen_bit_rgb_is_not_kept_as_it_is(tmp_path):
    path = tmp_path / "x.png"
    path.write_bytes(sixteen_bit_rgb_png())
    encoded = encode_image(path)
    data, size = encoded.data, encoded.size
    assert data != path.read_bytes()
    assert size == (1, 2)
    assert data[24] == 8  # bits a channel, in the header
    np.testing.assert_array_equal(np.asarray(opened(data)), [[[1, 2, 3], [4, 5, 6]]])


def sixteen_bit_rgb_png() -> bytes:
    def chunk(kind: bytes, body: bytes) -> bytes:
        return (
            struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))
        )

    row = b"\0" + b"".join(bytes([value, 77]) for value in range(1, 7))
    header = struct.pack(">IIBBBBB", 2, 1, 16, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + b"".join(
        [chunk(b"IHDR", header), chunk(b"IDAT", zlib.compress(row)), chunk(b"IEND", b"")]
    )


def test_rotation_by_exif_is_applied(picture, tmp_path):
    path = tmp_path / "x.png"
    exif = Image.Exif()
    exif[0x0112] = 6  # shown turned clockwise by a quarter
    Image.fromarray(picture).save(path, exif=exif)
    encoded = encode_image(path)
    data, size = encoded.data, encoded.size
    assert size == (5, 7)
    np.testing.assert_array_equal(np.asarray(opened(data)), np.rot90(picture, -1))
    assert opened(data).getexif().get(0x0112, 1) == 1


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", "the file is empty"),
        (b"hello, I am not a picture", "not an image in a known format"),
    ],
)
def test_what_is_no_picture_is_refused(tmp_path, content, reason):
    path = tmp_path / "x.jpg"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=reason):
        encode_image(path)
    with pytest.raises(ValueError, match=reason):
        encode_parts(path, size=(7, 5))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_truncated_picture_is_refused(tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), np.uint8)
    Image.fromarray(noise).save(path)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(ValueError, match="truncated"):
        encode_image(path)


def refuse_without_last_bytes(path: pathlib.Path, encode: Callable[[], object]) -> None:
    encode()
    whole = path.read_bytes()
    for cut in range(1, 41):
        path.write_bytes(whole[:-cut])
        with pytest.raises(ValueError, match=r"truncated|broken"):
            encode()


@pytest.mark.parametrize("mode", ["RGB", "RGBA", "P", "L"])
def test_a_png_that_lacks_its_last_bytes_is_refused(picture, tmp_path, mode):
    path = tmp_path / "x.png"
    Image.fromarray(picture).convert(mode).save(path)
    refuse_without_last_bytes(path, lambda: encode_image(path))


@pytest.mark.parametrize("progressive", [False, True])
def test_a_jpeg_that_lacks_its_last_bytes_is_refused(picture, tmp_path, progressive):
    path = tmp_path / "x.jpg"
    Image.fromarray(picture).save(path, progressive=progressive)
    refuse_without_last_bytes(path, lambda: encode_image(path))


@pytest.mark.parametrize("mode", ["L", "P"])
def test_a_part_map_that_lacks_its_last_bytes_is_refused(classes, tmp_path, mode):
    path = tmp_path / "x.png"
    Image.fromarray(classes).convert(mode).save(path)
    refuse_without_last_bytes(path, lambda: encode_parts(path, size=(7, 5)))


def test_a_png_with_a_wrong_checksum_is_refused(picture, classes, tmp_path):
    path = tmp_path / "x.png"
    for pixels in (picture, classes):
        Image.fromarray(pixels).save(path)
        damaged = bytearray(path.read_bytes())
        damaged[damaged.index(b"IEND") - 8] ^= 1  # within the checksum of the pixels
        path.write_bytes(damaged)
        with pytest.raises(ValueError, match="the PNG is damaged"):
            encode_image(path)
    with pytest.raises(ValueError, match="the PNG is damaged"):
        encode_parts(path, size=(7, 5))


@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_bytes_after_the_end_do_not_matter(picture, tmp_path, suffix):
    path = tmp_path / f"x.{suffix}"
    Image.fromarray(picture).save(path)
    path.write_bytes(path.read_bytes() + b"camera 7")
    assert encode_image(path).size == (7, 5)


def test_a_missing_picture_is_refused(tmp_path):
    with pytest.raises(ValueError, match="No such file"):
        encode_image(tmp_path / "x.jpg")


def test_a_floating_point_picture_is_refused(tmp_path):
    path = tmp_path / "x.tif"
    Image.fromarray(np.zeros((4, 4), np.float32)).save(path)
    with pytest.raises(ValueError, match="floating-point"):
        encode_image(path)


@pytest.fixture
def classes() -> np.ndarray:
    return np.random.default_rng(1).integers(0, 8, (7, 5), np.uint8)


def test_part_maps_are_kept_byte_by_byte(classes, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(classes).save(path)
    assert encode_parts(path, size=(7, 5)) == EncodedParts(path.read_bytes(), 8)


def test_the_indices_of_a_palette_are_the_classes(classes, tmp_path):
    path = tmp_path / "x.png"
    image = Image.fromarray(classes).convert("P")
    image.putpalette(bytes(range(24)))
    image.save(path)
    stored = opened(encode_parts(path, size=(7, 5)).data)
    assert stored.mode == "L"
    np.testing.assert_array_equal(np.asarray(stored), classes)


def test_sixteen_bit_classes_become_eight_bit(classes, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(classes.astype(np.uint16)).save(path)
    data = encode_parts(path, size=(7, 5)).data
    assert (data[24], data[25]) == (8, 0)
    np.testing.assert_array_equal(np.asarray(opened(data)), classes)


def test_wrong_part_maps_are_refused(classes, picture, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(classes).save(path)
    with pytest.raises(ValueError, match="7 × 5 but its image is 14 × 10"):
        encode_parts(path, size=(14, 10))
    Image.fromarray(classes + 5).save(path)
    with pytest.raises(ValueError, match="classes must be 0 to 7, found 5 to 12"):
        encode_parts(path, size=(7, 5))
    Image.fromarray(picture).save(path)
    with pytest.raises(ValueError, match="one channel"):
        encode_parts(path, size=(7, 5))


def test_part_maps_may_have_another_number_of_classes(classes, tmp_path):
    path = tmp_path / "x.png"
    Image.fromarray(classes + 12).save(path)
    assert encode_parts(path, size=(7, 5), num_parts=20) == EncodedParts(path.read_bytes(), 20)
    with pytest.raises(ValueError, match="classes must be 0 to 18, found 12 to 19"):
        encode_parts(path, size=(7, 5), num_parts=19)


def gray16(path: pathlib.Path, values: np.ndarray) -> tuple[np.ndarray, tuple[int, int]]:
    """What becomes of 16-bit values: the gray levels, and the values that became 0 and 255."""
    Image.fromarray(values.astype(np.uint16)).save(path)
    encoded = encode_image(path)
    pixels = np.asarray(opened(encoded.data))
    assert (pixels == pixels[..., :1]).all()
    return pixels[..., 0], encoded.levels


@pytest.mark.parametrize("suffix", ["png", "tif"])
@pytest.mark.parametrize("bits", [8, 10, 12, 14, 16])
def test_sixteen_bits_of_a_smaller_sensor_keep_its_upper_eight(tmp_path, bits, suffix):
    values = np.linspace(0, 2**bits - 1, 64 * 64).round().reshape(64, 64)
    pixels, levels = gray16(tmp_path / f"x.{suffix}", values)
    assert levels == (0, 2**bits - 1)
    np.testing.assert_array_equal(pixels, values.astype(int) >> (bits - 8))
    assert len(np.unique(pixels)) == 256


def test_a_narrow_range_of_sixteen_bits_is_stretched(tmp_path):
    values = np.linspace(29_000, 31_000, 64 * 64).round().reshape(64, 64)  # hundredths of a kelvin
    pixels, levels = gray16(tmp_path / "x.png", values)
    assert levels == (29_000, 31_000)
    assert (pixels.min(), pixels.max(), len(np.unique(pixels))) == (0, 255, 256)
    assert (np.diff(pixels.reshape(-1).astype(int)) >= 0).all()


@pytest.mark.parametrize("value", [0, 3, 300, 40_000, 65_535])
def test_sixteen_bits_of_one_value_are_even(tmp_path, value):
    pixels, _ = gray16(tmp_path / "x.png", np.full((16, 16), value))
    assert len(np.unique(pixels)) == 1


def test_dim_colors_of_sixteen_bits_are_known(tmp_path, picture):
    path = tmp_path / "x.png"
    path.write_bytes(sixteen_bit_rgb_png())
    assert encode_image(path).is_dim
    Image.fromarray(picture // 8).save(path)
    assert not encode_image(path).is_dim


@pytest.mark.parametrize(
    "kind", ["EPS", "ICO", "TGA", "GIF", "PPM", "PCX", "DDS", "SGI", "JPEG2000"]
)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_other_formats_are_refused_whatever_their_name(
    picture, tmp_path, kind, suffix, monkeypatch
):
    def started(*_args, **_options):
        raise AssertionError("a program was started")

    path = tmp_path / f"x.{suffix}"
    Image.fromarray(picture).resize((32, 32)).save(path, kind)
    monkeypatch.setattr("subprocess.check_call", started)
    monkeypatch.setattr("subprocess.Popen", started)
    for read in (encode_image, open_rgb, read_classes, open_image):
        with pytest.raises(ValueError, match="not an image in a known format"):
            read(path)


def test_the_largest_image_is_bounded(picture, tmp_path, monkeypatch):
    path = tmp_path / "x.png"
    Image.fromarray(picture).save(path)
    monkeypatch.setenv("MAGNIFIER_MAX_PIXELS", "35")
    assert encode_image(path).size == (7, 5)
    monkeypatch.setenv("MAGNIFIER_MAX_PIXELS", "34")
    for read in (encode_image, open_rgb, read_classes, open_image):
        with pytest.raises(ValueError, match=r"7 × 5 .* more pixels than the 34 that are allowed"):
            read(path)
    for nonsense in ("many", "0", "-5", "1e9"):
        monkeypatch.setenv("MAGNIFIER_MAX_PIXELS", nonsense)
        with pytest.raises(UserError, match="MAGNIFIER_MAX_PIXELS is"):
            max_pixels()
    with pytest.raises(UserError, match="at least 1"):
        set_max_pixels(0)


@pytest.mark.parametrize("side", [9_000, 10_000, 60_000])
def test_an_image_that_would_fill_the_memory_is_refused_by_its_header(tmp_path, side):
    def chunk(kind: bytes, body: bytes) -> bytes:
        crc = zlib.crc32(kind + body)
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", crc)

    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    body = chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(b"")) + chunk(b"IEND", b"")
    path = tmp_path / "x.png"
    path.write_bytes(b"\x89PNG\r\n\x1a\n" + body)
    with pytest.raises(ValueError, match="more pixels than the 80,000,000 that are allowed"):
        encode_image(path)


def test_a_larger_bound_is_one(tmp_path, monkeypatch):
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    monkeypatch.setenv("MAGNIFIER_MAX_PIXELS", "10000")
    path = tmp_path / "x.png"
    Image.new("RGB", (90, 100)).save(path)
    assert encode_image(path).size == (100, 90)


def test_an_image_is_opened_as_the_network_sees_it(picture, tmp_path):
    exif = Image.Exif()
    exif[0x0112] = 6
    path = tmp_path / "x.png"
    Image.fromarray(picture).resize((32, 64)).convert("P").save(path, exif=exif)
    image = open_rgb(path)
    assert (image.mode, image.size) == ("RGB", (64, 32))
    expected = np.asarray(image.resize((16, 24), Image.Resampling.BILINEAR))
    np.testing.assert_array_equal(read_image(path, image_size=(24, 16)), expected)


def test_what_was_proven_is_not_decoded_again(picture, classes, tmp_path, monkeypatch):
    path, part_path = tmp_path / "x.jpg", tmp_path / "x.png"
    Image.fromarray(picture).save(path)
    Image.fromarray(classes).save(part_path)
    encoded = encode_image(path)
    parts = encode_parts(part_path, size=encoded.size)
    image_proven = Proven(digest(encoded.data), encoded.size)
    part_proven = Proven(digest(parts.data), encoded.size, parts.num_parts)
    assert parts.pixels == tuple(np.bincount(classes.reshape(-1)).tolist())
    with monkeypatch.context() as patch:
        patch.setattr("input_pipeline.images.codec.open_image", None)
        assert encode_image(path, proven=image_proven) == encoded
        assert encode_parts(part_path, size=encoded.size, proven=part_proven) == parts
    with pytest.raises(ValueError, match="classes must be"):
        encode_parts(part_path, size=encoded.size, num_parts=7, proven=part_proven)
    path.write_bytes(encoded.data[:-1])
    with pytest.raises(ValueError, match="truncated"):
        encode_image(path, proven=image_proven)
