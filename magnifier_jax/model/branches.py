"""The part-parsing head and the three branches of MagnifierNet."""

from __future__ import annotations

import dataclasses
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from magnifier_jax.model.layers import (
    BatchNorm,
    Classifier,
    Dtype,
    UpConvolution,
    convolution,
    mean_of,
    relu,
)
from magnifier_jax.model.lstm import LSTM
from magnifier_jax.model.occlusion import visibility_mask
from magnifier_jax.model.pooling import max_of_cells, part_max_pool
from magnifier_jax.model.resnet import Bottleneck, Kept, apply_block, keeping


@dataclasses.dataclass(frozen=True)
class BranchOutputs:
    """What a branch makes of a batch.

    Attributes:
        embedding: Before the neck, `[N, C]`; the triplet loss compares these.
        neck: After the neck's batch norm, `[N, C]`; a piece of the descriptor.
        logits: Scores of the training identities, `[N, K]`.
    """

    embedding: jax.Array
    neck: jax.Array
    logits: jax.Array


@dataclasses.dataclass(frozen=True)
class FusionOutputs(BranchOutputs):
    """What the semantic fusion branch adds.

    Attributes:
        part_embeddings: Before their necks, `[N, P, C]`; zeros where a part is hidden.
        part_necks: After each part's own neck, `[N, P, C]`.
        part_logits: Scores of the training identities by each part alone, `[N, P, K]`.
    """

    part_embeddings: jax.Array
    part_necks: jax.Array
    part_logits: jax.Array


class _Branch(nn.Module):
    """What the branches share: identity count, types, and what is kept for the gradient."""

    num_identities: int
    keep: Kept = "all"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    def types(self) -> dict[str, Any]:
        return {"dtype": self.dtype, "param_dtype": self.param_dtype}

    def neck(
        self,
        embedding: jax.Array,
        *,
        train: bool,
        name: str = "neck",
        feature_axes: int = 1,
        rows: jax.Array | None = None,
    ) -> jax.Array:
        norm = BatchNorm(
            feature_axes, False, dtype=self.param_dtype, param_dtype=self.param_dtype, name=name
        )
        return norm(embedding, train=train, rows=rows)

    def bottleneck(
        self, trunk: jax.Array, *, train: bool, rows: jax.Array | None = None
    ) -> jax.Array:
        block = Bottleneck(trunk.shape[-1] // 4, name="bottleneck", **self.types())
        return keeping(self.keep, "blocks", apply_block)(block, trunk, train, rows)

    def classify(self, neck: jax.Array) -> jax.Array:
        layer = Classifier(self.num_identities, param_dtype=self.param_dtype, name="classifier")
        return layer(neck)


class GlobalBranch(_Branch):
    """Average-pools the whole image."""

    @nn.compact
    def __call__(self, features: jax.Array, *, train: bool) -> BranchOutputs:
        """Maps stage 4 `[N, h, w, C]` to an embedding `[N, C]`."""
        embedding = features.astype(self.param_dtype).mean((1, 2))
        neck = self.neck(embedding, train=train)
        return BranchOutputs(embedding, neck, self.classify(neck))


class AdversarialBranch(_Branch):
    """Learns from features whose body parts are hidden at random (SAB)."""

    @nn.compact
    def __call__(
        self,
        trunk: jax.Array,
        *,
        train: bool,
        part_map: jax.Array | None = None,
        hidden: jax.Array | None = None,
        rows: jax.Array | None = None,
    ) -> tuple[BranchOutputs, jax.Array]:
        """Maps the trunk `[N, h, w, C]` to an embedding `[N, C]`.

        Args:
            trunk: Features after stage 3.
            train: Whether the norms use the batch's statistics.
            part_map: Part classes `[N, h, w]`, needed with `hidden`.
            hidden: Which parts are hidden, `[N or 1, P]`; None hides nothing.
            rows: Which images the branch learns from, bool `[N]`; None for all. What it makes of
                the others means nothing.

        Returns:
            The branch's outputs, and the visible share of the batch (a scalar in 0…1).
        """
        channels = trunk.shape[-1]
        x = self.bottleneck(trunk, train=train, rows=rows)
        visible = jnp.ones((), self.param_dtype)
        if hidden is not None:
            if part_map is None:
                raise ValueError("Hiding parts needs a part map.")
            mask = visibility_mask(part_map, hidden)
            visible = mask.astype(self.param_dtype)
            visible = visible.mean() if rows is None else mean_of(visible.mean((1, 2)), rows)
            x = x * mask[..., None].astype(x.dtype)
        pooled = max_of_cells(x)[:, None, None]
        reduced = convolution(channels, 1, name="reduce", **self.types())(pooled)
        embedding = reduced[:, 0, 0].astype(self.param_dtype)
        neck = self.neck(embedding, train=train, rows=rows)
        return BranchOutputs(embedding, neck, self.classify(neck)), visible


class FusionBranch(_Branch):
    """Reads the embeddings of the body parts in sequence (SFB)."""

    num_parts: int = 8
    unroll: bool = False

    @nn.compact
    def __call__(
        self,
        trunk: jax.Array,
        part_map: jax.Array,
        *,
        train: bool,
        rows: jax.Array | None = None,
    ) -> FusionOutputs:
        """Maps the trunk `[N, h, w, C]` and part classes `[N, h, w]` to an embedding `[N, C]`.

        `rows` as for `AdversarialBranch`.
        """
        channels = trunk.shape[-1]
        x = self.bottleneck(trunk, train=train, rows=rows)
        parts = part_max_pool(x, part_map, num_parts=self.num_parts)
        part_embeddings = parts.astype(self.param_dtype)
        part_necks = self.neck(
            part_embeddings, train=train, name="part_necks", feature_axes=2, rows=rows
        )
        part_logits = Classifier(
            self.num_identities,
            parts=self.num_parts,
            param_dtype=self.param_dtype,
            name="part_classifiers",
        )(part_necks)
        lstm = LSTM(channels, unroll=self.unroll, name="lstm", **self.types())
        embedding = lstm(parts).astype(self.param_dtype)
        neck = self.neck(embedding, train=train, rows=rows)
        return FusionOutputs(
            embedding, neck, self.classify(neck), part_embeddings, part_necks, part_logits
        )


class ParsingHead(nn.Module):
    """Predicts the part class of every cell at twice the resolution of stage 4."""

    num_parts: int
    features: int = 256
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, features: jax.Array, *, train: bool, rows: jax.Array | None = None
    ) -> jax.Array:
        """Maps stage 4 `[N, h, w, C]` to part logits `[N, 2h, 2w, P]` in full precision.

        `rows` as for `AdversarialBranch`.
        """
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        x = UpConvolution(self.features, name="deconv", **types)(features)
        x = relu(BatchNorm(name="norm", **types)(x, train=train, rows=rows))
        head = nn.Conv(
            self.num_parts,
            (1, 1),
            kernel_init=nn.initializers.normal(0.001),
            name="classifier",
            **types,
        )
        return head(x).astype(self.param_dtype)
