"""Batch-norm statistics of given images."""

from __future__ import annotations

import jax
import jax.numpy as jnp
import numpy as np

from magnifier_jax.model import BACKBONES, MagnifierNet
from magnifier_jax.model.statistics import statistics_of, toward

MODEL = MagnifierNet(3, BACKBONES["tiny"], parsing_features=8)
GLOBAL = MODEL.clone(use_adversarial=False, use_fusion=False, use_parsing=False)
IMAGES = jax.random.normal(jax.random.key(1), (32, 32, 16, 3)) * 2 + 0.7


def initial(model: MagnifierNet) -> dict:
    labels = jnp.zeros((2, 8, 4), jnp.int32)
    images = jnp.zeros((2, 16, 8, 3))
    return model.init(jax.random.key(0), images, train=True, part_labels=labels)


def leaves(tree) -> dict[str, np.ndarray]:
    found = jax.tree_util.tree_leaves_with_path(tree)
    return {jax.tree_util.keystr(path): np.asarray(leaf) for path, leaf in found}


def test_the_first_norm_has_the_mean_and_variance_of_what_it_sees() -> None:
    variables = initial(MODEL)
    found = jax.jit(statistics_of, static_argnums=0)(MODEL, variables, IMAGES)
    both = jnp.concatenate([IMAGES, IMAGES[:, :, ::-1]])
    kernel = variables["params"]["backbone"]["conv1"]["kernel"]
    seen = jax.lax.conv_general_dilated(
        both, kernel, (2, 2), [(1, 1)] * 2, dimension_numbers=("NHWC", "HWIO", "NHWC")
    )
    seen = np.asarray(seen, np.float64).reshape(-1, seen.shape[-1])
    norm = found["backbone"]["norm1"]
    np.testing.assert_allclose(norm["mean"], seen.mean(0), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(norm["var"], seen.var(0, ddof=1), rtol=1e-4)


def test_every_mean_and_variance_is_that_of_the_images_and_nothing_else_changes() -> None:
    variables = initial(MODEL)
    # What was there before does not matter, but for a neck's bias, which is no statistic.
    random = np.random.default_rng(0)
    other = jax.tree.map(
        lambda x: np.asarray(random.uniform(1, 2, x.shape), np.float32), variables["batch_stats"]
    )
    find = jax.jit(statistics_of, static_argnums=0)
    once = leaves(find(GLOBAL, initial(GLOBAL), IMAGES))
    before = {"batch_stats": jax.tree.map(lambda x: x + 3.0, initial(GLOBAL)["batch_stats"])}
    again = leaves(find(GLOBAL, initial(GLOBAL) | before, IMAGES))
    for name, value in leaves(before["batch_stats"]).items():
        expected = value if "bias" in name else once[name]
        np.testing.assert_allclose(again[name], expected, rtol=1e-6, err_msg=name)
    found = leaves(find(MODEL, variables | {"batch_stats": other}, IMAGES))
    kept = {name for name, value in leaves(other).items() if (found[name] == value).all()}
    assert kept == {name for name in found if "bias" in name}
    assert kept


def test_an_adapted_network_does_what_training_does_with_the_batch() -> None:
    variables = initial(GLOBAL)
    find = jax.jit(statistics_of, static_argnums=0)
    adapted = variables | {"batch_stats": find(GLOBAL, variables, IMAGES)}
    both = jnp.concatenate([IMAGES, IMAGES[:, :, ::-1]])
    trained, _ = GLOBAL.apply(variables, both, train=True, mutable=["batch_stats"])
    found = GLOBAL.apply(adapted, both, train=False)
    # Running variances are unbiased, those of a batch are not: of 2,048 values or more here.
    np.testing.assert_allclose(
        found.global_embedding, trained.global_embedding, rtol=0.02, atol=0.02
    )


def test_a_gain_of_the_camera_is_gone() -> None:
    variables = initial(GLOBAL)
    find = jax.jit(statistics_of, static_argnums=0)

    def descriptors(images: jax.Array) -> jax.Array:
        adapted = variables | {"batch_stats": find(GLOBAL, variables, images)}
        return GLOBAL.apply(adapted, images, train=False).descriptor

    plain, bright = descriptors(IMAGES), descriptors(3.0 * IMAGES)
    np.testing.assert_allclose(bright, plain, rtol=1e-3, atol=1e-3)
    unadapted = GLOBAL.apply(variables, 3.0 * IMAGES, train=False).descriptor
    assert np.abs(np.asarray(unadapted - plain)).max() > 0.1


def test_statistics_move_by_a_share() -> None:
    before = {"norm": {"mean": np.zeros(2), "var": np.ones(2), "bias": np.full(2, 5.0)}}
    found = {"norm": {"mean": np.full(2, 4.0), "var": np.full(2, 9.0), "bias": np.zeros(2)}}
    moved = toward(before, found, share=0.25)["norm"]
    np.testing.assert_array_equal(moved["mean"], 1.0)
    np.testing.assert_array_equal(moved["var"], 3.0)
    np.testing.assert_array_equal(moved["bias"], 5.0)
