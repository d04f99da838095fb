"""Weights, StableHLO, SavedModel and TFLite: how each is written."""

from __future__ import annotations

import importlib.util
import pathlib
from collections.abc import Sequence

import jax
import jax.export
import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import write_bytes
from magnifier_jax.export.card import file_metadata
from magnifier_jax.export.function import DescriptorFunction
from magnifier_jax.export.verification import run_batches, run_task
from magnifier_jax.interop import (
    to_torch_state_dict,
    write_safetensors,
    write_torch_file,
)

PLATFORMS = ("cpu", "cuda", "tpu")


def write_weights(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes all tensors of the network, with what it takes to load them.

    Raises:
        UserError: The file cannot be written.
    """
    settings = function.settings
    state = to_torch_state_dict(
        function.variables, function.model, num_batches_tracked=function.step
    )
    if not settings.classifiers:
        state = {name: a for name, a in state.items() if not name.startswith("classifier")}
    if settings.precision == "fp16":
        # Kernels are nearly all of it; float16 cannot hold small variances.
        state = {name: a.astype(np.float16) if a.ndim > 1 else a for name, a in state.items()}
    write = write_torch_file if settings.format == "torch" else write_safetensors
    write(path, state, metadata=file_metadata(function))


def write_stablehlo(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes the function, its weights included, for batches of the size asked for or any size.

    Raises:
        UserError: The file cannot be written.
    """
    batch = function.settings.batch
    sizes = ", ".join(str(size) for size in function.input_shape)
    shape = jax.export.symbolic_shape(f"{batch or 'batch'}, {sizes}")
    images = jax.ShapeDtypeStruct(shape, function.input_type)
    # TensorFlow Lite has no operation that chooses between platforms.
    platforms = PLATFORMS if batch is None else PLATFORMS[:1]
    exported = jax.export.export(jax.jit(function), platforms=platforms)(images)
    write_bytes(path, bytes(exported.serialize()))


def write_savedmodel(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes a folder whose signature `serving_default` maps `images` to `descriptor`.

    Raises:
        UserError: TensorFlow is missing, or cannot take what jax gives it.
    """
    _make_by_tensorflow(function, path, task="make-savedmodel")


def write_tflite(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes a TensorFlow Lite program of built-in operations, for batches of one size.

    Raises:
        UserError: TensorFlow is missing, or its converter cannot take what jax gives it.
    """
    _make_by_tensorflow(function, path, task="make-tflite")


def _make_by_tensorflow(function: DescriptorFunction, path: pathlib.Path, *, task: str) -> None:
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError(
            f"--format={function.settings.format} needs TensorFlow: pip install tensorflow"
        )
    stablehlo = path.with_name(f"{path.name}.stablehlo")
    write_stablehlo(function, stablehlo)
    run_task(task, stablehlo, path)
    stablehlo.unlink()


def run_savedmodel(path: pathlib.Path, batches: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Embeds each batch by the folder, in a fresh process.

    Raises:
        UserError: TensorFlow cannot run it.
    """
    try:
        return run_batches("run-savedmodel", path, batches)
    except UserError as error:
        raise UserError(
            f"This TensorFlow cannot run what jax {jax.__version__} writes: install a newer "
            f"TensorFlow, or export with an older jax. {error}"
        ) from error
