"""MagnifierNet: the three branches put together.

Lan et al., "MagnifierNet: Towards Semantic Adversary and Fusion for Person Re-identification",
BMVC 2020.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from flax import struct

from magnifier_jax.model.branches import (
    AdversarialBranch,
    BranchOutputs,
    FusionBranch,
    GlobalBranch,
    ParsingHead,
)
from magnifier_jax.model.layers import Dtype
from magnifier_jax.model.resnet import Backbone, BackboneSpec, Kept
from magnifier_jax.model.styles import StyleMix


@struct.dataclass
class Outputs:
    """Everything that the network makes of a batch; None for what is switched off.

    N images, K training identities, P parts, h × w cells of the trunk.

    Attributes:
        descriptor: The necks of the branches side by side, `[N, D]`, not normalized.
        global_embedding: `[N, C4]`.
        global_logits: `[N, K]`.
        adversarial_embedding: `[N, C3]`.
        adversarial_logits: `[N, K]`.
        fusion_embedding: `[N, C3]`.
        fusion_logits: `[N, K]`.
        part_embeddings: `[N, P, C3]`, zeros where an image does not show the part.
        part_necks: The same after each part's own neck, `[N, P, C3]`.
        part_logits: Identity scores of each part alone, `[N, P, K]`.
        parsing_logits: Part scores of each cell, `[N, 2h, 2w, P]`.
        part_map: The part classes that the branches used, `[N, h, w]`.
        visible: Share of the cells that semantic occlusion left, a scalar; 1 without it.
        part_shares: Share of the cells of each part, `[N, P]`.
        part_rows: Which images the terms with parts count, bool `[N]`; None for all.
        adversarial_rows: Which images the adversarial branch learns from, bool `[N]`; None for
            all.
    """

    descriptor: jax.Array
    global_embedding: jax.Array | None = None
    global_logits: jax.Array | None = None
    adversarial_embedding: jax.Array | None = None
    adversarial_logits: jax.Array | None = None
    fusion_embedding: jax.Array | None = None
    fusion_logits: jax.Array | None = None
    part_embeddings: jax.Array | None = None
    part_necks: jax.Array | None = None
    part_logits: jax.Array | None = None
    parsing_logits: jax.Array | None = None
    part_map: jax.Array | None = None
    visible: jax.Array | None = None
    part_shares: jax.Array | None = None
    part_rows: jax.Array | None = None
    adversarial_rows: jax.Array | None = None


def classifies_identities(path: Sequence[str]) -> bool:
    """Whether the variable at a path, such as `(params, fusion, classifier, bias)`, tells people.

    The parsing head's classifier tells parts.
    """
    return path[-2] in ("classifier", "part_classifiers") and "parsing" not in path


class MagnifierNet(nn.Module):
    """The whole network.

    Attributes:
        num_identities: K, the training identities.
        backbone: Shape of the ResNet.
        num_parts: P, the part classes, background included.
        use_global: Whether there is a global branch.
        use_adversarial: Whether there is a semantic adversarial branch.
        use_fusion: Whether there is a semantic fusion branch; it needs the parsing head.
        use_parsing: Whether there is a part-parsing head.
        parsing_features: Channels inside the parsing head.
        stem_relu: See `Backbone`.
        keep: What is kept of the forward pass for the gradient: `all`, or the inputs of `blocks` or
            `stages` only, from which the rest is computed again. Results are the same.
        unroll: Writes the LSTM's loop out, for exporters that cannot carry one.
        dtype: Type of the heavy computations.
        param_dtype: Type of parameters, statistics, embeddings and logits.
    """

    num_identities: int
    backbone: BackboneSpec
    num_parts: int = 8
    use_global: bool = True
    use_adversarial: bool = True
    use_fusion: bool = True
    use_parsing: bool = True
    parsing_features: int = 256
    stem_relu: bool = False
    keep: Kept = "all"
    unroll: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @property
    def stem_norm(self) -> str:
        """Kind of the stem's norm; see `BackboneSpec`."""
        return self.backbone.stem_norm

    @nn.compact
    def __call__(
        self,
        images: jax.Array,
        *,
        train: bool,
        part_labels: jax.Array | None = None,
        hidden: jax.Array | None = None,
        labeled: jax.Array | None = None,
        styles: StyleMix | None = None,
    ) -> Outputs:
        """Runs the network.

        Args:
            images: Normalized images `[N, H, W, 3]`; H and W divide by the trunk's stride.
            train: Whether batch norms use the batch's statistics, and the branches the given
                part labels.
            part_labels: Part classes `[N, 2h, 2w]` at the backbone's `label_stride`. Needed with
                `train` if the adversarial or the fusion branch is on. Without them the parsing
                head's own prediction is used.
            hidden: Which parts semantic occlusion hides, `[N or 1, P]`; see
                `draw_occluded_parts`.
            labeled: Which images have part labels, bool `[N]`; None if all do. The branches that
                need part labels learn as if the batch held no other images; what they make of
                the others means nothing.
            styles: How the styles of early feature maps are mixed, in training only; None for not
                at all.

        Returns:
            Everything the branches make.

        Raises:
            ValueError: The size does not fit, no branch is on, or part labels are missing.
        """
        self._check(images, train=train, part_labels=part_labels)
        types: dict[str, Any] = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        branch = {"num_identities": self.num_identities, "keep": self.keep, **types}
        backbone = Backbone(self.backbone, self.stem_relu, self.keep, name="backbone", **types)
        trunk, features = backbone(images.astype(self.dtype), train=train, styles=styles)

        found: dict[str, Any] = {}
        necks = []

        def keep(name: str, outputs: BranchOutputs) -> None:
            found[f"{name}_embedding"] = outputs.embedding
            found[f"{name}_logits"] = outputs.logits
            necks.append(outputs.neck)

        if self.use_global:
            keep("global", GlobalBranch(name="global_branch", **branch)(features, train=train))
        if self.use_parsing:
            head = ParsingHead(self.num_parts, self.parsing_features, name="parsing", **types)
            found["parsing_logits"] = head(features, train=train, rows=labeled)
        part_map = self._part_map(part_labels, found.get("parsing_logits"))
        if part_map is not None:
            one_hot = jax.nn.one_hot(part_map, self.num_parts, dtype=self.param_dtype)
            found |= {"part_map": part_map, "part_shares": one_hot.mean((1, 2))}
        if self.use_adversarial:
            rows = found["adversarial_rows"] = None if hidden is None else labeled
            outputs, found["visible"] = AdversarialBranch(name="adversarial", **branch)(
                trunk, train=train, part_map=part_map, hidden=hidden, rows=rows
            )
            keep("adversarial", outputs)
        if self.use_fusion and part_map is not None:
            fusion = FusionBranch(
                num_parts=self.num_parts, unroll=self.unroll, name="fusion", **branch
            )(trunk, part_map, train=train, rows=labeled)
            keep("fusion", fusion)
            found["part_embeddings"] = fusion.part_embeddings
            found["part_necks"] = fusion.part_necks
            found["part_logits"] = fusion.part_logits
        return Outputs(descriptor=jnp.concatenate(necks, axis=1), part_rows=labeled, **found)

    def _check(self, images: jax.Array, *, train: bool, part_labels: jax.Array | None) -> None:
        stride = self.backbone.trunk_stride
        if images.shape[1] % stride or images.shape[2] % stride:
            height, width = images.shape[1:3]
            raise ValueError(f"Images of {height} × {width} do not divide by {stride}.")
        if not (self.use_global or self.use_adversarial or self.use_fusion):
            raise ValueError("At least one branch must be on.")
        if self.use_fusion and not self.use_parsing:
            raise ValueError("The fusion branch needs the parsing head.")
        if train and self.use_fusion and part_labels is None:
            raise ValueError("Training the fusion branch needs part labels.")

    def _part_map(
        self, part_labels: jax.Array | None, parsing_logits: jax.Array | None
    ) -> jax.Array | None:
        """The classes at the trunk's resolution: cell (i, j) takes label (2i, 2j)."""
        if part_labels is None:
            if parsing_logits is None:
                return None
            part_labels = parsing_logits.argmax(-1)
        return part_labels[:, ::2, ::2].astype(jnp.int32)
