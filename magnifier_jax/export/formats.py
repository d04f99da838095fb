"""Weights, StableHLO and SavedModel: what an export is written as, and how it is run again."""

from __future__ import annotations

import importlib.util
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import jax.export
import numpy as np

from input_pipeline.errors import UserError
from magnifier_jax.export.function import DescriptorFunction
from magnifier_jax.export.verification import run_batches, run_task
from magnifier_jax.interop import (
    to_torch_state_dict,
    write_safetensors,
    write_torch_file,
)

PLATFORMS = ("cpu", "cuda", "tpu")


def write_weights(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes all tensors of the network.

    Raises:
        UserError: The file cannot be written.
    """
    state = to_torch_state_dict(
        function.variables, function.model, num_batches_tracked=function.step
    )
    write = write_safetensors if function.settings.format == "safetensors" else write_torch_file
    write(path, state)


def run_weights(
    function: DescriptorFunction, path: pathlib.Path, batches: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Describes each batch in a fresh process, by a network that the file fills.

    Raises:
        UserError: The file does not fill it.
    """
    return run_batches("run-weights", path, batches, definition=function.definition)


def write_stablehlo(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes the function, its weights included, for batches of any size.

    Raises:
        UserError: The file cannot be written.
    """
    sizes = ", ".join(str(size) for size in function.input_shape)
    shape = jax.export.symbolic_shape(f"batch, {sizes}")
    images = jax.ShapeDtypeStruct(shape, function.input_type)
    exported = jax.export.export(jax.jit(function), platforms=PLATFORMS)(images)
    try:
        path.write_bytes(exported.serialize())
    except OSError as error:
        raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def run_stablehlo(
    function: DescriptorFunction, path: pathlib.Path, batches: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Describes each batch by the file, in a fresh process.

    Raises:
        UserError: The file cannot be run.
    """
    del function  # The file is all that is needed.
    return run_batches("run-stablehlo", path, batches)


def write_savedmodel(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes a folder whose signature `serving_default` maps `images` to `descriptor`.

    Raises:
        UserError: TensorFlow is missing, or cannot take what jax gives it.
    """
    if importlib.util.find_spec("tensorflow") is None:
        raise UserError("--format=savedmodel needs TensorFlow: pip install tensorflow")
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        stablehlo = pathlib.Path(folder) / "function"
        write_stablehlo(function, stablehlo)
        run_task("make-savedmodel", stablehlo, path)


def run_savedmodel(
    function: DescriptorFunction, path: pathlib.Path, batches: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Describes each batch by the folder, in a fresh process.

    Raises:
        UserError: TensorFlow cannot run it.
    """
    del function  # The folder is all that is needed.
    try:
        return run_batches("run-savedmodel", path, batches)
    except UserError as error:
        raise UserError(
            f"This TensorFlow cannot run what jax {jax.__version__} writes: install a newer "
            f"TensorFlow, or export with an older jax. {error}"
        ) from error
