"""One StableHLO file for CPU, CUDA and TPU, which runs with jax alone."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import jax
import jax.export
import numpy as np

from input_pipeline.errors import UserError
from magnifier_jax.export.descriptor_function import DescriptorFunction
from magnifier_jax.export.processes import run_batches

PLATFORMS = ("cpu", "cuda", "tpu")


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
