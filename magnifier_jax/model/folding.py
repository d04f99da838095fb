"""Batch norms folded into the convolutions before them, for a network that only embeds."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from magnifier_jax.model.layers import BATCH_NORM_EPSILON

_CONVOLUTIONS = {
    "norm1": "conv1",
    "norm2": "conv2",
    "norm3": "conv3",
    "downsample_norm": "downsample_conv",
    "norm": "deconv",  # of the parsing head
}


def fold_norms(variables: Mapping[str, Any]) -> dict[str, Any]:
    """Variables of the same network in inference, whose norms after convolutions only add.

    With s = scale / √(variance + ε), the norm of a convolution by K is the convolution by K · s
    plus bias - mean · s. Both are computed in float64 and rounded once. `BatchNorm` adds its bias
    where it finds no scale. Necks stay as they are, for what stands before them is used too, and so
    do norms that are partly of each image (IBN).

    Args:
        variables: What `MagnifierNet` was trained to, on the host or on devices.

    Returns:
        Variables that can embed and cannot be trained: NumPy arrays where they changed, and the
        given arrays elsewhere.
    """
    params, stats = _fold(variables["params"], variables["batch_stats"])
    return {**variables, "params": params, "batch_stats": stats}


def _fold(
    params: Mapping[str, Any], stats: Mapping[str, Any]
) -> tuple[dict[str, Any], dict[str, Any]]:
    """The variables of a module, and of those inside of it."""
    folded, left = dict(params), dict(stats)
    for name, inner in params.items():
        if name in _CONVOLUTIONS and "var" in stats.get(name, {}):
            statistics = left.pop(name)
            convolution = _CONVOLUTIONS[name]
            kernel = params[convolution]["kernel"]
            variance = _wide(statistics["var"])
            scale = _wide(inner["scale"]) / np.sqrt(variance + BATCH_NORM_EPSILON)
            offset = _wide(inner["bias"]) - _wide(statistics["mean"]) * scale
            folded[convolution] = {"kernel": (_wide(kernel) * scale).astype(kernel.dtype)}
            folded[name] = {"bias": offset.astype(kernel.dtype)}
        elif name in stats and isinstance(inner, Mapping):
            folded[name], left[name] = _fold(inner, stats[name])
    return folded, left


def _wide(array: Any) -> np.ndarray:
    return np.asarray(array, np.float64)
