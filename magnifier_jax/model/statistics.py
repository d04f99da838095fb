"""Batch-norm statistics of given images, for cameras that a network was not trained on.

Li et al., "Revisiting Batch Normalization For Practical Domain Adaptation", 2016 (AdaBN): what a
camera's light and color do to a feature map is for the most part a shift and a scale of its
channels, and the running mean and variance of a batch norm take these out if they are those of that
camera. No labels are needed, and no parameter changes.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import jax
import jax.numpy as jnp

from magnifier_jax.model.layers import BATCH_NORM_DECAY
from magnifier_jax.model.magnifier import MagnifierNet

Tree = Any

_FOLLOWING = ("mean", "var")
"""Names of the statistics that follow the images; a neck's bias among them does not."""


def statistics_of(model: MagnifierNet, variables: Mapping[str, Any], images: jax.Array) -> Tree:
    """The statistics that every batch norm finds in a batch and its mirror images.

    Every norm normalizes by what it finds, so that the next one sees what it would if the whole
    network were adapted. Part maps are the network's own.

    Args:
        model: The network.
        variables: Its parameters and statistics.
        images: Normalized images `[N, H, W, 3]`.

    Returns:
        As `variables["batch_stats"]`: mean and unbiased variance of the batch.
    """
    images = jnp.concatenate([images, images[:, :, ::-1]])
    part_labels = None
    if model.use_parsing:
        outputs: Any = model.apply(variables, images, train=False)
        part_labels = outputs.parsing_logits.argmax(-1)
    # From zero, what a norm has after one batch is a known share of what it found.
    start = _map_following(jnp.zeros_like, variables["batch_stats"])
    _, changed = model.apply(
        {**variables, "batch_stats": start},
        images,
        train=True,
        part_labels=part_labels,
        mutable=["batch_stats"],
    )
    return _map_following(lambda after: after / (1 - BATCH_NORM_DECAY), changed["batch_stats"])


def toward(statistics: Tree, found: Tree, *, share: float) -> Tree:
    """Statistics moved by `share` (0…1) of the way to those that were found."""
    return _map_following(lambda old, new: old + share * (new - old), statistics, found)


def _map_following(function: Callable[..., Any], statistics: Tree, *others: Tree) -> Tree:
    """Applies a function to means and variances, and keeps the rest of the first tree."""

    def apply(path: tuple[Any, ...], first: Any, *rest: Any) -> Any:
        return function(first, *rest) if path[-1].key in _FOLLOWING else first

    return jax.tree_util.tree_map_with_path(apply, statistics, *others)
