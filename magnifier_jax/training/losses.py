"""The terms of MagnifierNet's training loss.

Every function takes float32 (or wider) arrays and returns a scalar.
"""

from __future__ import annotations

import dataclasses
import functools

import jax
import jax.numpy as jnp
import optax

from magnifier_jax.model import Outputs
from magnifier_jax.model.layers import mean_of
from magnifier_jax.settings import setting

MARGIN = 0.3
LABEL_SMOOTHING = 0.1
CIRCLE_MARGIN, CIRCLE_SCALE = 0.25, 128.0
"""Relaxation m and scale γ of the circle loss for person re-identification, as published."""
# Under square roots and quotients, where zero has no gradient.
DISTANCE_FLOOR = 1e-12


@dataclasses.dataclass(frozen=True)
class LossWeights:
    """How much each term counts; the published values."""

    parsing: float = setting(2.0, "Weight of the part-parsing loss.", low=0, high=1e6)
    parts: float = setting(0.0125, "Weight of each single part's identity loss.", low=0, high=1e6)
    diversity: float = setting(
        0.01,
        "Weight of the diversity loss, which keeps part embeddings different; published: 0.01, and "
        "0.001 for CUHK03 detected.",
        low=0,
        high=1e6,
    )
    circle: float = setting(
        0.0,
        "Weight of the circle loss of each embedding that has a triplet loss, beside it.",
        low=0,
        high=1e6,
        added=True,
    )


def identity_loss(
    logits: jax.Array,
    labels: jax.Array,
    *,
    smoothing: float = LABEL_SMOOTHING,
    rows: jax.Array | None = None,
) -> jax.Array:
    """Cross-entropy against `(1 - ε) · onehot + ε / K`, mean over the batch.

    Args:
        logits: `[N, K]`.
        labels: Identity of each image, `[N]`.
        smoothing: ε.
        rows: Which images count, bool `[N]`; None for all.
    """
    log_shares = jax.nn.log_softmax(logits)
    own = jnp.take_along_axis(log_shares, labels[:, None], axis=1)[:, 0]
    return -mean_of((1 - smoothing) * own + smoothing * log_shares.mean(1), rows)


def triplet_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = MARGIN,
    rows: jax.Array | None = None,
) -> jax.Array:
    """Batch-hard triplet loss on Euclidean distances of embeddings that are not normalized.

    Hermans et al., "In Defense of the Triplet Loss for Person Re-Identification", 2017.

    Args:
        embeddings: `[N, C]`.
        labels: Identity of each image, `[N]`.
        margin: By how much the nearest other person should be farther than the farthest image
            of the same one.
        rows: Which images count, as anchors and for others, bool `[N]`; None for all. An anchor
            without another person has no loss.
    """
    squares = jnp.square(embeddings).sum(1)
    product = jnp.dot(embeddings, embeddings.T, precision=jax.lax.Precision.HIGHEST)
    distances = squares[:, None] + squares[None, :] - 2 * product
    distances = jnp.sqrt(jnp.maximum(distances, DISTANCE_FLOOR))
    same = labels[:, None] == labels[None, :]
    other = ~same
    if rows is not None:
        same, other = same & rows[None, :], other & rows[None, :]
    hardest_positive = jnp.where(same, distances, -jnp.inf).max(1)
    hardest_negative = jnp.where(other, distances, jnp.inf).min(1)
    return mean_of(jnp.maximum(0, margin + hardest_positive - hardest_negative), rows)


def circle_loss(
    embeddings: jax.Array,
    labels: jax.Array,
    *,
    margin: float = CIRCLE_MARGIN,
    scale: float = CIRCLE_SCALE,
    rows: jax.Array | None = None,
) -> jax.Array:
    """Circle loss of the pairs in a batch, mean over its images.

    Sun et al., "Circle Loss: A Unified Perspective of Pair Similarity Optimization", CVPR 2020,
    equations 6 and 7 with the margins of section 3.3: for an image with cosine similarities p to
    the others of its person and n to other people,

        log(1 + Σ exp(γ [n + m]₊ (n − m)) · Σ exp(−γ [1 + m − p]₊ (p − 1 + m))) / γ

    The bracketed weights are constants for the gradient. It is divided by γ, so that its size is
    that of the other terms whatever the scale.

    Args:
        embeddings: `[N, C]`, of any length.
        labels: Identity of each image, `[N]`; an image that is alone counts 0.
        margin: m.
        scale: γ.
        rows: Which images count, as anchors and for others, bool `[N]`; None for all.
    """
    squares = jnp.square(embeddings).sum(1, keepdims=True)
    directions = embeddings * jax.lax.rsqrt(squares + DISTANCE_FLOOR)
    cosines = jnp.dot(directions, directions.T, precision=jax.lax.Precision.HIGHEST)
    same = labels[:, None] == labels[None, :]
    others = same & ~jnp.eye(len(labels), dtype=bool)
    strangers = ~same
    if rows is not None:
        others, strangers = others & rows[None, :], strangers & rows[None, :]
    fixed = jax.lax.stop_gradient(cosines)
    negative = scale * jnp.maximum(fixed + margin, 0) * (cosines - margin)
    positive = -scale * jnp.maximum(1 + margin - fixed, 0) * (cosines - 1 + margin)
    # A finite stand-in for −∞, whose gradient is 0 where no pair is left.
    negatives = jax.nn.logsumexp(jnp.where(strangers, negative, -1e9), axis=1)
    positives = jax.nn.logsumexp(jnp.where(others, positive, -1e9), axis=1)
    return mean_of(jax.nn.softplus(negatives + positives), rows) / scale


