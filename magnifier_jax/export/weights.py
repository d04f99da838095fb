"""Weights under the original's PyTorch names, as `.safetensors` or `.pth`."""

from __future__ import annotations

import pathlib
from collections.abc import Sequence

import numpy as np

from magnifier_jax.export.describer import Describer, describe_on_cpu
from magnifier_jax.interop import (
    from_torch_state_dict,
    read_torch_file,
    to_torch_state_dict,
    write_safetensors,
    write_torch_file,
)


def write_weights(describer: Describer, path: pathlib.Path) -> None:
    """Writes all tensors of the network.

    Raises:
        UserError: The file cannot be written.
    """
    state = to_torch_state_dict(
        describer.variables, describer.model, num_batches_tracked=describer.step
    )
    write = write_safetensors if describer.settings.format == "safetensors" else write_torch_file
    write(path, state)


def run_weights(
    describer: Describer, path: pathlib.Path, batches: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Fills a network with nothing but the file, and describes each batch by it."""
    variables = from_torch_state_dict(read_torch_file(path), describer.model).variables
    pictures = np.concatenate([batch.transpose(0, 2, 3, 1) for batch in batches])
    found = describe_on_cpu(describer.model, variables, pictures)
    return np.split(found, np.cumsum([len(batch) for batch in batches])[:-1])
