"""The work directory of a run: where things are, who may write, and which configuration made it."""

import contextlib
import dataclasses
import fcntl
import importlib.metadata
import json
import os
import pathlib
import platform
import socket
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import jax

from magnifier_jax.errors import UserError
from magnifier_jax.whole_file import open_whole

_PACKAGES = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint", "numpy", "magnifier_jax")
_ABSENT = "(absent)"


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
        """`config.json`: the configuration and the versions that decided the run."""
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

    def read_config(self) -> Mapping[str, Any]:
        """Returns the configuration that the directory was made with.

        Raises:
            UserError: There is none, or it cannot be read.
        """
        try:
            return json.loads(self.config.read_text(encoding="utf-8"))["config"]
        except FileNotFoundError:
            raise UserError(f"{self.path} is not a work directory: no config.json in it.") from None
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UserError(
                f"{self.config} cannot be read ({error}): restore it from a copy, or train into "
                "another work directory."
            ) from error

    def check_config(
        self,
        config: Mapping[str, Any],
        *,
        may_differ: Sequence[str] = (),
        allow_changes: bool = False,
    ) -> Sequence[str]:
        """Compares a configuration with the one that the directory was made with.

        Args:
            config: The configuration to go on with; JSON values, nested.
            may_differ: Dotted fields, or groups of fields, that do not decide the result, such as
                how often something is logged.
            allow_changes: Whether to go on where other fields differ.

        Returns:
            The differences, one line each, as in `optimizer.learning_rate: 0.001 → 0.01`; empty
            where there are none or where no configuration has been written yet.

        Raises:
            UserError: Fields differ and `allow_changes` is false.
        """
        if not self.config.exists():
            return []
        before = _flatten(self.read_config())
        after = _flatten(json.loads(json.dumps(config)))
        changed = [
            f"{name}: {_show(before, name)} → {_show(after, name)}"
            for name in sorted(before.keys() | after.keys())
            if before.get(name, _ABSENT) != after.get(name, _ABSENT)
            and not any(name == field or name.startswith(field + ".") for field in may_differ)
        ]
        if changed and not allow_changes:
            raise UserError(
                f"{self.path} holds a run with another configuration; differing fields: "
                + ", ".join(changed)
                + ". Give the same configuration, another work directory, or "
                "--resume_with_changes to go on with the new one."
            )
        return changed


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
