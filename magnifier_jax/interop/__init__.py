"""Weights from PyTorch and back, without PyTorch."""

from magnifier_jax.interop.conversion import (
    Imported,
    ImportReport,
    backbone_from_torch,
    from_torch_state_dict,
    to_torch_state_dict,
)
from magnifier_jax.interop.torch_files import read_metadata, read_torch_file
from magnifier_jax.interop.torch_writer import write_safetensors, write_torch_file

__all__ = [
    "ImportReport",
    "Imported",
    "backbone_from_torch",
    "from_torch_state_dict",
    "read_metadata",
    "read_torch_file",
    "to_torch_state_dict",
    "write_safetensors",
    "write_torch_file",
]
