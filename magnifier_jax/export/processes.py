"""Starts `fresh_process.py` and passes arrays to it and back."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from magnifier_jax.errors import UserError

# Of what a failed process said; TensorFlow repeats whole programs.
_LONGEST = 200
_SCRIPT = pathlib.Path(__file__).with_name("fresh_process.py")


def run_task(task: str, source: pathlib.Path, target: pathlib.Path) -> None:
    """Runs one task of `fresh_process.py` on the CPU.

    Raises:
        UserError: It failed; the last line that it said is repeated.
    """
    environment = {
        **os.environ,
        # Accelerators round differently, and may be busy.
        "JAX_PLATFORMS": "cpu",
        "CUDA_VISIBLE_DEVICES": "",
        "TF_CPP_MIN_LOG_LEVEL": "3",
    }
    # -P: the folder of the script must not hide installed packages such as `onnx`.
    command = [sys.executable, "-P", str(_SCRIPT), task, str(source), str(target)]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line for line in done.stderr.splitlines() if "Error" in line]
        said = lines[-1].strip()[:_LONGEST] if lines else f"exit status {done.returncode}"
        raise UserError(f"A fresh process could not {task.replace('-', ' ')}: {said}")


def run_batches(task: str, source: pathlib.Path, batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Describes each batch by an export, in a fresh process.

    Raises:
        UserError: The export cannot be run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number, batch in enumerate(batches):
            np.save(folder / f"input_{number}.npy", batch)
        run_task(task, source, folder)
        return [np.load(folder / f"output_{number}.npy") for number in range(len(batches))]
