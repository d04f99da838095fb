"""Runs what was written, in a fresh process that has nothing but its files."""

from __future__ import annotations

import os
import pathlib
import subprocess
import sys
import tempfile
from collections.abc import Sequence

import numpy as np

from input_pipeline.errors import UserError

# Of what a failed process said; TensorFlow repeats whole programs.
_LONGEST = 200
_SCRIPT = pathlib.Path(__file__).with_name("fresh_process.py")
_ROOT = _SCRIPT.parents[2]  # where our packages are


def run_task(task: str, source: pathlib.Path, target: pathlib.Path) -> None:
    """Runs one task of `fresh_process.py` on the CPU.

    Raises:
        UserError: It failed; the last line that it said is repeated.
    """
    paths = [str(_ROOT), *filter(None, [os.environ.get("PYTHONPATH")])]
    environment = {
        **os.environ,
        "PYTHONPATH": os.pathsep.join(paths),
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
    """Embeds each batch by an export, in a fresh process.

    Args:
        task: Of `fresh_process.py`.
        source: The export.
        batches: What the export takes.

    Raises:
        UserError: The export cannot be run.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = pathlib.Path(name)
        for number, batch in enumerate(batches):
            np.save(folder / f"input_{number}.npy", batch)
        run_task(task, source, folder)
        return [np.load(folder / f"output_{number}.npy") for number in range(len(batches))]


def sample_images(count: int, image_size: tuple[int, int]) -> np.ndarray:
    """Colored blocks under noise, uint8 `[count, H, W, 3]`: parts of many kinds and sizes."""
    rng = np.random.default_rng(count)
    height, width = image_size
    blocks = rng.integers(0, 256, (count, 8, 4, 3))
    rows, columns = np.arange(height) * 8 // height, np.arange(width) * 4 // width
    images = blocks[:, rows][:, :, columns] + rng.normal(0, 20, (count, height, width, 3))
    return images.clip(0, 255).astype(np.uint8)


def relative_difference(found: np.ndarray, expected: np.ndarray) -> float:
    """The largest difference of a descriptor's numbers, over the largest of its numbers.

    The worst of `[N, D]` descriptors counts; infinite if a number is missing or undefined.
    """
    if found.shape != expected.shape or not np.isfinite(found).all():
        return float("inf")
    differences = np.abs(found - expected).max(1)
    return float((differences / np.maximum(np.abs(expected).max(1), 1e-12)).max())
