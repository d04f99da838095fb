"""Which PyTorch tensor is which variable of ours, and how its axes move.

The names on the left are those of the original MagnifierNet's `state_dict`. One table serves both
directions.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Iterator

from magnifier_jax.model import BackboneSpec, MagnifierNet


class Layout(enum.Enum):
    """How a PyTorch tensor's axes become ours; each value is the transposition."""

    SAME = ()
    CONVOLUTION = (2, 3, 1, 0)  # OIHW to HWIO
    TRANSPOSED_CONVOLUTION = (2, 3, 0, 1)  # IOHW to HWIO
    LINEAR = (1, 0)  # (out, in) to (in, out)


@dataclasses.dataclass(frozen=True)
class Link:
    """One PyTorch tensor and the variable of ours that holds the same numbers.

    Attributes:
        torch: Name in the `state_dict`.
        collection: `params` or `batch_stats`.
        path: Path inside the collection.
        layout: How the axes move.
        index: Position on the variable's first axis, where PyTorch has one module per part and
            we have one array for all.
    """

    torch: str
    collection: str
    path: tuple[str, ...]
    layout: Layout = Layout.SAME
    index: int | None = None


def counter_names(model: MagnifierNet) -> Iterator[str]:
    """Names of PyTorch's per-norm counters of training steps, which we do not keep."""
    for link in links(model):
        if link.torch.endswith(".running_mean"):
            yield link.torch.removesuffix("running_mean") + "num_batches_tracked"


def links(model: MagnifierNet) -> Iterator[Link]:
    """All tensors of a MagnifierNet, in the order of the original's modules."""
    yield from backbone_links(model.backbone, prefix="base.model.")
    if model.use_global:
        yield from _norm("base.feat_bn", ("global_branch", "neck"), train_bias=False)
    if model.use_adversarial:
        yield from _block("base.mask.bottle", ("adversarial", "bottleneck"), convolutions=3)
        yield _convolution("base.mask.dim_reducer", ("adversarial", "reduce"))
        yield from _norm("base.mask.mask_bn", ("adversarial", "neck"), train_bias=False)
    if model.use_fusion:
        yield from _fusion(model.num_parts)
    if model.use_parsing:
        yield from _parsing()
    if model.use_global:
        yield from _linear("classifier", ("global_branch", "classifier"))
    if model.use_adversarial:
        yield from _linear("classifier_mask", ("adversarial", "classifier"))
    if model.use_fusion:
        for part in range(model.num_parts):
            yield from _linear(
                f"classifier_part.{part}", ("fusion", "part_classifiers"), index=part
            )
        yield from _linear("classifier_anchor", ("fusion", "classifier"))


def backbone_links(spec: BackboneSpec, *, prefix: str) -> Iterator[Link]:
    """The tensors of a ResNet, by torchvision's names after `prefix`.

    Where half a norm is by instance, names are those of the authors of IBN-Net.
    """
    yield _convolution(f"{prefix}conv1", ("backbone", "conv1"))
    norm = _instance_norm if spec.stem_norm == "instance" else _norm
    yield from norm(f"{prefix}bn1", ("backbone", "norm1"))
    channels = spec.width
    for stage, (blocks, stride) in enumerate(zip(spec.blocks, spec.strides, strict=True)):
        out = spec.width * 2**stage * (4 if spec.bottleneck else 1)
        for index in range(blocks):
            name = f"{prefix}layer{stage + 1}.{index}"
            path = ("backbone", f"layer{stage + 1}_{index}")
            convolutions = 3 if spec.bottleneck else 2
            yield from _block(name, path, convolutions=convolutions, ibn=spec.has_ibn(stage))
            if index == 0 and (stride != 1 or channels != out):
                yield _convolution(f"{name}.downsample.0", (*path, "downsample_conv"))
                yield from _norm(f"{name}.downsample.1", (*path, "downsample_norm"))
        channels = out


def _fusion(num_parts: int) -> Iterator[Link]:
    yield from _block("base.part.bottle", ("fusion", "bottleneck"), convolutions=3)
    for part in range(num_parts):
        path = ("fusion", "part_necks")
        yield from _norm(f"base.part.part_bns.{part}", path, train_bias=False, index=part)
    lstm = "base.part.lstm."
    step = ("fusion", "lstm", "step")
    yield Link(f"{lstm}weight_ih_l0", "params", ("fusion", "lstm", "input_kernel"), Layout.LINEAR)
    yield Link(f"{lstm}weight_hh_l0", "params", (*step, "hidden_kernel"), Layout.LINEAR)
    yield Link(f"{lstm}bias_ih_l0", "params", ("fusion", "lstm", "input_bias"))
    yield Link(f"{lstm}bias_hh_l0", "params", (*step, "hidden_bias"))
    yield from _norm("base.part.combine_bn", ("fusion", "neck"), train_bias=False)


def _parsing() -> Iterator[Link]:
    deconv = ("parsing", "deconv", "kernel")
    yield Link("base.seg_module.deconv.weight", "params", deconv, Layout.TRANSPOSED_CONVOLUTION)
    yield from _norm("base.seg_module.bn", ("parsing", "norm"))
    yield _convolution("base.seg_module.conv", ("parsing", "classifier"))
    yield Link("base.seg_module.conv.bias", "params", ("parsing", "classifier", "bias"))


def _block(
    torch: str, path: tuple[str, ...], *, convolutions: int, ibn: bool = False
) -> Iterator[Link]:
    for number in range(1, convolutions + 1):
        yield _convolution(f"{torch}.conv{number}", (*path, f"conv{number}"))
        if ibn and number == 1:
            yield from _instance_norm(f"{torch}.bn1.IN", (*path, "norm1", "instance"))
            yield from _norm(f"{torch}.bn1.BN", (*path, "norm1", "batch"))
        else:
            yield from _norm(f"{torch}.bn{number}", (*path, f"norm{number}"))


def _convolution(torch: str, path: tuple[str, ...]) -> Link:
    return Link(f"{torch}.weight", "params", (*path, "kernel"), Layout.CONVOLUTION)


def _linear(torch: str, path: tuple[str, ...], *, index: int | None = None) -> Iterator[Link]:
    yield Link(f"{torch}.weight", "params", (*path, "kernel"), Layout.LINEAR, index)
    yield Link(f"{torch}.bias", "params", (*path, "bias"), index=index)


def _instance_norm(torch: str, path: tuple[str, ...]) -> Iterator[Link]:
    yield Link(f"{torch}.weight", "params", (*path, "scale"))
    yield Link(f"{torch}.bias", "params", (*path, "bias"))


def _norm(
    torch: str, path: tuple[str, ...], *, train_bias: bool = True, index: int | None = None
) -> Iterator[Link]:
    bias = "params" if train_bias else "batch_stats"
    yield Link(f"{torch}.weight", "params", (*path, "scale"), index=index)
    yield Link(f"{torch}.bias", bias, (*path, "bias"), index=index)
    yield Link(f"{torch}.running_mean", "batch_stats", (*path, "mean"), index=index)
    yield Link(f"{torch}.running_var", "batch_stats", (*path, "var"), index=index)
