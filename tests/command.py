"""The public command, as a user types it, on the smallest network and data."""

import dataclasses
import os
import pathlib
import subprocess
import sys
import time
from collections.abc import Callable

from tests import forks

ROOT = pathlib.Path(__file__).parents[1]
MAIN = "magnifier_jax.main"

SMALL = (
    "--config.model.backbone=tiny",
    "--config.model.parsing_features=8",
    "--config.data.identities_per_batch=4",
    "--config.data.images_per_identity=2",
    "--config.train.max_steps=2",
    "--config.evaluate.batch_size=16",
)
TINY = ("--config=configs/quickstart.py", "--config.data.train=synthetic:tiny", *SMALL)

# For processes that are killed: a compiled program of which half is kept is of no use to others.
KEEPS_NO_PROGRAMS = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "1e9"}

# Only against tests that hang: the machines of continuous integration can be very slow.
PATIENCE = 1800


@dataclasses.dataclass(frozen=True, eq=False)
class Running:
    """A command that is running, its output going to files.

    Attributes:
        process: The process.
        stdout: File with its standard output.
        stderr: File with its standard error.
    """

    process: subprocess.Popen[bytes] | forks.Fork
    stdout: pathlib.Path
    stderr: pathlib.Path

    def wait_for(self, condition: Callable[[], bool]) -> None:
        """Blocks until a condition holds; fails if the command ends before."""
        end = time.monotonic() + PATIENCE
        while not condition():
            assert self.process.poll() is None, self.stderr.read_text()
            assert time.monotonic() < end, self.stderr.read_text()
            time.sleep(0.005)

    def result(self) -> subprocess.CompletedProcess[str]:
        """Waits for its end."""
        code = self.process.wait(PATIENCE)
        output, errors = self.stdout.read_text(), self.stderr.read_text()
        return subprocess.CompletedProcess((), code, output, errors)


def start(
    *arguments: str,
    folder: pathlib.Path,
    devices: int = 1,
    **environment: str,
) -> Running:
    """Starts the command with its cache below `folder`."""
    variables = {
        **os.environ,
        "JAX_PLATFORMS": "cpu",
        "JAX_NUM_CPU_DEVICES": str(devices),
        "XDG_CACHE_HOME": str(folder / "cache"),
        "PYTHONUNBUFFERED": "1",
        **environment,
    }
    stdout, stderr = _outputs(folder)
    with stdout.open("xb") as output, stderr.open("xb") as errors:
        process = subprocess.Popen(
            [sys.executable, "-m", MAIN, *arguments],
            stdout=output,
            stderr=errors,
            cwd=ROOT,
            env=variables,
        )
    return Running(process, stdout, stderr)


def fork(
    *arguments: str,
    folder: pathlib.Path,
    module: str = MAIN,
    **environment: str,
) -> Running:
    """As `start`, or another module's `start`, in a fork: within `forks.prepared`."""
    stdout, stderr = _outputs(folder)
    stdout.touch(exist_ok=False)
    stderr.touch(exist_ok=False)
    variables = {"XDG_CACHE_HOME": str(folder / "cache"), **environment}
    process = forks.fork(module, arguments, variables=variables, stdout=stdout, stderr=stderr)
    return Running(process, stdout, stderr)


def _outputs(folder: pathlib.Path) -> tuple[pathlib.Path, pathlib.Path]:
    """New files for what a command prints, and for its errors."""
    number = len(list(folder.glob("*.stdout")))
    return folder / f"{number}.stdout", folder / f"{number}.stderr"


def run(
    *arguments: str, folder: pathlib.Path, devices: int = 1, **environment: str
) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return start(*arguments, folder=folder, devices=devices, **environment).result()
