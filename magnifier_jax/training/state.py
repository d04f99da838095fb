"""The state that a run begins with: random weights, those of another network, or its own."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from magnifier_jax.checkpoints import CheckpointReader
from magnifier_jax.config import Config
from magnifier_jax.devices import put_replicated
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.interop import (
    Imported,
    ImportReport,
    backbone_from_torch,
    from_torch_state_dict,
    read_torch_file,
)
from magnifier_jax.model import MagnifierNet
from magnifier_jax.training.step import TrainState, initial_state
from magnifier_jax.workdir import WorkDirectory

_CLASSIFIERS = ("classifier", "part_classifiers")
# Fields that do not decide what is computed, only how often it is looked at or kept, and where
# the data is read from.
FREE_FIELDS = (
    "data.placement",
    "data.prepared",
    "data.root",
    "data.test",
    "data.workers",
    "evaluate",
    "init",
    "name",
    "train.checkpoint_every_steps",
    "train.evaluate_every_epochs",
    "train.keep_checkpoints",
    "train.log_every_steps",
)
_ABSENT = "(absent)"


def starting_state(
    config: Config, model: MagnifierNet, mesh: Mesh, *, say: Callable[[str], None]
) -> TrainState:
    """Random weights, in part replaced as `config.init` says.

    Args:
        config: The configuration.
        model: Its network.
        mesh: The devices.
        say: Told what was taken and what was not.

    Raises:
        UserError: A file is not there, cannot be read or does not fit.
    """
    state = initial_state(config, model, mesh)
    if config.init.backbone:
        path = _existing(config.init.backbone, field="backbone")
        imported = backbone_from_torch(read_torch_file(path), model.backbone)
        say(_report(path, imported.report))
        state = _replace(state, imported.variables, mesh)
    if config.init.checkpoint:
        path = _existing(config.init.checkpoint, field="checkpoint")
        if path.is_dir():
            imported = _from_workdir(path, state, mesh)
        else:
            imported = from_torch_state_dict(read_torch_file(path), model)
        say(_report(path, imported.report))
        state = _replace(state, imported.variables, mesh)
    return state


def _existing(text: str, *, field: str) -> pathlib.Path:
    path = pathlib.Path(os.path.expandvars(text)).expanduser()
    if not path.exists():
        raise UserError(f"config.init.{field}: there is no {path}.")
    return path


def _from_workdir(path: pathlib.Path, state: TrainState, mesh: Mesh) -> Imported:
    """The variables of one of our runs that fit; classifiers of other identities do not."""
    trained = load_trained(path, mesh, which="latest")
    stored = traverse_util.flatten_dict(jax.device_get(trained.variables))
    wanted = traverse_util.flatten_dict(state.variables)
    dropped = []
    for name, array in list(stored.items()):
        if name not in wanted or array.shape == wanted[name].shape:
            continue
        if name[-2] not in _CLASSIFIERS or array.shape[:-1] != wanted[name].shape[:-1]:
            raise UserError(
                f"{path}: {'/'.join(name)} has shape {list(array.shape)}, but the network needs "
                f"{list(wanted[name].shape)}: the checkpoint is of another network."
            )
        counts = f"{array.shape[-1]} instead of {wanted[name].shape[-1]}"
        dropped.append(f"{'/'.join(name)}: {counts}")
        del stored[name]
    report = ImportReport(
        unused=tuple("/".join(name) for name in stored.keys() - wanted.keys()),
        unfilled=tuple("/".join(name) for name in wanted.keys() - stored.keys()),
        dropped=tuple(dropped),
    )
    fitting = {name: array for name, array in stored.items() if name in wanted}
    return Imported(traverse_util.unflatten_dict(fitting), report)


def _replace(state: TrainState, variables: Mapping[str, Any], mesh: Mesh) -> TrainState:
    merged = traverse_util.flatten_dict(state.variables)
    for name, array in traverse_util.flatten_dict(dict(variables)).items():
        merged[name] = put_replicated(np.asarray(array, merged[name].dtype), mesh)
    tree = traverse_util.unflatten_dict(merged)
    return dataclasses.replace(state, params=tree["params"], batch_stats=tree["batch_stats"])


def _report(path: pathlib.Path, report: ImportReport) -> str:
    return f"Weights from {path}.\n{report}".rstrip()


def check_resumable(
    workdir: WorkDirectory,
    config: Config,
    *,
    allow_changes: bool = False,
    say: Callable[[str], None] = print,
) -> None:
    """Compares a configuration with that of the checkpoint that a run would go on from.

    A work directory without checkpoints takes any configuration: nothing has been learned in it.

    Args:
        workdir: The run.
        config: The configuration to go on with.
        allow_changes: Whether to go on where fields differ that decide the result.
        say: Told which fields differ, and what is ignored.

    Raises:
        UserError: Fields differ and `allow_changes` is false, or no checkpoint can be read.
    """
    reader = CheckpointReader(workdir.checkpoints)
    if reader.latest_step() is None:
        return
    found = differences(reader.read_metadata()["config"], config.to_mapping())
    changed = [text for name, text in found.items() if not _among(name, FREE_FIELDS)]
    if changed and not allow_changes:
        raise UserError(
            f"{workdir.path} holds a run with another configuration; differing fields: "
            + ", ".join(changed)
            + ". Give the same configuration, another work directory, or "
            "--resume_with_changes to go on with the new one."
        )
    if changed:
        say("Going on with changes: " + ", ".join(changed))
    ignored = [text for name, text in found.items() if _among(name, ["init"])]
    if ignored:
        say(f"Ignored, for the run goes on from its own checkpoint: {', '.join(ignored)}")


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> dict[str, str]:
    """Compares nested mappings of JSON values.

    Returns:
        One line for every dotted field that differs, in their order, such as
        `{'optimizer.l2': 'optimizer.l2: 0.001 → 0.01'}`.
    """
    old, new = _flatten(before), _flatten(json.loads(json.dumps(after)))
    return {
        name: f"{name}: {_show(old, name)} → {_show(new, name)}"
        for name in sorted(old.keys() | new.keys())
        if old.get(name, _ABSENT) != new.get(name, _ABSENT)
    }


def _among(name: str, fields: Sequence[str]) -> bool:
    return any(name == field or name.startswith(field + ".") for field in fields)


def _flatten(tree: Mapping[str, Any], *, prefix: str = "") -> dict[str, Any]:
    """Turns nested mappings into one with dotted names; empty mappings stay as values."""
    flat: dict[str, Any] = {}
    for name, value in tree.items():
        if isinstance(value, Mapping) and value:
            flat |= _flatten(value, prefix=f"{prefix}{name}.")
        else:
            flat[f"{prefix}{name}"] = value
    return flat


def _show(fields: Mapping[str, Any], name: str) -> str:
    return json.dumps(fields[name], ensure_ascii=False) if name in fields else _ABSENT
