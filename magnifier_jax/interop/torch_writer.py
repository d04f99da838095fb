"""Writes tensors as files that PyTorch reads, without PyTorch."""

from __future__ import annotations

import json
import pathlib
import struct
import zipfile
from collections.abc import Iterable, Iterator, Mapping

import ml_dtypes
import numpy as np
import safetensors.numpy

from input_pipeline.errors import UserError
from input_pipeline.files import checksum, open_whole, write_bytes, writing

_STORAGES = {
    np.dtype(np.float32): "FloatStorage",
    np.dtype(np.float64): "DoubleStorage",
    np.dtype(np.float16): "HalfStorage",
    np.dtype(ml_dtypes.bfloat16): "BFloat16Storage",
    np.dtype(np.int64): "LongStorage",
    np.dtype(np.int32): "IntStorage",
    np.dtype(np.int16): "ShortStorage",
    np.dtype(np.int8): "CharStorage",
    np.dtype(np.uint8): "ByteStorage",
    np.dtype(np.bool_): "BoolStorage",
}
# The archive's folder, and the version of the format that torch.save has written since 1.6.
_ROOT = "archive"
_FORMAT_VERSION = b"3\n"
METADATA = "magnifier_jax.json"
"""Name in a `.pth` archive of the texts that travel with the tensors."""
CHECKSUM = "magnifier_jax.checksum"
"""Name in a safetensors header of what `tensors_checksum` says."""
_SMALL_INTEGER = 1 << 31


def write_safetensors(
    path: str | pathlib.Path,
    state: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a `.safetensors` file.

    Args:
        path: The file; an old one is replaced when the new one is complete.
        state: Names to arrays.
        metadata: Text for the file's header.

    Raises:
        UserError: The file cannot be written.
    """
    arrays = {name: np.ascontiguousarray(array) for name, array in state.items()}
    # np.ascontiguousarray makes a vector of a scalar.
    arrays = {name: array.reshape(np.shape(state[name])) for name, array in arrays.items()}
    text = {"format": "pt", **(metadata or {})}
    text[CHECKSUM] = tensors_checksum(arrays, text)
    try:
        data = safetensors.numpy.save(arrays, metadata=text)
    except safetensors.SafetensorError as error:
        raise UserError(f"Cannot write {path}: {error}.") from error
    write_bytes(pathlib.Path(path), data)


def tensors_checksum(state: Mapping[str, np.ndarray], text: Mapping[str, str]) -> str:
    """Eight hexadecimal digits of all names, numbers and texts, in whatever order they are."""
    total = checksum(json.dumps(dict(text), sort_keys=True).encode())
    for name in sorted(state):
        array = np.ascontiguousarray(state[name])
        total = checksum(f"{name} {array.dtype} {state[name].shape}".encode(), start=total)
        # As bytes, because bfloat16 has no buffer of its own.
        total = checksum(array.reshape(-1).view(np.uint8).data, start=total)
    return f"{total:08x}"


def write_torch_file(
    path: str | pathlib.Path,
    state: Mapping[str, np.ndarray],
    *,
    metadata: Mapping[str, str] | None = None,
) -> None:
    """Writes a `.pth` file that `torch.load(path, weights_only=True)` reads as a `state_dict`.

    Args:
        path: The file; an old one is replaced when the new one is complete.
        state: Names to arrays.
        metadata: Text to travel in the file, which PyTorch passes over.

    Raises:
        UserError: The file cannot be written, or PyTorch has no such number type.
    """
    for name, array in state.items():
        if array.dtype not in _STORAGES:
            raise UserError(f"Tensor `{name}` has type {array.dtype}, which a .pth cannot hold.")

    target = pathlib.Path(path)
    with (
        writing(target),
        open_whole(target) as file,
        zipfile.ZipFile(file, "w", zipfile.ZIP_STORED) as archive,
    ):
        archive.writestr(f"{_ROOT}/data.pkl", b"".join(_pickle(state)))
        archive.writestr(f"{_ROOT}/byteorder", b"little")
        for index, array in enumerate(state.values()):
            archive.writestr(f"{_ROOT}/data/{index}", array.tobytes())
        archive.writestr(f"{_ROOT}/version", _FORMAT_VERSION)
        if metadata is not None:
            archive.writestr(f"{_ROOT}/{METADATA}", json.dumps(dict(metadata)).encode())


def _pickle(state: Mapping[str, np.ndarray]) -> Iterator[bytes]:
    """The pickle (protocol 2) of a dictionary of tensors, instruction by instruction.

    Python's own pickler would need PyTorch to be there for the names that the pickle refers to.
    """
    yield b"\x80\x02}("  # protocol 2, an empty dictionary, a mark before its items
    for index, (name, array) in enumerate(state.items()):
        yield _string(name)
        yield b"ctorch._utils\n_rebuild_tensor_v2\n("
        yield b"(" + _string("storage") + f"ctorch\n{_STORAGES[array.dtype]}\n".encode()
        yield _string(str(index)) + _string("cpu") + _integer(array.size) + b"tQ"
        strides = np.cumprod((1, *array.shape[:0:-1]))[::-1][: array.ndim]
        yield _integer(0) + _integers(array.shape) + _integers(strides)
        yield b"\x89ccollections\nOrderedDict\n)R"  # no gradient, no hooks
        yield b"tR"
    yield b"u."


def _string(text: str) -> bytes:
    data = text.encode()
    return b"X" + struct.pack("<I", len(data)) + data


def _integer(value: int) -> bytes:
    if value < _SMALL_INTEGER:
        return b"J" + struct.pack("<i", value)
    return b"\x8a\x08" + struct.pack("<q", value)


def _integers(values: Iterable[int]) -> bytes:
    return b"(" + b"".join(_integer(int(value)) for value in values) + b"t"
