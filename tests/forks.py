"""Commands in processes that have imported everything before they begin.

Importing takes longer than a small run. Here one process imports what the public command needs,
and does nothing else; each command runs in a fork of it, which is a process like any other.
"""

from __future__ import annotations

import atexit
import contextlib
import importlib
import multiprocessing
import multiprocessing.context
import multiprocessing.forkserver
import os
import pathlib
import sys
from collections.abc import Iterator, Mapping, Sequence

import pytest

# What a run imports when it begins, and what it imports on the way.
_NEEDED = (
    "magnifier_jax.main",
    "configs.quickstart",
    "array_record.python.array_record_data_source",
    "tensorboardX.event_file_writer",
    "tensorboardX.summary",
    "tensorflow_datasets.core.data_sources.array_record",
)


_CONTEXT = multiprocessing.get_context("forkserver")


class Fork:
    """A process with the methods of `subprocess.Popen` that `command.Running` uses."""

    def __init__(self, process: multiprocessing.context.ForkServerProcess) -> None:
        self._process = process

    def poll(self) -> int | None:
        """How it ended, below 0 if by a signal; None while it runs."""
        return self._process.exitcode

    def wait(self, timeout: float) -> int:
        """Waits for its end."""
        self._process.join(timeout)
        code = self.poll()
        assert code is not None, f"still running after {timeout} seconds"
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal."""
        assert self._process.pid is not None
        os.kill(self._process.pid, number)


@contextlib.contextmanager
def prepared(*, devices: int = 1) -> Iterator[None]:
    """Within it, processes with so many devices can be forked.

    They have the environment of the moment when it was entered.
    """
    _CONTEXT.set_forkserver_preload(list(_NEEDED))
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("JAX_NUM_CPU_DEVICES", str(devices))
        patch.setenv("PYTHONUNBUFFERED", "1")
        multiprocessing.forkserver.ensure_running()
    try:
        yield
    finally:
        multiprocessing.forkserver._forkserver._stop()


def fork(
    module: str,
    arguments: Sequence[str],
    *,
    variables: Mapping[str, str],
    stdout: pathlib.Path,
    stderr: pathlib.Path,
) -> Fork:
    """Calls the function `start` of a module in a process of its own.

    Args:
        module: The module.
        arguments: What `sys.argv` holds after the name.
        variables: Of the environment, beside those of the process that has imported everything.
        stdout: A file for what it prints.
        stderr: The same for errors.
    """
    values = (module, tuple(arguments), dict(variables), stdout, stderr)
    process = _CONTEXT.Process(target=_call, args=values, daemon=True)
    process.start()
    return Fork(process)


def _call(
    module: str,
    arguments: Sequence[str],
    variables: Mapping[str, str],
    stdout: pathlib.Path,
    stderr: pathlib.Path,
) -> None:
    for path, descriptor in ((stdout, 1), (stderr, 2)):
        with path.open("wb") as file:
            os.dup2(file.fileno(), descriptor)
    os.environ.update(variables)
    sys.argv = [module, *arguments]
    try:
        importlib.import_module(module).start()
    finally:
        atexit._run_exitfuncs()  # Which multiprocessing leaves out.
