import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.training.augmentation import (
    MEAN,
    STD,
    AugmentSettings,
    augment,
    normalize,
    random_erasing,
)

NOTHING = AugmentSettings(flip=0.0, pad=0, erasing=0.0)


@pytest.fixture(scope="module")
def batch():
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (64, 32, 16, 3), dtype=np.uint8)
    # A part map that repeats the image's red channel shows whether both move alike.
    return jnp.asarray(images), jnp.asarray(images[..., 0])


def raw(images):
    return np.asarray(images) * 255 * np.array(STD) + 255 * np.array(MEAN)


def test_normalize_is_imagenets(batch):
    images = normalize(batch[0])
    wanted = (np.asarray(batch[0]) / 255 - MEAN) / STD
    np.testing.assert_allclose(images, wanted, atol=1e-5)


def test_nothing_to_do_leaves_images_alone(batch):
    images, maps = augment(jax.random.key(0), *batch, NOTHING)
    np.testing.assert_allclose(raw(images), batch[0], atol=1e-3)
    np.testing.assert_array_equal(maps, batch[1])


def test_flip_mirrors_about_half_of_the_images_with_their_maps(batch):
    settings = AugmentSettings(flip=0.5, pad=0, erasing=0.0)
    images, maps = augment(jax.random.key(1), *batch, settings)
    flipped = np.asarray((maps == batch[1][:, :, ::-1]).all((1, 2)))
    kept = np.asarray((maps == batch[1]).all((1, 2)))
    assert (flipped ^ kept).all()
    assert 16 < flipped.sum() < 48
    np.testing.assert_allclose(raw(images)[..., 0], maps, atol=1e-3)


def test_crop_shifts_images_and_maps_alike_and_pads_with_black(batch):
    settings = AugmentSettings(flip=0.0, pad=3, erasing=0.0)
    images, maps = augment(jax.random.key(2), *batch, settings)
    np.testing.assert_allclose(raw(images)[..., 0], maps, atol=1e-3)
    padded = np.pad(batch[1], ((0, 0), (3, 3), (3, 3)))
    offsets = set()
    for before, moved in zip(padded, np.asarray(maps), strict=True):
        found = [
            (y, x)
            for y in range(7)
            for x in range(7)
            if (before[y : y + 32, x : x + 16] == moved).all()
        ]
        assert len(found) == 1
        offsets.update(found)
    assert len(offsets) > 20


def test_erasing_fills_one_rectangle_of_about_half_of_the_images():
    settings = AugmentSettings(erasing=0.5)
    images = jnp.full((400, 64, 32, 3), 7.0)
    erased = np.asarray(random_erasing(jax.random.key(3), images, settings))
    changed = (erased != 7.0).all(-1)
    some = changed.any((1, 2))
    assert 150 < some.sum() < 250
    np.testing.assert_allclose(erased[changed], np.tile(MEAN, (changed.sum(), 1)), rtol=1e-6)
    for mask in changed[some]:
        rows, columns = mask.any(1), mask.any(0)
        assert mask.sum() == rows.sum() * columns.sum()
        share, aspect = mask.mean(), rows.sum() / columns.sum()
        assert 0.015 < share < 0.45
        assert 0.2 < aspect < 4.5


def test_the_same_key_gives_the_same_images(batch):
    settings = AugmentSettings()
    first = augment(jax.random.key(4), *batch, settings)
    again = augment(jax.random.key(4), *batch, settings)
    other = augment(jax.random.key(5), *batch, settings)
    np.testing.assert_array_equal(first[0], again[0])
    assert (np.asarray(first[0]) != np.asarray(other[0])).any()


def test_without_part_maps(batch):
    images, maps = augment(jax.random.key(0), batch[0], None, AugmentSettings())
    assert images.shape == batch[0].shape
    assert maps is None
