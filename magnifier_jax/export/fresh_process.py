"""A script that runs exports in a process of its own, which knows nothing of this package.

`python -P fresh_process.py TASK SOURCE TARGET`, where a task is

- `run-stablehlo`: SOURCE is a StableHLO file; TARGET a folder with `input_0.npy`, `input_1.npy`, …
  of which it makes `output_0.npy`, …;
- `run-savedmodel`: the same for a SavedModel;
- `make-savedmodel`: turns the StableHLO file SOURCE into the SavedModel TARGET.

It is the only place that needs TensorFlow, and must not import anything of ours.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Callable

import numpy as np


def _run(describe: Callable[[np.ndarray], np.ndarray], folder: pathlib.Path) -> None:
    for path in sorted(folder.glob("input_*.npy")):
        number = path.stem.removeprefix("input_")
        np.save(folder / f"output_{number}.npy", describe(np.load(path)))


def run_stablehlo(source: pathlib.Path, target: pathlib.Path) -> None:
    """Describes pictures by a StableHLO file."""
    import jax.export

    exported = jax.export.deserialize(bytearray(source.read_bytes()))
    _run(lambda images: np.asarray(exported.call(images)), target)


def run_savedmodel(source: pathlib.Path, target: pathlib.Path) -> None:
    """Describes pictures by a SavedModel."""
    tf = importlib.import_module("tensorflow")
    describe = tf.saved_model.load(str(source)).signatures["serving_default"]
    _run(lambda images: describe(images=tf.constant(images))["descriptor"].numpy(), target)


def main(arguments: list[str]) -> None:
    """Does one task."""
    task, source, target = arguments
    tasks = {
        "run-stablehlo": run_stablehlo,
        "run-savedmodel": run_savedmodel,
    }
    tasks[task](pathlib.Path(source), pathlib.Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
