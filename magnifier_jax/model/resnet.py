"""The ResNet that all branches share.

He et al., "Deep Residual Learning for Image Recognition", CVPR 2016, with the strides of
torchvision's models (on the bottleneck's 3×3 convolution) and a last stage that keeps its size.
With `ibn_a`, the first norm of every block of the first three stages is that of IBN-Net-a (Pan et
al., "Two at Once", ECCV 2018).
"""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any, Literal, get_args

import jax
import jax.numpy as jnp
from flax import linen as nn

from magnifier_jax.model.layers import (
    BatchNorm,
    Dtype,
    InstanceBatchNorm,
    InstanceNorm,
    convolution,
    relu,
)
from magnifier_jax.model.pooling import stem_max_pool
from magnifier_jax.model.styles import StyleMix, mix_styles


@dataclasses.dataclass(frozen=True)
class BackboneSpec:
    """The shape of a ResNet.

    Attributes:
        blocks: Blocks of each of the four stages.
        strides: Stride of each stage; the last one stays 1 so that small parts survive.
        bottleneck: Three-convolution blocks that widen by 4, or two-convolution ones.
        width: Channels of the stem.
        stem_kernel: Size of the stem's convolution, of stride 2.
        stem_pool: Whether a 3×3 max-pool of stride 2 follows the stem.
        ibn_a: Whether half of the channels of a block's first norm are normalized by instance.
        stem_norm: Kind of the stem's norm, of the batch or of each image.
    """

    blocks: tuple[int, int, int, int]
    strides: tuple[int, int, int, int] = (1, 2, 2, 1)
    bottleneck: bool = True
    width: int = 64
    stem_kernel: int = 7
    stem_pool: bool = True
    ibn_a: bool = False
    stem_norm: Literal["batch", "instance"] = "batch"

    @property
    def trunk_stride(self) -> int:
        """Input pixels per cell of the trunk's feature map."""
        stride = 2 * (2 if self.stem_pool else 1)
        for step in self.strides[:3]:
            stride *= step
        return stride

    @property
    def label_stride(self) -> int:
        """Input pixels per cell of the part maps that the network reads and predicts."""
        return self.trunk_stride // 2

    def has_ibn(self, stage: int) -> bool:
        """Whether the blocks of a stage, counted from 0, begin with an `InstanceBatchNorm`."""
        return self.ibn_a and stage < 3

    @property
    def trunk_channels(self) -> int:
        """Channels after the third stage."""
        return self.width * 4 * (4 if self.bottleneck else 1)


Kept = Literal["all", "blocks", "stages"]
"""What is kept of the forward pass for the gradient; see `keeping`."""

_SMALL_INPUT = {"strides": (1, 2, 1, 1), "stem_kernel": 3, "stem_pool": False}

_PLAIN = {
    "resnet18": BackboneSpec((2, 2, 2, 2), bottleneck=False),
    "resnet34": BackboneSpec((3, 4, 6, 3), bottleneck=False),
    "resnet50": BackboneSpec((3, 4, 6, 3)),
    "resnet101": BackboneSpec((3, 4, 23, 3)),
    # ResNet-18 at half the width, for images of about 128 × 64 on a CPU.
    "slim": BackboneSpec((2, 2, 2, 2), bottleneck=False, width=32),
    # For images of about 64 × 32 on a CPU: a total stride of 4 keeps the parts apart.
    "small": BackboneSpec((1, 1, 1, 1), width=16, **_SMALL_INPUT),  # type: ignore[arg-type]
    # The least network with every piece, for tests.
    "tiny": BackboneSpec((1, 1, 1, 1), width=4, **_SMALL_INPUT),  # type: ignore[arg-type]
}

BACKBONES: Mapping[str, BackboneSpec] = MappingProxyType(
    _PLAIN
    | {
        f"{name}_ibn_a": dataclasses.replace(spec, ibn_a=True)
        for name, spec in _PLAIN.items()
        if name != "resnet101"
    }
)


