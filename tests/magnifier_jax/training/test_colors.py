"""Changes of color against their definitions, pixel by pixel."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from scipy.ndimage import gaussian_filter1d

from magnifier_jax.training.augmentation import AugmentSettings, augment, normalize
from magnifier_jax.training.colors import LUMA, ColorSettings, adjusted, blurred, vary_colors

IMAGES = np.random.default_rng(0).uniform(0.3, 0.6, (3, 9, 6, 3)).astype(np.float32)
GRAY = (IMAGES * LUMA).sum(-1, keepdims=True)


def test_nothing_changes_by_default() -> None:
    assert not ColorSettings().varies_colors
    np.testing.assert_allclose(adjusted(IMAGES), IMAGES, atol=1e-6)
    np.testing.assert_array_equal(vary_colors(jax.random.key(0), IMAGES, ColorSettings()), IMAGES)


def test_gain_of_each_channel_is_clipped_at_white() -> None:
    gain = np.float32([1.5, 1.0, 2.0]).reshape(1, 1, 1, 3)
    expected = np.minimum(IMAGES * gain, 1)
    assert (expected == 1).any()
    np.testing.assert_allclose(adjusted(IMAGES, gain=gain), expected, atol=1e-6)


def test_contrast_is_around_the_mean_gray_of_each_image() -> None:
    contrast = np.float32([0.5, 1.0, 1.4]).reshape(3, 1, 1, 1)
    mean = GRAY.mean((1, 2), keepdims=True)
    expected = mean + contrast * (IMAGES - mean)
    np.testing.assert_allclose(adjusted(IMAGES, contrast=contrast), expected, atol=1e-6)


def test_saturation_is_around_the_gray_of_each_pixel() -> None:
    for factor in (0.0, 0.5, 1.3):
        expected = GRAY + factor * (IMAGES - GRAY)
        np.testing.assert_allclose(adjusted(IMAGES, saturation=factor), expected, atol=1e-6)


def test_half_a_turn_gives_the_opposite_color() -> None:
    expected = 2 * GRAY - IMAGES
    np.testing.assert_allclose(adjusted(IMAGES, turn=0.5), expected, atol=1e-5)
    third = adjusted(adjusted(adjusted(IMAGES, turn=1 / 3), turn=1 / 3), turn=1 / 3)
    np.testing.assert_allclose(third, IMAGES, atol=1e-5)


def test_blur_is_a_gaussian_of_seven_pixels() -> None:
    sigmas = np.float32([0.4, 0.8, 1.2])
    found = blurred(IMAGES, sigmas)
    for image, sigma, result in zip(IMAGES, sigmas, np.asarray(found), strict=True):
        rows = gaussian_filter1d(image, sigma, axis=0, mode="nearest", radius=3)
        expected = gaussian_filter1d(rows, sigma, axis=1, mode="nearest", radius=3)
        np.testing.assert_allclose(result, expected, atol=1e-6)


@pytest.mark.parametrize("field", ["jitter", "gray", "blur"])
def test_the_share_of_images_that_change(field: str) -> None:
    many = np.tile(IMAGES[:1], (400, 1, 1, 1))
    found = np.asarray(vary_colors(jax.random.key(1), many, ColorSettings(**{field: 0.25})))
    changed = (np.abs(found - many) > 1e-5).any((1, 2, 3))
    assert 65 < changed.sum() < 135  # four standard deviations around 100
    assert 0 <= found.min() <= found.max() <= 1
    if field == "gray":
        expected = np.broadcast_to(GRAY[:1], many.shape)[changed]
        np.testing.assert_allclose(found[changed], expected, atol=1e-6)
    if field == "jitter":
        means = found[changed].mean((1, 2))
        assert (means.std(0) > 0.02).all()


def test_images_of_a_batch_change_before_they_are_normalized() -> None:
    pixels = jnp.asarray((IMAGES * 255).round().astype(np.uint8))
    settings = AugmentSettings(flip=0.0, pad=0, erasing=0.0, gray=1.0)
    found, _ = augment(jax.random.key(2), pixels, None, settings)
    gray = (np.asarray(pixels) * np.array(LUMA)).sum(-1, keepdims=True)
    expected = normalize(jnp.asarray(np.broadcast_to(gray, pixels.shape), jnp.float32))
    np.testing.assert_allclose(found, expected, atol=1e-4)


def test_other_draws_stay_what_they_were() -> None:
    """Colors have a key of their own: flips, crops and erasing are those without them."""
    pixels = jnp.asarray((IMAGES * 255).round().astype(np.uint8))
    maps = pixels[..., 0]
    key = jax.random.key(3)
    plain = augment(key, pixels, maps, AugmentSettings(pad=2, erasing=0.0))
    varied = augment(key, pixels, maps, AugmentSettings(pad=2, erasing=0.0, jitter=1.0))
    np.testing.assert_array_equal(plain[1], varied[1])
    assert (np.asarray(plain[0]) != np.asarray(varied[0])).any()
