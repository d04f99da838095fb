"""A TensorFlow SavedModel, made of the StableHLO in a process that may import TensorFlow."""

from __future__ import annotations

import importlib.util
import pathlib
import tempfile
from collections.abc import Sequence

import jax
import numpy as np

from input_pipeline.errors import UserError
from magnifier_jax.export.descriptor_function import DescriptorFunction
from magnifier_jax.export.processes import run_batches, run_task
from magnifier_jax.export.stablehlo import write_stablehlo


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
