"""Checksums of what a checkpoint holds, so that flipped bits are not taken for weights."""

from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.files import checksum, json_checksum
from magnifier_jax.checkpoints.matching import describe, describe_all, name_of

PyTree = Any

_INTEGRITY = "integrity"
_CHECKSUM = "checksum"  # As `input_pipeline.files.read_json` expects it.


def sealed(
    metadata: Mapping[str, Any], items: Mapping[str, PyTree], *, score: float | None
) -> dict[str, Any]:
    """Adds the checksums of a checkpoint to its metadata.

    Args:
        metadata: A JSON object.
        items: The trees of arrays, by item.
        score: What decides on the best checkpoint, or None.
    """
    integrity = {"arrays": array_checksums(items), "score": score}
    full = {**metadata, _INTEGRITY: integrity}
    return {**full, _CHECKSUM: json_checksum(full)}


def unsealed(metadata: Mapping[str, Any]) -> tuple[dict[str, Any], Mapping[str, Any] | None]:
    """Takes metadata and checksums apart; there are none in checkpoints of older versions.

    Raises:
        DataError: The checksums are no such thing.
    """
    rest = {name: value for name, value in metadata.items() if name != _INTEGRITY}
    if _INTEGRITY not in metadata:
        return rest, None
    integrity = metadata[_INTEGRITY]
    if (
        not isinstance(integrity, Mapping)
        or "score" not in integrity
        or not isinstance(integrity.get("arrays"), Mapping)
        or not all(isinstance(text, str) for text in integrity["arrays"].values())
    ):
        raise DataError("its list of checksums is damaged")
    return rest, integrity


def check_list(items: Mapping[str, PyTree], integrity: Mapping[str, Any] | None) -> None:
    """Compares the list of tensors in a checkpoint with what was saved.

    Args:
        items: By item, the trees that the storage library says there are.
        integrity: What `unsealed` gave.

    Raises:
        DataError: They differ, so that the list is damaged.
    """
    if integrity is None:
        return
    expected = {
        name: value.rpartition(" ")[0]
        for name, value in integrity["arrays"].items()
        if name.partition("/")[0] in items
    }
    if describe_all(items) != expected:
        raise DataError("the list of its tensors is not the one that was saved")


def check_arrays(items: Mapping[str, PyTree], integrity: Mapping[str, Any] | None) -> None:
    """Compares restored arrays with what was saved.

    Raises:
        DataError: They differ; the message names the first one.
    """
    if integrity is None:
        return
    expected = integrity["arrays"]
    for name, value in array_checksums(items).items():
        if expected.get(name) != value:
            raise DataError(f"the checksum of {name} differs, so its numbers are not those saved")


def check_score(score: float, integrity: Mapping[str, Any] | None) -> None:
    """Compares the score that decides on the best checkpoint with the one that was saved.

    Raises:
        DataError: They differ.
    """
    if integrity is not None and integrity["score"] != score:
        raise DataError(f"its score is {score}, but {integrity['score']} was saved")


def array_checksums(items: Mapping[str, PyTree]) -> dict[str, str]:
    """Type, shape and CRC-32 of every array, as in `{'variables/mean': 'float32[512] 0a1b2c3d'}`.

    Every process has to hold all of every array.
    """
    leaves = jax.tree_util.tree_leaves_with_path(dict(items))
    return {name_of(path): f"{describe(leaf)} {_checksum(leaf):08x}" for path, leaf in leaves}


def _checksum(leaf: Any) -> int:
    # Through a shard, since a whole array of jax would keep the copy on the host that it makes.
    if isinstance(leaf, jax.Array) and leaf.is_fully_replicated:
        leaf = leaf.addressable_data(0)
    array = np.ascontiguousarray(np.asarray(leaf))
    return checksum(array.reshape(-1).view(np.uint8).data)
