"""The forward pass: images in, descriptors out, for a batch and for a whole split."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator
from typing import Any, cast

import jax
import jax.numpy as jnp
import numpy as np
import tqdm
from flax import struct
from jax.sharding import Mesh

from magnifier_jax.datasets import ImageSource
from magnifier_jax.devices import fetch, put_batch, replicated, split_over
from magnifier_jax.embedding.embeddings import Embeddings, visible_parts
from magnifier_jax.model import MagnifierNet, Outputs
from magnifier_jax.training.augmentation import normalize

Tree = Any

# Elements of vectors whose squares are still far from the least that float32 can hold.
_SHORT = 1e-3


@struct.dataclass
class EmbeddedBatch:
    """What the network says of images.

    Attributes:
        descriptor: float32 `[N, D]` of unit length.
        unflipped: The same of the images alone where `descriptor` is the mean over mirror images
            too, or None.
        part_embeddings: float32 `[N, P, C]`, each of unit length, after the parts' necks; None
            without a fusion branch.
        part_shares: Share of the cells that show each part, `[N, P]`; None without parsing.
        part_map: Predicted part of each cell, uint8 `[N, 2h, 2w]`; None without parsing.
    """

    descriptor: jax.Array
    unflipped: jax.Array | None
    part_embeddings: jax.Array | None
    part_shares: jax.Array | None
    part_map: jax.Array | None


EmbedFunction = Callable[[Tree, jax.Array], EmbeddedBatch]


def make_embed(model: MagnifierNet, mesh: Mesh, *, flip: bool = False) -> EmbedFunction:
    """A jitted `embed(variables, images) -> EmbeddedBatch`; for equal arguments the same one.

    Args:
        model: The network.
        mesh: The devices; `images`, uint8 `[N, H, W, 3]`, is split over them.
        flip: Whether a descriptor is the mean of an image's and its mirror image's. Everything
            about parts is of the image alone, so that embeddings belong to the parts that it is
            said to show.
    """
    return _jitted_embed(model, mesh, flip)


# Kept, so that whoever opens a network again in the same process need not compile again.
@functools.lru_cache(maxsize=16)
def _jitted_embed(model: MagnifierNet, mesh: Mesh, flip: bool) -> EmbedFunction:
    def embed(variables: Tree, images: jax.Array) -> EmbeddedBatch:
        return embed_normalized(model, variables, normalize(images), flip=flip)

    return jax.jit(
        embed,
        in_shardings=(replicated(mesh), split_over(mesh)),
        out_shardings=split_over(mesh),
    )


def embed_normalized(
    model: MagnifierNet, variables: Tree, images: jax.Array, *, flip: bool = False
) -> EmbeddedBatch:
    """As `make_embed`'s function, on normalized float32 images and without jit."""

    def run(batch: jax.Array) -> Outputs:
        return cast(Outputs, model.apply(variables, batch, train=False))

    outputs = run(images)
    descriptor, unflipped = outputs.descriptor, None
    if flip:
        unflipped = unit_length(descriptor.astype(jnp.float32))
        descriptor = (descriptor + run(images[:, :, ::-1]).descriptor) / 2
    parsing = outputs.parsing_logits
    necks = outputs.part_necks
    return EmbeddedBatch(
        descriptor=unit_length(descriptor.astype(jnp.float32)),
        unflipped=unflipped,
        part_embeddings=(
            None if necks is None else unit_length(lengthened(necks.astype(jnp.float32)))
        ),
        part_shares=outputs.part_shares,
        part_map=None if parsing is None else parsing.argmax(-1).astype(jnp.uint8),
    )


def unit_length(vectors: jax.Array) -> jax.Array:
    """Scales vectors `[…, D]` to length 1; zeros stay zeros."""
    squares = jnp.square(vectors).sum(-1, keepdims=True)
    return vectors * jax.lax.rsqrt(jnp.maximum(squares, 1e-12))


def lengthened(vectors: jax.Array) -> jax.Array:
    """Scales vectors `[…, D]` whose squares would vanish; others keep their bits.

    Weight decay can make the embeddings of parts as short as 1e-19, which does not change their
    directions; see `magnifier_jax.model.collapse`.
    """
    largest = jnp.abs(vectors).max(-1, keepdims=True)
    short = (largest >= jnp.finfo(vectors.dtype).tiny) & (largest < _SHORT)
    return vectors * jnp.where(short, 1 / jnp.where(short, largest, 1), 1)


def embed_split(
    embed: EmbedFunction,
    variables: Any,
    images: ImageSource,
    *,
    batch_size: int,
    mesh: Mesh,
    unflipped: bool = False,
    visible: bool = False,
    title: str = "Embedding",
    progress: bool = True,
) -> Embeddings:
    """Embeds every image of a split, in order.

    Args:
        embed: What `make_embed` made.
        variables: The network's variables, on every device.
        images: The split.
        batch_size: Images at a time over all devices; rounded up to a multiple of them.
        mesh: The devices.
        unflipped: Whether to keep the descriptors of the images alone too.
        visible: Whether to keep which parts images show, if the network says it.
        title: What the progress bar says.
        progress: Whether there is one.
    """
    batch_size = -(-batch_size // mesh.size) * mesh.size
    count = len(images)
    index, processes = jax.process_index(), jax.process_count()

    def ids() -> Iterator[np.ndarray]:
        for start in range(0, count, batch_size):
            # The last batch repeats the last image, so that one compiled program does for all.
            chosen = np.minimum(np.arange(start, start + batch_size), count - 1)
            yield np.split(chosen, processes)[index]

    found: list[tuple[np.ndarray | None, ...]] = []
    pending = None
    with tqdm.tqdm(total=count, desc=title, unit="img", disable=not progress, leave=False) as bar:
        for batch in images.batches(ids()):
            embedded = embed(variables, put_batch(batch.images, mesh))
            kept = (
                embedded.descriptor,
                embedded.unflipped if unflipped else None,
                embedded.part_shares if visible else None,
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

    descriptors, alone, shares = map(join, zip(*found, strict=True))
    assert descriptors is not None
    seen = None if shares is None else visible_parts(shares)
    return Embeddings(descriptors, visible=seen, unflipped=alone)
