import pathlib

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import UserError
from magnifier_jax.embedding.inputs import list_sources

SIZE = (32, 16)
RNG = np.random.default_rng(0)
CROP = RNG.integers(0, 256, (50, 21, 3), np.uint8)


def read(images, **options):
    return [source.read(SIZE) for source in list_sources(images, **options)]


@pytest.fixture
def path(tmp_path):
    file = tmp_path / "crop.png"
    Image.fromarray(CROP).save(file)
    return file


def test_every_form_of_an_image_is_the_same_image(path):
    expected = np.asarray(Image.fromarray(CROP).resize((16, 32), Image.Resampling.BILINEAR))
    with Image.open(path) as opened:
        forms = [path, str(path), Image.fromarray(CROP), CROP, CROP[None], opened, [opened], [CROP]]
        forms += [[path], (Image.fromarray(CROP),), iter([CROP])]
        for form in forms:
            (found,) = read(form)
            np.testing.assert_array_equal(found, expected)
    for form in (CROP[..., ::-1], [CROP[..., ::-1]], CROP[None, ..., ::-1]):
        (found,) = read(form, channels="BGR")
        np.testing.assert_array_equal(found, expected)


def test_channels_of_files_and_pillow_images_are_known(path):
    np.testing.assert_array_equal(read(path), read(path, channels="BGR"))
    np.testing.assert_array_equal(read(CROP), read(Image.fromarray(CROP), channels="BGR"))


def test_crops_may_be_views_of_a_frame():
    frame = RNG.integers(0, 256, (90, 80, 3), np.uint8)
    crop = frame[10:70:2, 5:40]
    np.testing.assert_array_equal(read([crop]), read([crop.copy()]))
    np.testing.assert_array_equal(read([crop[:, ::-1]]), read([crop[:, ::-1].copy()]))


def test_an_image_of_the_right_size_is_not_changed():
    exact = RNG.integers(0, 256, (3, *SIZE, 3), np.uint8)
    np.testing.assert_array_equal(read(exact), exact)


def test_pillow_images_are_opened_as_files_are(tmp_path):
    rotated = tmp_path / "rotated.jpg"
    exif = Image.Exif()
    exif[0x0112] = 6
    Image.fromarray(CROP).save(rotated, exif=exif, quality=95)
    deep = tmp_path / "deep.png"
    Image.fromarray((CROP[..., 0].astype(np.uint16) << 8) + 7).save(deep)
    gray, alpha, palette = (tmp_path / f"{name}.png" for name in ("gray", "alpha", "palette"))
    Image.fromarray(CROP).convert("L").save(gray)
    Image.fromarray(CROP).convert("RGBA").save(alpha)
    Image.fromarray(CROP).convert("P").save(palette)
    for file in (rotated, deep, gray, alpha, palette):
        with Image.open(file) as opened:
            np.testing.assert_array_equal(read(opened), read(file))


def test_names_are_paths_or_places(path):
    names = [source.name for source in list_sources([path, CROP, Image.fromarray(CROP)])]
    assert names == [str(path), "1", "2"]
    assert [source.name for source in list_sources(CROP[None].repeat(3, 0))] == ["0", "1", "2"]


@pytest.mark.parametrize(
    ("images", "message"),
    [
        ([], "the list is empty"),
        ((), "the list is empty"),
        (iter([]), "the list is empty"),
        (np.zeros((0, 8, 8, 3), np.uint8), "the array is empty"),
        (CROP.astype(np.float32) / 255, "values of type float32"),
        (CROP[None].astype(np.float64), "values of type float64"),
        ([CROP, CROP.astype(np.int64)], "Image 1 has values of type int64"),
        (CROP > 3, "values of type bool"),
        (CROP[..., 0], "is gray"),
        ([CROP[..., :1]], "Image 0 is gray"),
        (np.zeros((2, 8, 8, 1), np.uint8), "is gray"),
        (np.zeros((9, 8, 4), np.uint8), "fourth channel"),
        (np.zeros((2, 9, 8, 4), np.uint8), "fourth channel"),
        (np.moveaxis(CROP, -1, 0), "channels first"),
        (np.zeros((2, 3, 9, 8), np.uint8), "channels first"),
        (np.zeros((2, 9, 8, 3, 1), np.uint8), "shape"),
        (np.zeros(5, np.uint8), "shape"),
        ([CROP[None]], "Image 0 has the shape"),
        ([CROP.tolist()], "Image 0 is a list"),
        ([None], "Image 0 is None"),
        ([3], "Image 0 is an int"),
        (None, "None is no image"),
        (17, "no image"),
        ({"a": 1}, "a dict is no image"),
        ({"a.jpg", "b.jpg"}, "is no image"),
        (b"\xff\xd8", r"Image\.open"),
        (np.array([[None, "x"]]), r"is gray|values"),
        ("~nosuchuser/a.jpg", "no such user"),
        (pathlib.Path(), "is a folder"),
    ],
)  # fmt: skip
def test_what_is_no_image_is_told(images, message):
    with pytest.raises(UserError, match=message) as error:
        list_sources(images)
    assert "\n" not in str(error.value)


def test_unknown_channels_are_refused():
    with pytest.raises(UserError, match="'RGB' or 'BGR'"):
        list_sources(CROP, channels="bgr")


@pytest.mark.parametrize("shape", [(0, 5, 3), (5, 0, 3)])
def test_empty_crops_are_problems(shape):
    (source,) = list_sources([np.zeros(shape, np.uint8)])
    with pytest.raises(ValueError, match="the image is empty"):
        source.read(SIZE)
