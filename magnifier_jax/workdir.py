"""The work directory of a run: where things are, and who may write."""

import contextlib
import dataclasses
import importlib.metadata
import pathlib
import platform
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from input_pipeline.errors import UserError
from input_pipeline.files import exclusive, write_json, writing

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "magnifier_jax")


@dataclasses.dataclass(frozen=True)
class WorkDirectory:
    """A folder that holds one training run and what came of it.

    In a run of several processes only the first one locks and writes.

    Attributes:
        path: The folder; it is made by `lock`.
    """

    path: pathlib.Path

    @property
    def config(self) -> pathlib.Path:
        """`config.json`: the configuration and the versions of the last start, to be looked at."""
        return self.path / "config.json"

    @property
    def metrics(self) -> pathlib.Path:
        """`metrics.jsonl`: one JSON object a logged step."""
        return self.path / "metrics.jsonl"

    @property
    def evaluation(self) -> pathlib.Path:
        """`evaluation.json`: the last evaluation."""
        return self.path / "evaluation.json"

    @property
    def untrained(self) -> pathlib.Path:
        """`untrained.json`: the evaluation before the first step."""
        return self.path / "untrained.json"

    @property
    def checkpoints(self) -> pathlib.Path:
        """The folder of the checkpoints."""
        return self.path / "checkpoints"

    @property
    def tensorboard(self) -> pathlib.Path:
        """The folder of the TensorBoard event files."""
        return self.path / "tensorboard"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Holds the directory for this process, until the block is left or the process dies.

        Raises:
            UserError: Another run holds it, or it cannot be made.
        """
        if jax.process_index() != 0:
            yield
            return
        with writing(self.path):
            self.path.mkdir(parents=True, exist_ok=True)
        with exclusive(self.path / ".lock", what=f"The work directory {self.path}"):
            yield

    def write_config(self, config: Mapping[str, Any]) -> None:
        """Writes `config.json`, with the versions of what is installed here."""
        if jax.process_index() == 0:
            write_json(self.config, {"config": config, "versions": software_versions()})


def software_versions() -> Mapping[str, str]:
    """Returns the versions of Python and of the packages that decide a result."""
    versions = {"python": platform.python_version()}
    for package in _PACKAGES:
        with contextlib.suppress(importlib.metadata.PackageNotFoundError):
            versions[package] = importlib.metadata.version(package)
    return versions


def distinct_names(workdirs: Sequence[pathlib.Path]) -> list[str]:
    """What each run is called: its folder, or as much of its path as tells it from the others.

    Raises:
        UserError: A folder is named twice.
    """
    resolved = [path.resolve() for path in workdirs]
    if len(set(resolved)) < len(resolved):
        raise UserError("The same work directory is named twice: name it once.")
    for depth in range(1, max(len(path.parts) for path in resolved) + 1):
        names = ["/".join(path.parts[-depth:]) for path in resolved]
        if len(set(names)) == len(names):
            break
    return names
