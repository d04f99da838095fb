"""Comparing the tensors that a checkpoint holds with those that a model asks for."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax
import numpy as np

from input_pipeline.errors import UserError

PyTree = Any


def check_same_tensors(
    wanted: Mapping[str, PyTree], stored: Mapping[str, PyTree], *, where: str
) -> None:
    """Refuses a checkpoint whose tensors differ in name, shape or type from those wanted.

    Args:
        wanted: Trees by item name; leaves have a `shape` and a `dtype`.
        stored: The same of the checkpoint. Containers may be of another kind (a named tuple
            comes back as a dictionary), only the names of the leaves count.
        where: The checkpoint, for the message.

    Raises:
        UserError: Something differs; the message has one line for every such tensor.
    """
    differences = list(_differences(describe_all(wanted), describe_all(stored)))
    if differences:
        raise UserError(
            f"The checkpoint {where} is of another model: {len(differences)} tensors do not match. "
            "Use the configuration it was trained with, or another checkpoint.",
            details=differences,
        )


def _differences(wanted: Mapping[str, str], stored: Mapping[str, str]) -> Iterator[str]:
    for name in sorted(wanted.keys() | stored.keys()):
        if name not in stored:
            yield f"{name}: wanted {wanted[name]}, missing in the checkpoint"
        elif name not in wanted:
            yield f"{name}: {stored[name]} in the checkpoint, not wanted"
        elif wanted[name] != stored[name]:
            yield f"{name}: wanted {wanted[name]}, {stored[name]} in the checkpoint"


def describe_all(items: Mapping[str, PyTree]) -> Mapping[str, str]:
    """Describes every tensor, as in `{'variables/params/neck/scale': 'float32[512]'}`."""
    leaves = jax.tree_util.tree_leaves_with_path(dict(items))
    return {name_of(path): describe(leaf) for path, leaf in leaves}


def name_of(path: Sequence[Any]) -> str:
    """The name of a leaf of nested dictionaries and named tuples."""
    return jax.tree_util.keystr(tuple(path), simple=True, separator="/")


def describe(leaf: Any) -> str:
    """Type and shape, as in `float32[512]`."""
    return f"{np.dtype(leaf.dtype).name}{list(leaf.shape)}"
