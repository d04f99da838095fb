"""Training in one call, `mj.train(config, workdir)`, whatever form its configuration has."""

from __future__ import annotations

import importlib.util
import os
import pathlib
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import configs
from input_pipeline.errors import UserError
from input_pipeline.files import read_json, user_path
from magnifier_jax.config import Config
from magnifier_jax.devices import enable_compilation_cache
from magnifier_jax.workdir import WorkDirectory

if TYPE_CHECKING:
    from magnifier_jax.training.loop import TrainingResult


def train(
    config: Config | Mapping[str, Any] | str | os.PathLike[str],
    workdir: str | os.PathLike[str],
    *,
    resume_with_changes: bool = False,
    progress: bool = True,
) -> TrainingResult:
    """Trains a network, or resumes where the run in the work directory stopped.

    Args:
        config: A configuration; a mapping of its fields, such as what `get_config()` of
            `configs/market1501.py` returns; such a file; or the `config.json` of a run.
        workdir: Folder of the run, made if it is not there. `load` reads it.
        resume_with_changes: Whether a run may be resumed with another configuration than it had.
        progress: Whether to show progress.

    Returns:
        The number of steps done and the measures of the test sets.

    Raises:
        UserError: Something configured cannot work, or another run holds the work directory.
        DataError: The data cannot be used.
    """
    from magnifier_jax.training.loop import train as run

    enable_compilation_cache()
    directory = WorkDirectory(user_path(workdir))
    return run(
        read_config(config),
        directory,
        resume_with_changes=resume_with_changes,
        progress=progress,
    )


def read_config(config: Config | Mapping[str, Any] | str | os.PathLike[str]) -> Config:
    """A configuration from any form in which people have one; see `train`.

    Raises:
        UserError: It is not there, or no configuration.
        DataError: A file cannot be read.
    """
    if isinstance(config, Config):
        return config
    if isinstance(config, (str, os.PathLike)):
        config = _read_file(os.fspath(config))
    if hasattr(config, "to_dict"):  # ml_collections.ConfigDict
        config = config.to_dict()
    if not isinstance(config, Mapping):
        raise UserError(f"A {type(config).__name__} is no configuration: give a mapping or a file.")
    # The config.json of a run also holds the versions of its software.
    return Config.from_mapping(config.get("config", config))


def _read_file(text: str) -> Any:
    path, _, argument = configs.find(text).partition(":")
    place = user_path(path)
    if not place.is_file():
        raise UserError(f"There is no configuration {text}: give a file, or one of {_known()}.")
    if place.suffix == ".json":
        return read_json(place, what="configuration of a run")
    return _run_file(place, argument)


def _known() -> str:
    return ", ".join(configs.names())


def _run_file(place: pathlib.Path, argument: str) -> Any:
    spec = importlib.util.spec_from_file_location(f"magnifier_config_{place.stem}", place)
    if spec is None or spec.loader is None:
        raise UserError(f"{place} is no Python file with get_config().")
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
        return module.get_config(argument) if argument else module.get_config()
    except UserError:
        raise
    except Exception as error:
        raise UserError(f"{place} has a mistake; {type(error).__name__}: {error}") from error
