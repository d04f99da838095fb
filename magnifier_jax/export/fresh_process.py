"""A script that runs exports in a process of its own, which has nothing but their files.

`python -P fresh_process.py TASK SOURCE TARGET`, where a task is

- `run-stablehlo`: SOURCE is a StableHLO file; TARGET a folder with `input_0.npy`, `input_1.npy`, …
  of which it makes `output_0.npy`, …;
- `run-savedmodel`: the same for a SavedModel;
- `run-onnx`: the same for an ONNX file, by ONNX Runtime on the CPU;
- `run-weights`: the same for a file or folder of weights;
- `run-tflite`: the same for a TensorFlow Lite file;
- `make-savedmodel`, `make-tflite`: turn the StableHLO file SOURCE into the SavedModel or TensorFlow
  Lite file TARGET.

It is the only place that needs TensorFlow. Nothing but `run-weights` may import anything of ours.
"""

from __future__ import annotations

import importlib
import pathlib
import sys
from collections.abc import Callable
from typing import Any

import numpy as np


def _run(embed: Callable[[np.ndarray], np.ndarray], folder: pathlib.Path) -> None:
    for path in sorted(folder.glob("input_*.npy")):
        number = path.stem.removeprefix("input_")
        np.save(folder / f"output_{number}.npy", embed(np.load(path)))


def run_stablehlo(source: pathlib.Path, target: pathlib.Path) -> None:
    """Embeds images by a StableHLO file."""
    import jax.export

    exported = jax.export.deserialize(bytearray(source.read_bytes()))
    _run(lambda images: np.asarray(exported.call(images)), target)


def run_onnx(source: pathlib.Path, target: pathlib.Path) -> None:
    """Embeds images by an ONNX file."""
    runtime = importlib.import_module("onnxruntime")
    session = runtime.InferenceSession(str(source), providers=["CPUExecutionProvider"])
    _run(lambda images: session.run(["descriptor"], {"images": images})[0], target)


def run_weights(source: pathlib.Path, target: pathlib.Path) -> None:
    """Embeds normalized NCHW images by the network that exported weights give."""
    import jax

    from magnifier_jax.export.reader import read_exported

    trained = read_exported(source)
    model = trained.model.clone(dtype=np.float32)

    @jax.jit
    def embed(variables: Any, images: jax.Array) -> jax.Array:
        outputs: Any = model.apply(variables, images.transpose(0, 2, 3, 1), train=False)
        return outputs.descriptor

    _run(lambda images: np.asarray(embed(trained.variables, images)), target)


def run_savedmodel(source: pathlib.Path, target: pathlib.Path) -> None:
    """Embeds images by a SavedModel."""
    tf = importlib.import_module("tensorflow")
    embed = tf.saved_model.load(str(source)).signatures["serving_default"]
    _run(lambda images: embed(images=tf.constant(images))["descriptor"].numpy(), target)


def run_tflite(source: pathlib.Path, target: pathlib.Path) -> None:
    """Embeds images by a TensorFlow Lite file."""
    tf = importlib.import_module("tensorflow")
    embed = tf.lite.Interpreter(model_content=source.read_bytes()).get_signature_runner()
    _run(lambda images: embed(images=images)["descriptor"], target)


def make_savedmodel(source: pathlib.Path, target: pathlib.Path) -> None:
    """Wraps a StableHLO file of one input and one output into a SavedModel."""
    tf = importlib.import_module("tensorflow")
    module = _module(tf, source)
    tf.saved_model.save(module, str(target), signatures={"serving_default": module.embed})


def make_tflite(source: pathlib.Path, target: pathlib.Path) -> None:
    """Converts a StableHLO file of one input and one output, and a fixed batch, to TFLite."""
    tf = importlib.import_module("tensorflow")
    module = _module(tf, source)
    function = module.embed.get_concrete_function()
    converter = tf.lite.TFLiteConverter.from_concrete_functions([function], module)
    target.write_bytes(converter.convert())


def _module(tf: Any, source: pathlib.Path) -> Any:
    import jax.export
    from jax.experimental import jax2tf

    exported = jax.export.deserialize(bytearray(source.read_bytes()))
    (images,) = exported.in_avals
    embed = jax2tf.convert(
        exported.call,
        polymorphic_shapes=[str(tuple(images.shape)).replace("'", "")],
        native_serialization_platforms=exported.platforms,
        with_gradient=False,
    )
    shape = [size if isinstance(size, int) else None for size in images.shape]
    signature = tf.TensorSpec(shape, images.dtype, name="images")
    module = tf.Module()
    module.embed = tf.function(
        lambda images: {"descriptor": embed(images)},
        input_signature=[signature],
        autograph=False,
    )
    return module


def main(arguments: list[str]) -> None:
    """Does one task."""
    task, source, target = arguments
    tasks = {
        "run-onnx": run_onnx,
        "run-stablehlo": run_stablehlo,
        "run-weights": run_weights,
        "run-savedmodel": run_savedmodel,
        "run-tflite": run_tflite,
        "make-savedmodel": make_savedmodel,
        "make-tflite": make_tflite,
    }
    tasks[task](pathlib.Path(source), pathlib.Path(target))


if __name__ == "__main__":
    main(sys.argv[1:])
