"""The work directory of a run: where things are, and who may write."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import socket
from collections.abc import Iterator, Mapping
from typing import Any

import jax

from magnifier_jax.errors import UserError
from magnifier_jax.whole_file import open_whole

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
        path = self.path / ".lock"
        try:
            self.path.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except OSError as error:
            raise UserError(
                f"Cannot write to the work directory {self.path} ({error.strerror}): give another."
            ) from error
        try:
            _acquire(descriptor, directory=self.path)
            yield
        finally:
            os.close(descriptor)  # Which releases the lock; the file stays for the next run.

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


def write_json(path: pathlib.Path, value: Any) -> None:
    """Writes a JSON file in one piece: it is the old one or the new one, never half of it.

    Raises:
        UserError: It cannot be written, as on a full disk; the old one stays.
        ValueError: The value is not JSON; infinite and undefined numbers are not.
    """
    write_text(path, json.dumps(value, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def write_text(path: pathlib.Path, text: str) -> None:
    """Writes a text file as `write_json` does.

    Raises:
        UserError: It cannot be written, as on a full disk; the old one stays.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    try:
        with open_whole(path, partial=temporary) as file:
            file.write(text.encode())
    except OSError as error:
        raise UserError(
            f"Cannot write {path} ({error.strerror}): make room on the disk or check its "
            "permissions."
        ) from error


def _acquire(descriptor: int, *, directory: pathlib.Path) -> None:
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(descriptor, 1000, 0).decode(errors="replace").strip() or "another process"
        raise UserError(
            f"The work directory {directory} is in use by {holder}: wait for it, stop it, or give "
            "another work directory."
        ) from None
    os.ftruncate(descriptor, 0)
    os.pwrite(descriptor, f"process {os.getpid()} on {socket.gethostname()}\n".encode(), 0)
