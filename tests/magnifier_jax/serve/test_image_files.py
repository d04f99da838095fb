import io

import numpy as np
import pytest
from PIL import Image

from input_pipeline.errors import UserError
from magnifier_jax.serve.image_files import ImageFiles, ImageMissingError


@pytest.fixture
def folder(tmp_path):
    root = tmp_path / "images"
    (root / "cam1").mkdir(parents=True)
    Image.new("RGB", (600, 1200), (200, 30, 30)).save(root / "cam1" / "large.png")
    Image.new("RGB", (30, 60), (30, 200, 30)).save(tmp_path / "secret.png")
    return root


def test_images_are_shown_small_and_never_enlarged(folder):
    files = ImageFiles(folder)
    small = Image.open(io.BytesIO(files.show("cam1/large.png", "thumbnail").data))
    assert (small.format, small.size) == ("JPEG", (128, 256))
    whole = Image.open(io.BytesIO(files.show("cam1/large.png", "full").data))
    assert whole.size == (600, 1200)
    np.testing.assert_allclose(np.asarray(small).mean((0, 1)), (200, 30, 30), atol=3)


def test_nothing_outside_of_the_folder_is_read(folder):
    (folder / "inside.png").symlink_to(folder / "cam1" / "large.png")
    (folder / "outside.png").symlink_to(folder.parent / "secret.png")
    (folder / "up").symlink_to(folder.parent)
    (folder / "loop.png").symlink_to("loop.png")
    files = ImageFiles(folder)
    assert files.show("inside.png", "full").data
    for name in (
        "../secret.png",
        "cam1/../../secret.png",
        str(folder.parent / "secret.png"),
        "outside.png",
        "up/secret.png",
        "loop.png",
        "cam1",
        "",
        "a\0b",
        "missing.png",
        "x" * 5000,
    ):
        for read in (
            lambda name: files.show(name, "full"),
            lambda name: files.pixels(name, image_size=(8, 8)),
        ):
            with pytest.raises(ImageMissingError):
                read(name)


def test_a_folder_that_is_a_link_is_the_folder_it_leads_to(folder):
    link = folder.parent / "link"
    link.symlink_to(folder)
    assert ImageFiles(link).show("cam1/large.png", "thumbnail").data


def test_a_file_that_changes_is_shown_anew(folder):
    files = ImageFiles(folder)
    path = folder / "cam1" / "large.png"
    before = files.show("cam1/large.png", "thumbnail")
    assert files.show("cam1/large.png", "thumbnail") == before
    Image.new("RGB", (601, 1200), (0, 0, 200)).save(path)
    after = files.show("cam1/large.png", "thumbnail")
    assert after.tag != before.tag
    assert after.data != before.data
    path.unlink()
    with pytest.raises(ImageMissingError, match="not there any more"):
        files.show("cam1/large.png", "thumbnail")


def test_what_is_no_image_is_not_sent(folder):
    (folder / "text.jpg").write_text("<script>alert(1)</script>")
    with pytest.raises(ImageMissingError, match="cannot be read"):
        ImageFiles(folder).show("text.jpg", "full")


def test_the_cache_is_bounded(folder):
    files = ImageFiles(folder, cache_bytes=5000)
    for i in range(8):
        noise = np.random.default_rng(i).integers(0, 256, (40, 20, 3), np.uint8)
        Image.fromarray(noise).save(folder / f"{i}.png")
        files.show(f"{i}.png", "full")
    assert 0 < files._cache.currsize <= 5000


def test_a_missing_folder_says_what_to_do(tmp_path):
    with pytest.raises(UserError, match="--images"):
        ImageFiles(tmp_path / "moved")