def parsing_loss(logits: jax.Array, labels: jax.Array) -> jax.Array:
    """Cross-entropy of every cell, averaged per class, then over the classes in the batch.

    Args:
        logits: `[N, h, w, P]`.
        labels: Part classes `[N, h, w]`; cells of a class from P on are left out.
    """
    one_hot = jax.nn.one_hot(labels, logits.shape[-1], dtype=logits.dtype)
    entropy = optax.softmax_cross_entropy(logits, one_hot)
    cells = one_hot.sum((0, 1, 2))
    per_class = jnp.einsum("nhw,nhwp->p", entropy, one_hot) / jnp.maximum(cells, 1)
    return per_class.sum() / jnp.maximum((cells > 0).sum(), 1)


def diversity_loss(part_embeddings: jax.Array, *, rows: jax.Array | None = None) -> jax.Array:
    """How alike the embeddings of different parts are.

    The mean over all pairs of parts of the batch-mean cosine similarity, clamped at 0 from below.

    Args:
        part_embeddings: `[N, P, C]`; a hidden part is a row of zeros and similar to none.
        rows: Which images count, bool `[N]`; None for all.
    """
    squares = jnp.square(part_embeddings).sum(-1, keepdims=True)
    # A hidden part has no direction and gets no gradient; the 1 keeps the root's finite there.
    shown = squares > DISTANCE_FLOOR
    lengths = jax.lax.rsqrt(jnp.where(shown, squares, 1))
    directions = jnp.where(shown, part_embeddings * lengths, 0)
    cosines = jnp.einsum(
        "npc,nqc->npq", directions, directions, precision=jax.lax.Precision.HIGHEST
    )
    cosines = mean_of(cosines, rows)
    parts = cosines.shape[0]
    upper = jnp.triu_indices(parts, 1)
    return jnp.maximum(cosines[upper], 0).mean()


def total_loss(
    outputs: Outputs,
    labels: jax.Array,
    part_labels: jax.Array | None,
    weights: LossWeights,
    *,
    diversity_on: jax.Array | float = 1.0,
) -> tuple[jax.Array, dict[str, jax.Array]]:
    """The weighted sum of every term that the network's branches allow.

    Args:
        outputs: What the network made of the batch in training.
        labels: Identity of each image, `[N]`.
        part_labels: Part classes `[N, 2h, 2w]`, or None for a network without parts. Those of an
            image without a part map are `NO_MAP`; the terms with parts then count
            `outputs.part_rows` alone.
        weights: How much each term counts.
        diversity_on: 0 before the epoch from which the diversity loss counts, then 1.

    Returns:
        The sum and, for the log, each term before its weight, the weights that follow the batch,
        and the sum as `total`. Terms: `global_id`, `global_triplet`, `parsing`,
        `adversarial_id`, `adversarial_weight`, `fusion_id`, `fusion_triplet`, `part<k>_id`,
        `part<k>_weight`, `diversity`, and `global_circle` and `fusion_circle` if they count.
    """
    terms: dict[str, jax.Array] = {}
    weighted: list[jax.Array] = []
    rows = outputs.part_rows

    def add(name: str, value: jax.Array, weight: jax.Array | float = 1.0) -> None:
        terms[name] = value
        weighted.append(weight * value)

    if outputs.global_logits is not None and outputs.global_embedding is not None:
        add("global_id", identity_loss(outputs.global_logits, labels))
        add("global_triplet", triplet_loss(outputs.global_embedding, labels))
        if weights.circle:
            add("global_circle", circle_loss(outputs.global_embedding, labels), weights.circle)
    if outputs.parsing_logits is not None and part_labels is not None:
        add("parsing", parsing_loss(outputs.parsing_logits, part_labels), weights.parsing)
    if outputs.adversarial_logits is not None and outputs.visible is not None:
        terms["adversarial_weight"] = jax.nn.sigmoid(outputs.visible)
        adversarial = identity_loss(
            outputs.adversarial_logits, labels, rows=outputs.adversarial_rows
        )
        add("adversarial_id", adversarial, terms["adversarial_weight"])
    if outputs.fusion_logits is not None and outputs.fusion_embedding is not None:
        add("fusion_id", identity_loss(outputs.fusion_logits, labels, rows=rows))
        add("fusion_triplet", triplet_loss(outputs.fusion_embedding, labels, rows=rows))
        if weights.circle:
            circle = circle_loss(outputs.fusion_embedding, labels, rows=rows)
            add("fusion_circle", circle, weights.circle)
    if outputs.part_logits is not None and outputs.part_shares is not None:
        presence = jax.nn.sigmoid(mean_of(outputs.part_shares, rows))
        identity = functools.partial(identity_loss, rows=rows)
        part_identity = jax.vmap(identity, in_axes=(1, None))(outputs.part_logits, labels)
        for part in range(part_identity.shape[0]):
            terms[f"part{part}_weight"] = presence[part]
            add(f"part{part}_id", part_identity[part], weights.parts * presence[part])
    if outputs.part_embeddings is not None:
        diversity = diversity_loss(outputs.part_embeddings, rows=rows)
        add("diversity", diversity, weights.diversity * diversity_on)
    terms["total"] = jnp.asarray(sum(weighted))
    return terms["total"], terms
