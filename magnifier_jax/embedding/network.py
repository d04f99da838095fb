"""A trained network, from nothing but its checkpoint."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

from jax.sharding import Mesh

from input_pipeline.dataset import PART_NAMES
from input_pipeline.errors import UserError
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.config import Config
from magnifier_jax.model import MagnifierNet
from magnifier_jax.training.step import abstract_state, build_model
from magnifier_jax.workdir import WorkDirectory, software_versions


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
            f"{directory.path} holds no checkpoint: train into it first, or give the work "
            "directory of a run with --workdir."
        )
    metadata = reader.read_metadata(which)
    config = Config.from_mapping(metadata["config"], stored=True)
    identities = tuple(metadata["identities"])
    model = build_model(config, num_identities=len(identities))
    target = abstract_state(config, model, mesh).variables
    restored = reader.restore(variables=target, which=which)
    return Trained(config, model, restored.variables, identities, restored.step)
