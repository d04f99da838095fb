"""A trained network, from nothing but its checkpoint, and how it embeds batches."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import pathlib
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Literal

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from input_pipeline.dataset import PART_NAMES
from input_pipeline.errors import UserError
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.checkpoints.reader import Which, identities_in
from magnifier_jax.config import Config
from magnifier_jax.devices import put_batch, put_replicated, replicated, split_over
from magnifier_jax.embedding.forward import EmbeddedBatch, EmbedFunction, make_embed
from magnifier_jax.model import MagnifierNet
from magnifier_jax.model.folding import fold_norms
from magnifier_jax.model.statistics import statistics_of, toward
from magnifier_jax.training.augmentation import normalize
from magnifier_jax.training.step import abstract_state, build_model
from magnifier_jax.workdir import WorkDirectory, software_versions

# Images that the statistics of the training count as, beside those that a network is adapted to.
_PRIOR = 16

Precision = Literal["float32", "bf16"]
"""What convolutions and matrix products are computed in."""


@dataclasses.dataclass(frozen=True, eq=False)
class Trained:
    """A network with its weights, and what it was made with.

    Attributes:
        config: The configuration of its training.
        model: The network.
        variables: Its parameters and batch statistics, on every device.
        identities: Name of each training identity, in the order of the classifiers.
        step: Training steps that it has seen.
    """

    config: Config
    model: MagnifierNet
    variables: Mapping[str, Any]
    identities: tuple[str, ...]
    step: int


def checkpoint_metadata(config: Config, identities: Sequence[str]) -> dict[str, Any]:
    """What a checkpoint carries beside its arrays, so that nothing else is needed to use it."""
    names = PART_NAMES if config.model.num_parts == len(PART_NAMES) else ()
    return {
        "config": config.to_mapping(),
        "identities": list(identities),
        "parts": list(names),
        "versions": dict(software_versions()),
    }


def load_trained(workdir: str | pathlib.Path, mesh: Mesh, *, which: Which = "latest") -> Trained:
    """Loads the network of a work directory.

    Args:
        workdir: Where it was trained.
        mesh: The devices to put it on.
        which: `latest`, `best` (by mAP), or a step.

    Raises:
        UserError: There is no checkpoint, or none that can be read.
    """
    directory = WorkDirectory(pathlib.Path(workdir).expanduser())
    reader = CheckpointReader(directory.checkpoints)
    if reader.latest_step() is None:
        raise UserError(
            f"{directory.path} holds no checkpoint: train into it first, or name the work "
            "directory of another run."
        )
    metadata = reader.read_metadata(which)
    config = Config.from_mapping(metadata.get("config", {}), stored=True)
    identities = identities_in(metadata, where=reader.directory)
    model = build_model(config, num_identities=len(identities))
    target = abstract_state(config, model, mesh).variables
    restored = reader.restore(variables=target, which=which)
    return Trained(config, model, restored.variables, identities, restored.step)


@dataclasses.dataclass(frozen=True, eq=False)
class EmbeddedArrays:
    """What a network says of a batch, on the host; see `forward.EmbeddedBatch`."""

    descriptors: NDArray[np.float32]
    parts: NDArray[np.float32] | None = None
    part_shares: NDArray[np.float32] | None = None
    part_maps: NDArray[np.uint8] | None = None


class JaxNetwork:
    """A trained network on its devices.

    Attributes:
        trained: The network and its weights.
        config: The configuration of its training.
        step: Training steps that it has seen.
        mesh: The devices.
        image_size: Height and width of its input, in pixels.
        batch_multiple: Batches have to be multiples of this.
        batch_size: The only batch size that it takes; None, for it takes any.
        dimension: Numbers in a descriptor.
        model_id: The same text for the same weights, whatever folder they are in.
        precision: What its convolutions and matrix products are computed in.
    """

    batch_size: int | None = None

    def __init__(self, trained: Trained, mesh: Mesh) -> None:
        self.trained = trained
        self.config, self.step = trained.config, trained.step
        self.mesh = mesh
        self.image_size = trained.config.data.image_size
        self.batch_multiple = mesh.size
        self.precision: Precision = "bf16" if trained.model.dtype == jnp.bfloat16 else "float32"
        self.model_id = f"magnifier {fingerprint(trained.variables)}"
        self._variables = jax.tree.map(
            lambda x: x if isinstance(x, jax.Array) else put_replicated(x, mesh),
            fold_norms(trained.variables),
        )
        self._functions: dict[bool, EmbedFunction] = {}
        images = jax.ShapeDtypeStruct((mesh.size, *self.image_size, 3), np.uint8)
        outputs = jax.eval_shape(self._function(flip=False), self._variables, images)
        self.dimension = int(outputs.descriptor.shape[1])

    def start(self, images: NDArray[np.uint8], *, flip: bool) -> EmbeddedBatch:
        """Sends uint8 RGB `[N, H, W, 3]` to the devices; `finish` waits for the result."""
        return self._function(flip=flip)(self._variables, put_batch(images, self.mesh))

    def finish(self, started: EmbeddedBatch) -> EmbeddedArrays:
        """What the devices said."""
        found = (
            started.descriptor,
            started.part_embeddings,
            started.part_shares,
            started.part_map,
        )
        return EmbeddedArrays(*jax.device_get(found))

    def _function(self, *, flip: bool) -> EmbedFunction:
        if flip not in self._functions:
            self._functions[flip] = make_embed(self.trained.model, self.mesh, flip=flip)
        return self._functions[flip]


def adapted_to(
    trained: Trained, batches: Iterable[NDArray[np.uint8]], mesh: Mesh
) -> Trained | None:
    """The network with batch-norm statistics of images; see `magnifier_jax.model.statistics`.

    Args:
        trained: The network.
        batches: uint8 RGB `[N, H, W, 3]`; what does not divide by the devices is left out.
        mesh: The devices.

    Returns:
        The network, or None if there was no batch.
    """

    def find(variables: Any, images: jax.Array) -> Any:
        return statistics_of(trained.model, variables, normalize(images))

    found = jax.jit(
        find,
        in_shardings=(replicated(mesh), split_over(mesh)),
        out_shardings=replicated(mesh),
    )
    variables = put_replicated(jax.device_get(dict(trained.variables)), mesh)
    total, count = None, 0
    for images in batches:
        images = images[: len(images) // mesh.size * mesh.size]
        if not len(images):
            continue
        part = jax.device_get(found(variables, put_batch(images, mesh)))
        weighted = jax.tree.map(functools.partial(np.multiply, np.float64(len(images))), part)
        total = weighted if total is None else jax.tree.map(np.add, total, weighted)
        count += len(images)
    if total is None:
        return None
    mean = jax.tree.map(lambda x: x / count, total)
    before = jax.device_get(trained.variables["batch_stats"])
    after = toward(before, mean, share=count / (count + _PRIOR))
    after = jax.tree.map(lambda new, old: np.asarray(new, old.dtype), after, before)
    return dataclasses.replace(trained, variables={**trained.variables, "batch_stats": after})


def fingerprint(variables: Any) -> str:
    """16 hexadecimal digits that differ for different weights."""
    digest = hashlib.sha256()
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        digest.update(jax.tree_util.keystr(path).encode())
        digest.update(np.ascontiguousarray(jax.device_get(leaf)).tobytes())
    return digest.hexdigest()[:16]
