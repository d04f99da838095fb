"""Exported weights read back: a file or folder that carries all that it takes to use it."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.files import read_json, reading, user_path
from magnifier_jax.config import Config
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import Trained
from magnifier_jax.export.card import parse_metadata
from magnifier_jax.export.folder import CONFIG, WEIGHTS
from magnifier_jax.export.function import NETWORK_FIELDS
from magnifier_jax.interop import from_torch_state_dict, read_metadata, read_torch_file
from magnifier_jax.model import MagnifierNet, classifies_identities
from magnifier_jax.training.step import abstract_state, build_model

_WHAT = "exported network"
_ADVICE = "export it again, or copy it again."


def read_exported(path: str | os.PathLike[str]) -> Trained:
    """Reads exported weights: a `.safetensors` or `.pth` file, or a folder made for hubs.

    Args:
        path: The export.

    Returns:
        The network as it was trained, its variables as NumPy arrays. Of an export of some branches,
        the configuration has the others switched off.

    Raises:
        DataError: It cannot be read, is damaged, or was not exported here.
    """
    place = user_path(path)
    weights = place / WEIGHTS if place.is_dir() else place
    with reading(weights, what=_WHAT, advice=_ADVICE):
        known = parse_metadata(read_metadata(weights))
        if known is None:
            raise DataError(
                f"{weights} does not say which network it is for: only exports of this project do. "
                "Start a training from it by config.init.checkpoint instead."
            )
        if place.is_dir():
            _check_config(place / CONFIG, known)
        return _trained(weights, known)


def _check_config(path: pathlib.Path, known: Mapping[str, Any]) -> None:
    """Refuses a folder whose parts are of different exports."""
    written = read_json(path, what=f"{CONFIG} of an exported network")
    if not isinstance(written, dict) or any(
        written.get(name) != value for name, value in known.items()
    ):
        raise DataError(
            f"{path} and the header of {WEIGHTS} beside it say different things: {_ADVICE}"
        )


def _trained(path: pathlib.Path, known: Mapping[str, Any]) -> Trained:
    state = read_torch_file(path)  # First, because it compares checksums.
    training = known["training"]
    identities = training["identities"]
    if not isinstance(identities, list) or not all(isinstance(x, str) for x in identities):
        raise ValueError("its identities are not names")
    step = known["step"]
    if type(step) is not int or step < 0:
        raise ValueError(f"its step is {step!r:.40}")
    config = Config.from_mapping(training["config"])
    # Settings that are newer than the export have what they had before there was a choice.
    network = {
        name: known["network"].get(name, getattr(config.model, name)) for name in NETWORK_FIELDS
    }
    config = dataclasses.replace(config, model=dataclasses.replace(config.model, **network))
    model = build_model(config, num_identities=max(1, len(identities)))
    imported = from_torch_state_dict(state, model)
    report, variables = imported.report, imported.variables
    if not identities:
        # Left out on purpose. No descriptor depends on the classifiers, so zeros do.
        unfilled = (n for n in report.unfilled if not classifies_identities(n.split("/")))
        report = dataclasses.replace(report, unfilled=tuple(unfilled))
        variables = imported.over(_zeros(config, model))
    if str(report):
        raise DataError(f"{path} is incomplete: {' '.join(str(report).split())}")
    return Trained(config, model, variables, tuple(identities), step)


def _zeros(config: Config, model: MagnifierNet) -> dict[str, Any]:
    """Variables of a network, all of them 0."""
    shapes = abstract_state(config, model, make_mesh(jax.local_devices()[:1])).variables
    return jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)
