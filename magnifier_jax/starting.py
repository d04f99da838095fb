"""The state that a run begins with: random weights, or those of another network."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping
from typing import Any

import jax
import numpy as np
from flax import traverse_util
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from magnifier_jax.config import Config
from magnifier_jax.devices import put_replicated
from magnifier_jax.interop import (
    Imported,
    ImportReport,
    backbone_from_torch,
    from_torch_state_dict,
    read_torch_file,
)
from magnifier_jax.model import MagnifierNet
from magnifier_jax.steps import TrainState, initial_state
from magnifier_jax.trained import load_trained

_CLASSIFIERS = ("classifier", "part_classifiers")


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
