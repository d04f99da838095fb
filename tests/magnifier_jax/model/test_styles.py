"""Mixing the styles of images, against NumPy in float64."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np
import numpy.typing as npt
import pytest

from magnifier_jax.model import BACKBONES, Backbone, StyleMix, draw_style_mix
from magnifier_jax.model.styles import MIXED_STAGES, mix_styles

X = np.random.default_rng(0).gamma(2.0, size=(4, 5, 3, 6)).astype(np.float32)
MIX = StyleMix(
    jnp.asarray([[1, 2, 3, 0], [3, 2, 1, 0]], jnp.int32),
    jnp.asarray([[0.0, 0.25, 1.0, 0.9], [1.0, 0.5, 0.3, 0.0]], jnp.float32),
)


def expected(x: npt.NDArray[np.float32], row: int) -> npt.NDArray[np.float64]:
    """By the paper's formula, image by image."""
    wide = x.astype(np.float64)
    mixed = np.empty_like(wide)
    for image in range(len(x)):
        partner, share = int(MIX.partners[row, image]), float(MIX.shares[row, image])
        own, other = wide[image], wide[partner]
        mean = share * own.mean((0, 1)) + (1 - share) * other.mean((0, 1))
        std = share * own.std((0, 1)) + (1 - share) * other.std((0, 1))
        mixed[image] = (own - own.mean((0, 1))) / own.std((0, 1)) * std + mean
    return mixed


@pytest.mark.parametrize("stage", MIXED_STAGES)
def test_mean_and_deviation_are_mixed(stage: int) -> None:
    mixed = jax.jit(mix_styles, static_argnames="stage")(jnp.asarray(X), MIX, stage=stage)
    np.testing.assert_allclose(mixed, expected(X, MIXED_STAGES.index(stage)), rtol=0, atol=2e-5)


def test_other_stages_and_images_that_keep_their_style_keep_their_bits() -> None:
    np.testing.assert_array_equal(mix_styles(jnp.asarray(X), MIX, stage=2), X)
    np.testing.assert_array_equal(mix_styles(jnp.asarray(X), MIX, stage=0)[2], X[2])
    np.testing.assert_array_equal(mix_styles(jnp.asarray(X), MIX, stage=1)[0], X[0])


def test_a_channel_without_contrast_stays_finite_and_so_does_its_gradient() -> None:
    flat = jnp.zeros((4, 5, 3, 6))
    value, slope = jax.value_and_grad(lambda x: mix_styles(x, MIX, stage=0).sum())(flat)
    assert value == 0
    assert np.isfinite(slope).all()


def test_nothing_is_differentiated_through_the_statistics() -> None:
    slope = jax.grad(lambda x: mix_styles(x, MIX, stage=0).sum())(jnp.asarray(X))
    std = X.astype(np.float64).std((1, 2), keepdims=True)
    share = np.asarray(MIX.shares)[0, :, None, None, None]
    partners = np.asarray(MIX.partners)[0]
    factor = np.broadcast_to(share + (1 - share) * std[partners] / std, X.shape)
    np.testing.assert_allclose(slope, factor, rtol=1e-5)


def test_low_precision_keeps_its_type() -> None:
    mixed = mix_styles(jnp.asarray(X, jnp.bfloat16), MIX, stage=0)
    assert mixed.dtype == jnp.bfloat16
    np.testing.assert_allclose(mixed.astype(jnp.float32), expected(X, 0), rtol=0.02, atol=0.05)


def test_so_many_images_are_mixed_and_everyone_is_somebodys_partner() -> None:
    draw = jax.jit(jax.vmap(lambda key: draw_style_mix(key, 0.3, images=8)))
    mix = draw(jax.random.split(jax.random.key(0), 500))
    partners, shares = np.asarray(mix.partners), np.asarray(mix.shares)
    assert partners.shape == shares.shape == (500, 2, 8)
    np.testing.assert_array_equal(np.sort(partners, axis=-1), np.tile(np.arange(8), (500, 2, 1)))
    assert ((shares >= 0) & (shares <= 1)).all()
    # A Beta draw with parameters 0.1 rounds to 1 in float32 in a tenth of the cases, so
    # count the images that keep less than 0.9: P(Beta(0.1, 0.1) < 0.9) = 0.5936, times 0.3.
    share = (shares < 0.9).mean()
    assert abs(share - 0.3 * 0.5936) < 5 * np.sqrt(0.18 * 0.82 / shares.size)
    # The stages are drawn apart, and images too.
    lower = shares < 0.9
    together = (lower[:, 0] & lower[:, 1]).mean()
    assert abs(together - share**2) < 5 * np.sqrt(0.032 / lower[:, 0].size)


def test_the_backbone_mixes_after_the_first_two_stages() -> None:
    backbone = Backbone(BACKBONES["tiny"])
    images = jax.random.normal(jax.random.key(1), (4, 16, 8, 3))
    variables = backbone.init(jax.random.key(0), images, train=False)
    plain = backbone.apply(variables, images, train=False)
    alone = StyleMix(MIX.partners, jnp.ones((2, 4)))
    same = backbone.apply(variables, images, train=False, styles=alone)
    np.testing.assert_array_equal(plain[0], same[0])
    for row in range(2):
        shares = jnp.ones((2, 4)).at[row, 0].set(0.0)
        mixed = backbone.apply(
            variables, images, train=False, styles=StyleMix(MIX.partners, shares)
        )
        changed = np.abs(np.asarray(mixed[0] - plain[0])).max((1, 2, 3)) > 1e-4
        np.testing.assert_array_equal(changed, [True, False, False, False])
