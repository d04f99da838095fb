"""What runs have left, for comparing them bit by bit."""

import json
import pathlib
from typing import Any

import jax

from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.training.step import abstract_state, build_model


def logged(workdir: pathlib.Path) -> list[dict[str, float]]:
    """The whole lines of a run's log so far, without the speed, which no two runs share."""
    path = workdir / "metrics.jsonl"
    text = path.read_text() if path.exists() else ""
    found = [json.loads(line) for line in text.splitlines(keepends=True) if line.endswith("\n")]
    return [{k: v for k, v in line.items() if k != "images_per_second"} for line in found]


def stored(workdir: pathlib.Path) -> tuple[int, Any]:
    """Step and every number of the latest checkpoint, the optimiser's included."""
    reader = CheckpointReader(workdir / "checkpoints")
    metadata = reader.read_metadata()
    config = Config.from_mapping(metadata["config"], stored=True)
    model = build_model(config, num_identities=len(metadata["identities"]))
    target = abstract_state(config, model, make_mesh(jax.devices()[:1]))
    restored = reader.restore(variables=target.variables, optimizer=target.optimizer)
    return restored.step, jax.device_get((restored.variables, restored.optimizer))
