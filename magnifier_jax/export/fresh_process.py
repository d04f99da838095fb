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


def make_savedmodel(source: pathlib.Path, target: pathlib.Path) -> None:
    """Wraps a StableHLO file of one input and one output into a SavedModel."""
    import jax.export
    from jax.experimental import jax2tf

    tf = importlib.import_module("tensorflow")
    exported = jax.export.deserialize(bytearray(source.read_bytes()))
    (images,) = exported.in_avals
    describe = jax2tf.convert(
        exported.call,
        polymorphic_shapes=[str(tuple(images.shape)).replace("'", "")],
        native_serialization_platforms=exported.platforms,
        with_gradient=False,
    )
    signature = tf.TensorSpec([None, *images.shape[1:]], images.dtype, name="images")
    module = tf.Module()
    module.describe = tf.function(
        lambda images: {"descriptor": describe(images)},
        input_signature=[signature],
        autograph=False,
    )
    tf.saved_model.save(module, str(target), signatures={"serving_default": module.describe})


def main(arguments: list[str]) -> None:
    """Does one task."""
    task, source, target = arguments
    tasks = {
        "run-stablehlo": run_stablehlo,
        "run-savedmodel": run_savedmodel,
        "make-savedmodel": make_savedmodel,
    }
    tasks[task](pathlib.Path(source), pathlib.Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
