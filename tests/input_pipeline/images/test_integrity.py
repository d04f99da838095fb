"""Whole JPEGs pass, whatever their encoder did; those that lack data do not."""

import contextlib
import io
import itertools

import numpy as np
import pytest
from PIL import Image

from input_pipeline.images.integrity import check_jpeg

needs_decoder = pytest.mark.skipif(
    pytest.importorskip("input_pipeline.images.integrity").simplejpeg is None,
    reason="simplejpeg is not installed",
)
RESTARTS = ({}, {"restart_marker_rows": 1}, {"restart_marker_blocks": 3})
END = b"\xff\xd9"
TRAILING = (b"", b"camera 7" * 9, bytes(500))


def smooth(mode: str = "RGB", height: int = 96, width: int = 48, seed: int = 0) -> Image.Image:
    rng = np.random.default_rng(seed)
    coarse = Image.fromarray(rng.integers(0, 256, (12, 6, 3), np.uint8))
    pixels = np.asarray(coarse.resize((width, height), Image.Resampling.BICUBIC)).astype(int)
    noisy = np.clip(pixels + rng.integers(-8, 9, pixels.shape), 0, 255)
    return Image.fromarray(noisy.astype(np.uint8)).convert(mode)


def jpeg(image: Image.Image, **options) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, "JPEG", **options)
    return buffer.getvalue()


def data_of(whole: bytes) -> tuple[int, int]:
    """Where the data of the first scan begins, and where the file's last data ends."""
    header = whole.index(b"\xff\xda")
    return header + 2 + int.from_bytes(whole[header + 2 : header + 4], "big"), len(whole) - 2


def images():
    pixels = np.zeros((96, 48, 3), np.uint8)
    yield "smooth", smooth()
    yield "tiny", smooth(height=8, width=9)
    yield "black", Image.fromarray(pixels)
    yield "one color", Image.new("RGB", (48, 96), (12, 200, 30))
    yield "noise", Image.fromarray(np.random.default_rng(0).integers(0, 256, (96, 48, 3), np.uint8))
    ramp = np.broadcast_to(np.linspace(255, 0, 96)[:, None, None], pixels.shape)
    yield "ramp", Image.fromarray(ramp.astype(np.uint8))
    pixels[::2, ::2] = 255
    yield "checkers", Image.fromarray(pixels)


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_whole_jpegs_of_any_encoder_pass(mode, progressive):
    for (name, image), optimize, subsampling, quality, restarts in itertools.product(
        images(), (False, True), (0, 1, 2), (10, 75, 95), RESTARTS
    ):
        options = {"optimize": optimize, "subsampling": subsampling, "quality": quality, **restarts}
        whole = jpeg(image.convert(mode), progressive=progressive, **options)
        for after in (*TRAILING, whole):
            try:
                check_jpeg(whole + after)
            except ValueError as error:
                pytest.fail(f"{name} {options}: {error}")


def test_metadata_does_not_matter():
    image = smooth()
    exif = Image.Exif()
    exif[0x010E] = "a thumbnail \xff\xd8\xff\xd9 in the middle"
    whole = jpeg(image, exif=exif, comment=b"\xff\xd9\xff\xda", icc_profile=bytes(70_000))
    check_jpeg(whole)
    # The first bytes of JFIF's version, then bytes between segments, as some cameras write them.
    odd = bytearray(jpeg(image))
    odd[odd.index(b"JFIF\0") + 5] = 9
    check_jpeg(bytes(odd))
    start = odd.index(b"\xff\xdb")
    check_jpeg(bytes(odd[:start] + b"\0\0\0" + odd[start:]))
    check_jpeg(bytes(odd[:start] + b"\xff\xff\xff" + odd[start:]))


def test_two_images_in_one_file_are_one():
    first, second = smooth(seed=1), smooth(seed=2)
    buffer = io.BytesIO()
    first.save(buffer, "MPO", save_all=True, append_images=[second])
    check_jpeg(buffer.getvalue())


def damaged(whole: bytes, share: float) -> dict[str, bytes]:
    """The same file without a share of its data, in several ways."""
    start, end = data_of(whole)
    length = int((end - start) * share)
    middle = start + (end - start - length) // 2
    return {
        "a tail of zeros": whole[: end - length] + bytes(length + 2),
        "zeros before the end": whole[: end - length] + bytes(length) + END,
        "cut, and ended": whole[: end - length] + END,
        "cut": whole[: end - length],
        "zeros in the middle": whole[:middle] + bytes(length) + whole[middle + length :],
        "a hole in the middle": whole[:middle] + whole[middle + length :],
    }


@needs_decoder
@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("mode", ["RGB", "L"])
def test_jpegs_that_lack_data_are_refused(mode, progressive):
    accepted = []
    for seed, quality, optimize, restarts, share in itertools.product(
        range(3), (50, 75, 95), (False, True), RESTARTS, (0.1, 0.5, 0.9)
    ):
        options = {"quality": quality, "optimize": optimize, **restarts}
        whole = jpeg(smooth(mode, seed=seed), progressive=progressive, **options)
        for kind, data in damaged(whole, share).items():
            for after in TRAILING:
                with contextlib.suppress(ValueError):
                    check_jpeg(data + after)
                    accepted.append((kind, seed, options, share))
    # What is left after a hole may by chance be a sound stream; everything else shows.
    assert len(accepted) <= 3 * 3, accepted
    assert {kind for kind, *_ in accepted} <= {"a hole in the middle"}


def test_a_jpeg_without_its_end_marker_is_refused():
    for progressive in (False, True):
        whole = jpeg(smooth(), progressive=progressive)
        for zeros in (0, 2, 100):
            for after in TRAILING:
                with pytest.raises(ValueError, match="truncated: its end marker is missing"):
                    check_jpeg(whole[:-2] + bytes(zeros) + after)
        with pytest.raises(ValueError, match="another one begins"):
            check_jpeg(whole[: len(whole) // 2] + jpeg(smooth(seed=1)))


def test_a_progressive_jpeg_that_lacks_scans_is_refused():
    whole = jpeg(smooth(), progressive=True)
    scans = [i for i in range(len(whole)) if whole[i : i + 2] == b"\xff\xda"]
    assert len(scans) > 5
    for scan in scans[1:]:
        tables = whole.rindex(b"\xff\xc4", 0, scan)  # they belong to the scan that is left out
        with pytest.raises(ValueError, match="some of its scans are missing"):
            check_jpeg(whole[:tables] + END)


def test_nonsense_is_refused_with_a_reason():
    whole = jpeg(smooth())
    rng = np.random.default_rng(0)
    for data in (b"\xff\xd8", b"\xff\xd8" + END, whole[:20] + END, b"\xff\xd8\xff\xda\0\2" + END):
        with pytest.raises(ValueError, match="the JPEG is"):
            check_jpeg(data)
    for _ in range(300):  # Whatever is flipped, nothing but this error comes of it.
        flipped = bytearray(whole)
        for place in rng.integers(0, len(whole), 3):
            flipped[place] ^= 1 << int(rng.integers(8))
        with contextlib.suppress(ValueError):
            assert check_jpeg(bytes(flipped)) in (True, False)
