"""A script that runs exports in a process of its own, which has nothing but their files.

`python -P fresh_process.py TASK SOURCE TARGET`, where a task is

- `run-stablehlo`: SOURCE is a StableHLO file; TARGET a folder with `input_0.npy`, `input_1.npy`, …
  of which it makes `output_0.npy`, …;
- `run-savedmodel`: the same for a SavedModel;
- `run-onnx`: the same for an ONNX file, by ONNX Runtime on the CPU;
- `run-weights`: the same for a file of weights, filled into the network that `network.json` in
  TARGET defines as the card does;
- `make-savedmodel`: turns the StableHLO file SOURCE into the SavedModel TARGET.

It is the only place that needs TensorFlow. Nothing but `run-weights` may import anything of ours.
"""

from __future__ import annotations

import importlib
import json
import pathlib
import sys
from collections.abc import Callable
from typing import Any

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


def run_onnx(source: pathlib.Path, target: pathlib.Path) -> None:
    """Describes pictures by an ONNX file."""
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    _run(lambda images: session.run(["descriptor"], {"images": images})[0], target)


def run_weights(source: pathlib.Path, target: pathlib.Path) -> None:
    """Describes normalised NCHW pictures by a network that the tensors of a file fill."""
    import jax

    from magnifier_jax import interop
    from magnifier_jax.model import BACKBONES, MagnifierNet

    definition = json.loads((target / "network.json").read_text())
    backbone = BACKBONES[definition["backbone"]]
    model = MagnifierNet(definition["identities"], backbone, **definition["network"])
    imported = interop.from_torch_state_dict(interop.read_torch_file(source), model)
    if str(imported.report):
        raise ValueError(str(imported.report).replace("\n", "; "))

    @jax.jit
    def describe(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = model.apply(variables, images.transpose(0, 2, 3, 1), train=False)
        return outputs.descriptor

    _run(lambda images: np.asarray(describe(imported.variables, images)), target)


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
        "run-onnx": run_onnx,
        "run-stablehlo": run_stablehlo,
        "run-weights": run_weights,
        "run-savedmodel": run_savedmodel,
        "make-savedmodel": make_savedmodel,
    }
    tasks[task](pathlib.Path(source), pathlib.Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
