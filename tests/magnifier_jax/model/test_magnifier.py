"""The whole network: sizes, switches, and what reaches what."""

from __future__ import annotations

import dataclasses
import functools
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model import BACKBONES, MagnifierNet, Outputs

MODEL = MagnifierNet(6, BACKBONES["tiny"], parsing_features=16)
# The tiny backbone's trunk: a stride of 4 and 64 channels, 128 after stage 4.
HEIGHT, WIDTH = 24, 12
TRUNK, LAST = 64, 128


def shapes(
    model: MagnifierNet, height: int = HEIGHT, width: int = WIDTH, *, train: bool = False
) -> tuple[Outputs, Any]:
    stride = model.backbone.label_stride
    images = jax.ShapeDtypeStruct((2, height, width, 3), jnp.float32)
    labels = jax.ShapeDtypeStruct((2, height // stride, width // stride), jnp.int32)

    def run(images: jax.Array, labels: jax.Array) -> Any:
        labels = labels if train else None
        key = jax.random.key(0)
        return model.init_with_output(key, images, train=train, part_labels=labels)

    return jax.eval_shape(run, images, labels)


@functools.cache
def variables() -> Any:
    """Random statistics too, so that every number has a consequence."""
    rng = np.random.default_rng(0)

    def draw(path: Any, leaf: Any) -> np.ndarray:
        if path[-1].key in ("scale", "var"):
            return rng.uniform(0.5, 1.5, leaf.shape).astype(np.float32)
        spread = 0.1 if leaf.ndim == 1 else np.prod(leaf.shape[:-1]) ** -0.5
        return (spread * rng.standard_normal(leaf.shape)).astype(np.float32)

    return jax.tree_util.tree_map_with_path(draw, shapes(MODEL)[1])


@functools.cache
def program(train: bool) -> Any:
    def run(variables: Any, images: jax.Array, **inputs: jax.Array) -> tuple[Outputs, Any]:
        return MODEL.apply(variables, images, train=train, mutable=["batch_stats"], **inputs)

    return jax.jit(run)


def run(train: bool = False, images: np.ndarray | None = None, **inputs: Any) -> Outputs:
    return program(train)(variables(), random_images() if images is None else images, **inputs)[0]


def random_images(number: int = 4) -> np.ndarray:
    rng = np.random.default_rng(1)
    return rng.standard_normal((number, HEIGHT, WIDTH, 3)).astype(np.float32)


def part_labels(number: int = 4) -> np.ndarray:
    return np.random.default_rng(2).integers(0, 8, (number, HEIGHT // 2, WIDTH // 2))


@pytest.mark.parametrize("size", [(16, 16), (48, 16), (128, 64), (80, 112)])
def test_every_size_that_divides_by_16(size: tuple[int, int]) -> None:
    model = MagnifierNet(751, BACKBONES["resnet50"])
    outputs, _ = shapes(model, *size, train=True)
    cells = (size[0] // 16, size[1] // 16)
    assert outputs.descriptor.shape == (2, 4096)
    assert outputs.part_map.shape == (2, *cells)
    assert outputs.parsing_logits.shape == (2, 2 * cells[0], 2 * cells[1], 8)
    assert outputs.part_embeddings.shape == (2, 8, 1024)
    assert outputs.part_logits.shape == (2, 8, 751)


def test_other_number_of_parts() -> None:
    outputs, made = shapes(dataclasses.replace(MODEL, num_parts=5), train=True)
    assert outputs.part_embeddings.shape == (2, 5, TRUNK)
    assert outputs.part_logits.shape == (2, 5, 6)
    assert outputs.part_shares.shape == (2, 5)
    assert outputs.parsing_logits.shape == (2, 12, 6, 5)
    assert outputs.descriptor.shape == (2, LAST + 2 * TRUNK)
    assert made["params"]["fusion"]["part_classifiers"]["kernel"].shape == (5, TRUNK, 6)


SWITCHES = {
    "baseline": ((True, False, False, False), LAST),
    "+ mask branch": ((True, False, False, True), LAST),
    "+ SAB": ((True, True, False, True), LAST + TRUNK),
    "+ SFB": ((True, False, True, True), LAST + TRUNK),
    "no global": ((False, True, True, True), 2 * TRUNK),
    "SAB alone": ((False, True, False, False), TRUNK),
    "all": ((True, True, True, True), LAST + 2 * TRUNK),
}


@pytest.mark.parametrize("row", SWITCHES)
@pytest.mark.parametrize("train", [False, True])
def test_each_branch_can_be_switched_off(row: str, train: bool) -> None:
    (has_global, adversarial, fusion, parsing), size = SWITCHES[row]
    model = dataclasses.replace(
        MODEL,
        use_global=has_global,
        use_adversarial=adversarial,
        use_fusion=fusion,
        use_parsing=parsing,
    )
    outputs, made = shapes(model, train=train)
    assert outputs.descriptor.shape == (2, size)
    assert (outputs.global_logits is not None) == has_global
    assert (outputs.adversarial_logits is not None) == adversarial
    assert (outputs.fusion_logits is not None) == fusion
    assert (outputs.part_logits is not None) == fusion
    assert (outputs.parsing_logits is not None) == parsing
    names = {"global_branch": has_global, "adversarial": adversarial, "fusion": fusion}
    expected = {name for name, on in {**names, "parsing": parsing}.items() if on}
    assert set(made["params"]) == {"backbone", *expected}


@pytest.mark.parametrize(
    ("changes", "size", "message"),
    [
        ({}, (26, 12), "26 × 12 do not divide by 4"),
        ({"use_parsing": False}, (24, 12), "needs the parsing head"),
        (
            {"use_global": False, "use_adversarial": False, "use_fusion": False},
            (24, 12),
            "At least one branch",
        ),
    ],
)
def test_what_cannot_be_is_refused(
    changes: dict[str, bool], size: tuple[int, int], message: str
) -> None:
    with pytest.raises(ValueError, match=message):
        shapes(dataclasses.replace(MODEL, **changes), *size)


def test_training_needs_part_labels() -> None:
    with pytest.raises(ValueError, match="needs part labels"):
        jax.eval_shape(lambda: MODEL.init(jax.random.key(0), random_images(), train=True))


def test_hiding_needs_a_part_map() -> None:
    model = dataclasses.replace(MODEL, use_fusion=False, use_parsing=False)
    with pytest.raises(ValueError, match="needs a part map"):
        jax.eval_shape(
            lambda: model.init(
                jax.random.key(0), random_images(), train=True, hidden=jnp.zeros((1, 8), bool)
            )
        )


def test_inference_takes_the_parsing_heads_best_guess() -> None:
    outputs = run()
    predicted = np.asarray(outputs.parsing_logits).argmax(-1)
    np.testing.assert_array_equal(outputs.part_map, predicted[:, ::2, ::2])
    assert len(np.unique(outputs.part_map)) > 2
    given = run(part_labels=jnp.asarray(predicted))
    np.testing.assert_allclose(given.descriptor, outputs.descriptor, rtol=1e-5, atol=1e-5)


def test_training_takes_the_given_labels() -> None:
    outputs = run(train=True, part_labels=part_labels())
    np.testing.assert_array_equal(outputs.part_map, part_labels()[:, ::2, ::2])
    shares = [[(part_map == part).mean() for part in range(8)] for part_map in outputs.part_map]
    np.testing.assert_allclose(outputs.part_shares, shares, rtol=1e-6)


def test_descriptor_is_the_necks_in_order() -> None:
    outputs = run()
    stats, params = variables()["batch_stats"], variables()["params"]

    def neck(branch: str, embedding: jax.Array) -> np.ndarray:
        norm = stats[branch]["neck"]
        scaled = (embedding - norm["mean"][None]) / np.sqrt(norm["var"][None] + 1e-5)
        return scaled * params[branch]["neck"]["scale"][None] + norm["bias"][None]

    expected = np.concatenate(
        [
            neck("global_branch", outputs.global_embedding),
            neck("adversarial", outputs.adversarial_embedding),
            neck("fusion", outputs.fusion_embedding),
        ],
        axis=1,
    )
    np.testing.assert_allclose(outputs.descriptor, expected, rtol=1e-4, atol=1e-4)


def test_images_do_not_influence_each_other_at_inference() -> None:
    alone = run(images=random_images()[:1])
    np.testing.assert_allclose(run().descriptor[:1], alone.descriptor, rtol=1e-4, atol=1e-5)


def test_hidden_parts_reach_the_adversarial_branch_alone() -> None:
    hidden = np.zeros((1, 8), bool)
    hidden[0, [2, 4, 5]] = True
    inputs = {"part_labels": part_labels()}
    plain, occluded = run(True, **inputs, hidden=hidden & False), run(True, **inputs, hidden=hidden)
    covered = np.isin(part_labels()[:, ::2, ::2], [2, 4, 5]).mean()
    assert float(plain.visible) == 1
    assert float(occluded.visible) == pytest.approx(1 - covered, rel=1e-6)
    assert np.abs(plain.adversarial_embedding - occluded.adversarial_embedding).max() > 1e-3
    for name in ("global_embedding", "fusion_embedding", "parsing_logits"):
        np.testing.assert_array_equal(getattr(plain, name), getattr(occluded, name))


def test_a_part_that_is_not_there_has_a_zero_embedding() -> None:
    labels = np.where(part_labels() == 3, 0, part_labels())
    outputs = run(True, part_labels=labels)
    np.testing.assert_array_equal(outputs.part_embeddings[:, 3], 0)
    assert np.abs(outputs.part_embeddings[:, 2]).max() > 0


def test_bf16_keeps_what_is_compared_in_float32() -> None:
    outputs, made = shapes(dataclasses.replace(MODEL, dtype=jnp.bfloat16), train=True)
    assert {leaf.dtype for leaf in jax.tree.leaves(made)} == {np.dtype(np.float32)}
    floats = {
        field.name: getattr(outputs, field.name).dtype
        for field in dataclasses.fields(outputs)
        if field.name != "part_map" and getattr(outputs, field.name) is not None
    }
    assert {"global_embedding", "fusion_logits", "part_embeddings"} <= set(floats)
    assert set(floats.values()) == {np.dtype(np.float32)}
