"""Label maps of other parsers, whole and damaged."""

import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import FilesError
from input_pipeline.part_labels import FORMATS, convert_tree
from input_pipeline.part_labels.label_maps import read_labels, voc_palette


def saved(path, array, **options):
    np.save(path, array, **options)
    return path


@pytest.mark.parametrize(
    "array",
    [
        np.array([[1.5, 2]]),
        np.array([[np.inf, 1]]),
        np.array([[np.nan, 1]], np.float16),
        np.array([[1j, 2]]),
        np.array([["a", "b"]]),
        np.array([[True, False]]),
        np.array([[1, 2]], "timedelta64[s]"),
        np.array([[1, 2]], "datetime64[s]"),
        np.array([[(1, 2)]], [("a", int), ("b", int)]),
        np.zeros((0, 5), int),
        np.zeros((2, 3, 4), int),
        np.array(3),
    ],
    ids=lambda array: f"{array.dtype}{array.shape}",
)
def test_arrays_that_are_no_label_maps_are_refused(tmp_path, array):
    with pytest.raises(ValueError, match="label map"):
        read_labels(saved(tmp_path / "a.npy", array))


def test_objects_are_not_unpickled(tmp_path):
    path = saved(tmp_path / "a.npy", np.array([[{}]], object), allow_pickle=True)
    with pytest.raises(ValueError, match="not a label map"):
        read_labels(path)


def test_several_arrays_are_no_label_map(tmp_path):
    np.savez(tmp_path / "a.npz", a=np.zeros((2, 2)))
    (tmp_path / "a.npz").rename(tmp_path / "a.npy")
    with pytest.raises(ValueError, match="several arrays"):
        read_labels(tmp_path / "a.npy")


@pytest.mark.parametrize("value", [2**64 - 1, 2**63, 2**32 + 1])
def test_huge_numbers_do_not_wrap_into_classes(tmp_path, value):
    labels = read_labels(saved(tmp_path / "a.npy", np.array([[value, 1]], np.uint64)))
    assert labels[0, 0] > 255
    assert labels[0, 1] == 1
    labels = read_labels(saved(tmp_path / "a.npy", np.array([[1e300, 1.0]])))
    assert labels[0, 0] > 255


def test_other_formats_under_the_name_of_a_png_are_not_opened(tmp_path):
    """PostScript would start a program."""
    path = tmp_path / "a.png"
    path.write_bytes(b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n")
    with pytest.raises(ValueError, match=r"not a label map .*not an image in a known format"):
        read_labels(path)


@pytest.mark.parametrize("suffix", [".png", ".npy"])
def test_damaged_label_maps_are_one_line_each(tmp_path, suffix):
    """Cut or with flipped bytes: a map or a reason in one line, never anything else."""
    labels = np.random.default_rng(0).integers(0, 8, (24, 12), np.uint8)
    if suffix == ".npy":
        np.save(tmp_path / "whole.npy", labels)
    else:
        Image.fromarray(labels).save(tmp_path / "whole.png")
    whole = (tmp_path / f"whole{suffix}").read_bytes()
    (tmp_path / f"whole{suffix}").unlink()
    source = tmp_path / "maps"
    source.mkdir()
    rng = np.random.default_rng(1)
    for number in range(60):
        data = bytearray(whole)
        if number % 2:
            del data[rng.integers(len(data)) :]
        else:
            data[rng.integers(min(len(data), 200))] ^= 1 << rng.integers(8)
        (source / f"{number}{suffix}").write_bytes(data)
    with pytest.raises(FilesError) as caught:
        convert_tree(source, tmp_path / "out", label_format=FORMATS["parts"], progress=False)
    assert len(caught.value.problems) >= 30
    assert str(caught.value).isprintable()
    for path in (tmp_path / "out").glob("*.png"):
        with Image.open(io.BytesIO(path.read_bytes())) as image:
            assert np.asarray(image).max() <= 7


def test_numbers_of_a_palette_count_unless_its_colors_are_the_usual_ones_of_others(tmp_path):
    classes = np.array([[0, 13, 13], [5, 5, 9]], np.uint8)
    usual = voc_palette()
    path = tmp_path / "a.png"
    for palette in (usual, np.random.default_rng(0).integers(1, 127, (256, 3), np.uint8)):
        image = Image.fromarray(classes)
        image.putpalette(palette.tobytes())
        image.save(path)
        np.testing.assert_array_equal(read_labels(path), classes)
    # The same colors with numbers of their own, as a program that saves them sparingly makes them.
    Image.fromarray(usual[classes]).quantize(8).save(path)
    with pytest.raises(ValueError, match="its palette has the color of class"):
        read_labels(path)