class Bottleneck(nn.Module):
    """1×1, 3×3, 1×1 convolutions with a residual; `[N, h, w, C]` to `[N, h/s, w/s, 4 · width]`."""

    width: int
    stride: int = 1
    project: bool = False
    ibn: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool, rows: jax.Array | None = None) -> jax.Array:
        """Applies the block; `rows` as for `BatchNorm`."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        residual = _shortcut(self, x, self.width * 4, train, rows)
        y = convolution(self.width, 1, name="conv1", **types)(x)
        norm = InstanceBatchNorm if self.ibn else BatchNorm
        y = relu(norm(name="norm1", **types)(y, train=train, rows=rows))
        y = convolution(self.width, 3, stride=self.stride, name="conv2", **types)(y)
        y = relu(BatchNorm(name="norm2", **types)(y, train=train, rows=rows))
        y = convolution(self.width * 4, 1, name="conv3", **types)(y)
        y = BatchNorm(name="norm3", **types)(y, train=train, rows=rows)
        return relu(y + residual)


class BasicBlock(nn.Module):
    """Two 3×3 convolutions with a residual; `[N, h, w, C]` to `[N, h/s, w/s, width]`."""

    width: int
    stride: int = 1
    project: bool = False
    ibn: bool = False
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(self, x: jax.Array, *, train: bool) -> jax.Array:
        """Applies the block."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        residual = _shortcut(self, x, self.width, train)
        y = convolution(self.width, 3, stride=self.stride, name="conv1", **types)(x)
        norm = InstanceBatchNorm if self.ibn else BatchNorm
        y = relu(norm(name="norm1", **types)(y, train=train))
        y = convolution(self.width, 3, name="conv2", **types)(y)
        y = BatchNorm(name="norm2", **types)(y, train=train)
        return relu(y + residual)


def _shortcut(
    block: Bottleneck | BasicBlock,
    x: jax.Array,
    channels: int,
    train: bool,
    rows: jax.Array | None = None,
) -> jax.Array:
    if not block.project:
        return x
    types = {"dtype": block.dtype, "param_dtype": block.param_dtype}
    x = convolution(channels, 1, stride=block.stride, name="downsample_conv", **types)(x)
    return BatchNorm(name="downsample_norm", **types)(x, train=train, rows=rows)


class Backbone(nn.Module):
    """Stem and four stages.

    Attributes:
        spec: The shape.
        stem_relu: Whether a ReLU follows the stem's batch norm. The published MagnifierNet has
            none; torchvision's ResNet has one.
        keep: What is kept for the gradient; see `keeping`.
    """

    spec: BackboneSpec
    stem_relu: bool = False
    keep: Kept = "all"
    dtype: Dtype = jnp.float32
    param_dtype: Dtype = jnp.float32

    @nn.compact
    def __call__(
        self, x: jax.Array, *, train: bool, styles: StyleMix | None = None
    ) -> tuple[jax.Array, jax.Array]:
        """Maps `[N, H, W, 3]` to the trunk (after stage 3) and stage 4, at `H / trunk_stride`.

        Args:
            x: Normalized images.
            train: Whether batch norms use the batch's statistics.
            styles: How styles are mixed; None for not at all.
        """
        x = keeping(self.keep, "stages", Backbone._stem)(self, x, train)
        trunk = x
        for stage in range(4):
            x = keeping(self.keep, "stages", functools.partial(Backbone._stage, stage=stage))(
                self, x, train
            )
            if styles is not None:
                x = mix_styles(x, styles, stage=stage)
            if stage == 2:
                trunk = x
        return trunk, x

    def _stem(self, x: jax.Array, train: bool) -> jax.Array:
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        spec = self.spec
        x = convolution(spec.width, spec.stem_kernel, stride=2, name="conv1", **types)(x)
        norm = InstanceNorm if spec.stem_norm == "instance" else BatchNorm
        x = norm(name="norm1", **types)(x, train=train)
        if self.stem_relu:
            x = relu(x)
        return stem_max_pool(x) if spec.stem_pool else x

    def _stage(self, x: jax.Array, train: bool, *, stage: int) -> jax.Array:
        """One of the four stages, counted from 0."""
        types = {"dtype": self.dtype, "param_dtype": self.param_dtype}
        spec = self.spec
        block = Bottleneck if spec.bottleneck else BasicBlock
        width = spec.width * 2**stage
        channels = width * (4 if spec.bottleneck else 1)
        for index in range(spec.blocks[stage]):
            step = spec.strides[stage] if index == 0 else 1
            project = index == 0 and (step != 1 or x.shape[-1] != channels)
            name = f"layer{stage + 1}_{index}"
            made = block(width, step, project, spec.has_ibn(stage), name=name, **types)
            x = keeping(self.keep, "blocks", apply_block)(made, x, train)
        return x


def apply_block(
    block: nn.Module, x: jax.Array, train: bool, rows: jax.Array | None = None
) -> jax.Array:
    """Applies a block, for `keeping`."""
    return block(x, train=train) if rows is None else block(x, train=train, rows=rows)


def keeping(keep: Kept, least: Kept, function: Callable[..., Any]) -> Callable[..., Any]:
    """The function `(module, x, train, …)`, of which only what it is given is kept, if `keep` says.

    What it made is computed again for the gradient, by the same operations from the same numbers.

    Args:
        keep: What the network keeps for the gradient: `all` that is computed, the inputs of the
            `blocks`, or those of the `stages`, and within a stage in turn those of its blocks.
        least: From which of these on the function is computed again.
        function: Called by a module's own method.
    """
    kinds = get_args(Kept)
    if kinds.index(keep) < kinds.index(least):
        return function
    return nn.remat(function, static_argnums=(2,))
