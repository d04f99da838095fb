"""Prepared splits of several datasets as one, as a mixed training or test set."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.identities.spelling import LARGEST
from input_pipeline.identities.unknown import UNKNOWN_TRACKLET
from input_pipeline.store.splits import PreparedSplit, joined_checksums, tracklet_column


def concatenate(splits: Sequence[PreparedSplit], names: Sequence[str]) -> PreparedSplit:
    """Joins splits of several datasets into one, as a mixed training or test set.

    Identities and cameras of different splits never coincide afterward: each split's are shifted
    past those of the splits before it. Image names get the dataset's name as first folder.

    Args:
        splits: One or more splits.
        names: A name for each.

    Returns:
        One split; the images of `splits[0]` come first.
    """
    if not splits or len(splits) != len(names):
        raise ValueError(f"got {len(splits)} splits and {len(names)} names")
    return PreparedSplit(
        identities=_shifted([split.identities for split in splits]),
        cameras=_shifted([split.cameras for split in splits]),
        names=tuple(
            f"{name}/{image}"
            for split, name in zip(splits, names, strict=True)
            for image in split.names
        ),
        num_parts=np.concatenate([split.num_parts for split in splits]),
        sources=tuple(source for split in splits for source in split.sources),
        checksums=joined_checksums([split.checksums for split in splits]),
        tracklets=tracklet_column(
            [
                f"{name}/{tracklet}" if tracklet else UNKNOWN_TRACKLET
                for split, name in zip(splits, names, strict=True)
                for tracklet in (
                    [None] * len(split) if split.tracklets is None else split.tracklets
                )
            ]
        ),
    )


def _shifted(arrays: Sequence[np.ndarray]) -> np.ndarray:
    """Numbers that are different in different arrays; those below 0 mean the same in all."""
    shifted, offset = [], 0
    for values in arrays:
        shifted.append(np.where(values < 0, values, values.astype(np.int64) + offset))
        if len(values):
            offset += max(int(values.max()) + 1, 0)
    joined = np.concatenate(shifted)
    if offset > LARGEST:
        raise DataError("identity or camera numbers are too large to join these datasets")
    return joined.astype(np.int32)
