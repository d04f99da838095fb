"""Which numbers of a descriptor each branch makes."""

from __future__ import annotations

import numpy as np

from magnifier_jax.config import Config
from magnifier_jax.model import BACKBONES

GLOBAL, ADVERSARIAL, FUSION = "global", "adversarial", "fusion"


def branch_slices(config: Config) -> dict[str, slice]:
    """The columns of each branch of the network in the descriptor, in order.

    The descriptor is the branches' necks side by side (see `model.Outputs`): stage 4's channels of
    the global branch, and the trunk's of the other two.
    """
    spec = BACKBONES[config.model.backbone]
    widths = {}
    if config.model.use_global:
        widths[GLOBAL] = 2 * spec.trunk_channels
    if config.model.use_adversarial:
        widths[ADVERSARIAL] = spec.trunk_channels
    if config.model.use_fusion:
        widths[FUSION] = spec.trunk_channels
    found, start = {}, 0
    for name, width in widths.items():
        found[name] = slice(start, start + width)
        start += width
    return found


def branch_alone(descriptors: np.ndarray, columns: slice) -> np.ndarray:
    """One branch's numbers of descriptors `[n, D]`, scaled to unit length: `[n, d]`."""
    part = np.asarray(descriptors[:, columns], np.float32)
    lengths = np.linalg.norm(part, axis=1, keepdims=True)
    return np.divide(part, lengths, out=np.zeros_like(part), where=lengths > 0)
