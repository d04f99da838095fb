"""Loss terms against their definitions, written as loops."""

from __future__ import annotations

import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from magnifier_jax.model import Outputs
from magnifier_jax.training import losses

LABELS = np.array([3, 3, 0, 0, 5, 5])


def normal(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def log_softmax(x: np.ndarray) -> np.ndarray:
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def test_identity_loss() -> None:
    logits = normal(6, 7)
    targets = np.full((6, 7), 0.1 / 7)
    targets[np.arange(6), LABELS] += 0.9
    expected = -(targets * log_softmax(logits)).sum(1).mean()
    assert losses.identity_loss(logits, LABELS) == pytest.approx(expected, rel=1e-5)


def test_identity_loss_of_extreme_logits_is_finite() -> None:
    logits = jnp.full((6, 7), -1e4).at[:, 3].set(1e4)
    value, gradient = jax.value_and_grad(losses.identity_loss)(logits, jnp.asarray(LABELS))
    assert np.isfinite(value)
    assert np.isfinite(gradient).all()


def hardest(embeddings: np.ndarray, labels: np.ndarray, margin: float) -> float:
    found = []
    for anchor, label in zip(embeddings, labels, strict=True):
        distances = np.sqrt(np.maximum(((embeddings - anchor) ** 2).sum(1), 1e-12))
        positive, negative = distances[labels == label].max(), distances[labels != label].min()
        found.append(max(0.0, margin + positive - negative))
    return float(np.mean(found))


@pytest.mark.parametrize("scale", [0.1, 1.0, 10.0])
def test_triplet_loss(scale: float) -> None:
    embeddings = normal(6, 4) * scale
    expected = hardest(embeddings, LABELS, 0.3)
    assert losses.triplet_loss(embeddings, LABELS) == pytest.approx(expected, rel=1e-3)


def test_triplet_loss_is_zero_when_people_are_far_apart() -> None:
    embeddings = LABELS[:, None] * np.float32(10) + normal(6, 4) * np.float32(0.01)
    assert float(losses.triplet_loss(embeddings, LABELS)) == 0


def test_triplet_loss_of_equal_embeddings_has_a_finite_gradient() -> None:
    value, gradient = jax.value_and_grad(losses.triplet_loss)(jnp.ones((6, 4)), jnp.asarray(LABELS))
    assert value == pytest.approx(0.3, abs=1e-5)
    assert np.isfinite(gradient).all()


def circle(embeddings: np.ndarray, labels: np.ndarray, margin: float, scale: float) -> float:
    found = []
    for i, anchor in enumerate(embeddings):
        positive = negative = 0.0
        for j, other in enumerate(embeddings):
            s = cosine(anchor, other)
            if labels[i] != labels[j]:
                negative += np.exp(scale * max(s + margin, 0) * (s - margin))
            elif i != j:
                positive += np.exp(-scale * max(1 + margin - s, 0) * (s - (1 - margin)))
        found.append(np.log1p(negative * positive) / scale)
    return float(np.mean(found))


@pytest.mark.parametrize(("margin", "scale"), [(0.25, 16.0), (0.4, 4.0)])
def test_circle_loss(margin: float, scale: float) -> None:
    embeddings = normal(6, 4) * 3
    expected = circle(embeddings.astype(float), LABELS, margin, scale)
    found = losses.circle_loss(embeddings, LABELS, margin=margin, scale=scale)
    assert found == pytest.approx(expected, rel=1e-4)


def test_circle_loss_takes_its_own_weights_as_constants() -> None:
    """One pair of each kind: d/dp of γ (1 + m − p) (1 − m − p), with the first factor fixed."""
    embeddings = jnp.array([[1.0, 0.0], [0.6, 0.8], [0.0, -1.0]])
    labels = jnp.array([0, 0, 1])

    def of_similarity(p: jax.Array) -> jax.Array:
        q = jnp.stack([p, jnp.sqrt(1 - p**2)])
        return losses.circle_loss(embeddings.at[1].set(q), labels, margin=0.25, scale=2.0)

    def by_hand(p: float, fixed: float) -> float:
        """Of the anchors 0 and 1, each with one positive and one negative; 2 has no positive."""
        n = {0: 0.0, 1: -np.sqrt(1 - p**2)}
        n_fixed = {0: 0.0, 1: -np.sqrt(1 - fixed**2)}
        total = 0.0
        for i in (0, 1):
            negative = 2 * max(n_fixed[i] + 0.25, 0) * (n[i] - 0.25)
            positive = -2 * max(1.25 - fixed, 0) * (p - 0.75)
            total += np.log1p(np.exp(negative + positive)) / 2
        return total / 3

    value, gradient = jax.jit(jax.value_and_grad(of_similarity))(jnp.float32(0.6))
    slope = (by_hand(0.6 + 1e-4, 0.6) - by_hand(0.6 - 1e-4, 0.6)) / 2e-4
    assert float(value) == pytest.approx(by_hand(0.6, 0.6), rel=1e-5)
    assert float(gradient) == pytest.approx(slope, rel=1e-3)


def test_parsing_loss_counts_only_the_classes_that_are_there() -> None:
    logits = normal(2, 4, 3, 8)
    labels = np.random.default_rng(1).choice([0, 2, 7], (2, 4, 3))
    entropy = -np.take_along_axis(log_softmax(logits), labels[..., None], -1)[..., 0]
    expected = np.mean([entropy[labels == part].mean() for part in (0, 2, 7)])
    assert losses.parsing_loss(logits, labels) == pytest.approx(expected, rel=1e-5)


def test_parsing_loss_of_labels_beyond_the_classes_is_zero() -> None:
    value, gradient = jax.value_and_grad(losses.parsing_loss)(
        jnp.ones((1, 2, 2, 4)), jnp.full((1, 2, 2), 7)
    )
    assert float(value) == 0
    np.testing.assert_array_equal(gradient, 0)


def test_absent_classes_get_no_gradient_of_their_own() -> None:
    labels = jnp.zeros((1, 2, 2), int)
    gradient = jax.grad(losses.parsing_loss)(jnp.zeros((1, 2, 2, 8)), labels)
    np.testing.assert_allclose(gradient[..., 0], (1 / 8 - 1) / 4, rtol=1e-5)
    np.testing.assert_allclose(gradient[..., 1:], 1 / 8 / 4, rtol=1e-5)


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    return float(a @ b / (np.linalg.norm(a) * np.linalg.norm(b)))


def test_diversity_loss() -> None:
    parts = normal(3, 8, 5)
    similarities = [
        np.mean([cosine(image[i], image[j]) for image in parts])
        for i, j in itertools.combinations(range(8), 2)
    ]
    assert len(similarities) == 28
    assert min(similarities) < 0
    expected = np.maximum(similarities, 0).mean()
    assert losses.diversity_loss(parts) == pytest.approx(expected, rel=1e-5)


def test_absent_parts_are_similar_to_none_and_get_no_gradient() -> None:
    parts = np.abs(normal(3, 8, 5))
    parts[:, 2] = 0
    value, gradient = jax.value_and_grad(losses.diversity_loss)(jnp.asarray(parts))
    present = np.delete(parts, 2, axis=1)
    pairs = itertools.combinations(range(7), 2)
    expected = sum(np.mean([cosine(p[i], p[j]) for p in present]) for i, j in pairs) / 28
    assert value == pytest.approx(expected, rel=1e-5)
    assert np.isfinite(gradient).all()
    np.testing.assert_array_equal(gradient[:, 2], np.zeros((3, 5)))
    assert 0 < np.abs(gradient).max() < 1


def whole_outputs() -> Outputs:
    return Outputs(
        descriptor=normal(6, 12),
        global_embedding=normal(6, 4, seed=1),
        global_logits=normal(6, 7, seed=2),
        adversarial_embedding=normal(6, 4, seed=3),
        adversarial_logits=normal(6, 7, seed=4),
        fusion_embedding=normal(6, 4, seed=5),
        fusion_logits=normal(6, 7, seed=6),
        part_embeddings=normal(6, 3, 4, seed=7),
        part_logits=normal(6, 3, 7, seed=8),
        parsing_logits=normal(6, 4, 2, 3, seed=9),
        visible=np.float32(0.7),
        part_shares=np.abs(normal(6, 3, seed=10)),
    )


PART_LABELS = np.random.default_rng(0).integers(0, 3, (6, 4, 2))


@pytest.mark.parametrize("diversity_on", [0.0, 1.0])
def test_total_is_the_published_sum(diversity_on: float) -> None:
    weights = losses.LossWeights(diversity=0.5)
    total, terms = losses.total_loss(
        whole_outputs(), LABELS, PART_LABELS, weights, diversity_on=diversity_on
    )
    shares = np.asarray(whole_outputs().part_shares).mean(0)
    expected = terms["global_id"] + terms["global_triplet"] + 2 * terms["parsing"]
    expected += terms["adversarial_id"] / (1 + np.exp(-0.7))
    expected += terms["fusion_id"] + terms["fusion_triplet"]
    for part, share in enumerate(shares):
        assert terms[f"part{part}_weight"] == pytest.approx(1 / (1 + np.exp(-share)), rel=1e-6)
        expected += 0.0125 * terms[f"part{part}_weight"] * terms[f"part{part}_id"]
    expected += diversity_on * 0.5 * terms["diversity"]
    assert total == pytest.approx(float(expected), rel=1e-6)
    assert terms["total"] == total


def test_circle_loss_counts_beside_the_triplet_losses() -> None:
    plain, _ = losses.total_loss(whole_outputs(), LABELS, PART_LABELS, losses.LossWeights())
    weights = losses.LossWeights(circle=3.0)
    total, terms = losses.total_loss(whole_outputs(), LABELS, PART_LABELS, weights)
    expected = losses.circle_loss(whole_outputs().global_embedding, LABELS)
    assert terms["global_circle"] == pytest.approx(float(expected), rel=1e-6)
    added = 3 * (terms["global_circle"] + terms["fusion_circle"])
    assert total == pytest.approx(float(plain + added), rel=1e-5)


def test_each_part_is_judged_by_its_own_logits() -> None:
    _, terms = losses.total_loss(whole_outputs(), LABELS, PART_LABELS, losses.LossWeights())
    logits = np.asarray(whole_outputs().part_logits)
    for part in range(3):
        expected = losses.identity_loss(logits[:, part], LABELS)
        assert terms[f"part{part}_id"] == pytest.approx(float(expected), rel=1e-6)


def test_what_is_switched_off_does_not_count() -> None:
    outputs = Outputs(
        descriptor=normal(6, 4), global_embedding=normal(6, 4), global_logits=normal(6, 7)
    )
    total, terms = losses.total_loss(outputs, LABELS, None, losses.LossWeights())
    assert set(terms) == {"global_id", "global_triplet", "total"}
    assert total == pytest.approx(float(terms["global_id"] + terms["global_triplet"]), rel=1e-6)
