"""Describing whole splits: pictures in, descriptors out, on all devices of all processes."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator
from typing import Any

import jax
import numpy as np
import tqdm
from jax.sharding import Mesh

from magnifier_jax.datasets import Pictures
from magnifier_jax.devices import fetch, put_batch
from magnifier_jax.training.step import DescribeFunction


@dataclasses.dataclass(frozen=True, eq=False)
class Described:
    """What the network says of a split's pictures, on the host.

    Attributes:
        descriptors: float32 `[n, D]` of unit length.
        unflipped: The same of the pictures alone where `descriptors` are means over mirror images
            too, or None.
        part_embeddings: float32 `[n, P, C]` of unit length, or None.
        part_shares: float32 `[n, P]`, or None.
    """

    descriptors: np.ndarray
    unflipped: np.ndarray | None
    part_embeddings: np.ndarray | None
    part_shares: np.ndarray | None


def describe_pictures(
    describe: DescribeFunction,
    variables: Any,
    pictures: Pictures,
    *,
    batch_size: int,
    mesh: Mesh,
    parts: bool = False,
    unflipped: bool = False,
    title: str = "Describing",
    progress: bool = True,
) -> Described:
    """Describes every picture of a split, in order.

    Args:
        describe: What `make_describe` made.
        variables: The network's variables, on every device.
        pictures: The split.
        batch_size: Pictures at a time over all devices; rounded up to a multiple of them.
        mesh: The devices.
        parts: Whether to keep part embeddings and shares too.
        unflipped: Whether to keep the descriptors of the pictures alone too.
        title: What the progress bar says.
        progress: Whether there is one.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    count = len(pictures)
    index, processes = jax.process_index(), jax.process_count()

    def ids() -> Iterator[np.ndarray]:
        for start in range(0, count, batch_size):
            # The last batch repeats the last picture, so that one compiled program does for all.
            chosen = np.minimum(np.arange(start, start + batch_size), count - 1)
            yield np.split(chosen, processes)[index]

    found: list[tuple[np.ndarray | None, ...]] = []
    pending = None
    with tqdm.tqdm(total=count, desc=title, unit="img", disable=not progress, leave=False) as bar:
        for batch in pictures.batches(ids()):
            described = describe(variables, put_batch(batch.images, mesh))
            kept = (
                described.descriptor,
                described.unflipped if unflipped else None,
                described.part_embeddings if parts else None,
                described.part_shares if parts else None,
            )
            # Fetching the batch before keeps the devices busy meanwhile.
            if pending is not None:
                found.append(fetch(pending))
            pending = kept
            bar.update(min(batch_size, count - bar.n))
        if pending is not None:
            found.append(fetch(pending))

    def join(arrays: tuple[np.ndarray | None, ...]) -> np.ndarray | None:
        present = [array for array in arrays if array is not None]
        return np.concatenate(present)[:count] if present else None

    descriptors, alone, embeddings, shares = map(join, zip(*found, strict=True))
    assert descriptors is not None
    return Described(descriptors, alone, embeddings, shares)
