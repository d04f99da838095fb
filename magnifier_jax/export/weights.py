"""Weights under the original's PyTorch names, as `.safetensors` or `.pth`."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from magnifier_jax.export.descriptor_function import DescriptorFunction
from magnifier_jax.export.processes import run_batches
from magnifier_jax.interop import (
    to_torch_state_dict,
    write_safetensors,
    write_torch_file,
)


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
