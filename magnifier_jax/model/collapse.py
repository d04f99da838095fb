"""Necks that training has scaled to nothing.

Weight decay pulls the scale of a neck (a batch norm, which starts at 1) and the classifier behind
it toward zero. Where their loss counts little, or tells thousands of identities apart of which
each is seen rarely, decay wins: both die together, and no gradient brings them back. The published
weight of the part losses, 0.0125, is that small; see docs/interop.md.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import NDArray

from input_pipeline.dataset import PART_NAMES

# Far below 1, where necks begin and near which those that a loss uses stay; those that have died
# go on falling.
_ALIVE = 0.01
_BRANCHES = {"global_branch": "global", "adversarial": "adversarial", "fusion": "fusion"}


def collapsed_necks(params: Mapping[str, Any]) -> tuple[str, ...]:
    """The necks whose largest scale is below 0.01.

    Args:
        params: The parameters of a `MagnifierNet`.

    Returns:
        Branches, such as `global`, and body parts, such as `torso`; empty if all are alive.
    """
    found = []
    for branch, name in _BRANCHES.items():
        necks = params.get(branch, {})
        if "neck" in necks and _dead(necks["neck"]["scale"]).all():
            found.append(name)
        if "part_necks" in necks:
            dead = _dead(necks["part_necks"]["scale"])
            names = PART_NAMES if len(dead) == len(PART_NAMES) else range(len(dead))
            found += [str(name) for name, gone in zip(names, dead, strict=True) if gone]
    return tuple(found)


def revived(params: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters with the scale of every neck that has collapsed at 1, where it began.

    A network that is trained on has new classifiers, which a neck of scale 0 would keep from
    learning.
    """
    changed = dict(params)
    for branch in _BRANCHES.keys() & params.keys():
        changed[branch] = dict(params[branch])
        for kind in {"neck", "part_necks"} & params[branch].keys():
            neck = params[branch][kind]
            scale = np.asarray(neck["scale"])
            dead = _dead(scale)[..., None]
            changed[branch][kind] = {**neck, "scale": np.where(dead, np.ones_like(scale), scale)}
    return changed


def _dead(scale: Any) -> NDArray[np.bool_]:
    """Which necks, `[…]`, have collapsed, of their scales `[…, C]`."""
    return np.asarray(np.abs(np.asarray(scale)).max(axis=-1) < _ALIVE)


def describe_collapse(params: Mapping[str, Any]) -> str:
    """Says which necks have collapsed, what that means, and what to do; empty if none has."""
    found = collapsed_necks(params)
    branches = [name for name in found if name in _BRANCHES.values()]
    parts = [name for name in found if name not in branches]
    texts = []
    if branches:
        texts.append(
            f"the neck of {', '.join(branches)} has collapsed: weight decay has shrunk its share "
            "of the descriptor to nothing. Train with a smaller config.optimizer.l2."
        )
    if parts:
        texts.append(
            f"the losses of single parts ({', '.join(parts)}) teach nothing any more: weight decay "
            "has shrunk their necks and classifiers to nothing. Descriptors do not contain them, "
            "and searches by parts still work; train with a larger config.loss.parts for better "
            "ones."
        )
    return " ".join(texts)
