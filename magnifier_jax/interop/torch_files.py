"""Reads tensors from PyTorch's and safetensors' files, without PyTorch and without running code."""

from __future__ import annotations

import io
import pathlib
import struct
import zipfile
from collections.abc import Mapping
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from input_pipeline.errors import UserError
from magnifier_jax.interop.pickles import PickleRefusedError, StorageType, Tensor, read_pickle

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
# Under which names training scripts keep the network's tensors beside other things.
_WRAPPERS = ("state_dict", "model_state_dict", "model", "net", "network", "module", "weights")
_DEEPEST_WRAPPER = 4
_SHOWN = 8

# Whatever a file that is not what it says can bring about.
_BROKEN = (
    safetensors.SafetensorError,
    zipfile.BadZipFile,
    KeyError,
    MemoryError,
    RuntimeError,
    TypeError,
    ValueError,
)


def read_torch_file(path: str | pathlib.Path) -> dict[str, np.ndarray]:
    """Reads the tensors of a `.safetensors`, `.pth` or `.pt` file.

    A `.pth` or `.pt` file is a pickle. It is read by an interpreter that builds tensors and plain
    data only, so a file from a stranger can do no harm. Whether the file was written by
    PyTorch 1.6 or later (a zip archive) or before is recognised by its content.

    Args:
        path: The file. Tensors may be at the top of what was saved or under `state_dict`,
            `model` or another usual name; whatever else was saved is left out.

    Returns:
        Names to read-only arrays; bfloat16 is `ml_dtypes.bfloat16`.

    Raises:
        UserError: The file cannot be read, wants more than tensors, or holds none.
    """
    path = pathlib.Path(path)
    try:
        if path.suffix == ".safetensors":
            return dict(safetensors.numpy.load_file(path))
        loaded = _read_zip(path) if zipfile.is_zipfile(path) else _read_stream(path)
        return _find_tensors(loaded, path)
    except UserError:
        raise
    except OSError as error:
        raise UserError(f"Cannot read {path}: {error.strerror or error}.") from error
    except PickleRefusedError as error:
        raise UserError(
            f"{path} was refused: {error}. Only tensors and plain data are read; if you trust the "
            f"file, load it with PyTorch and save its `state_dict()` alone."
        ) from error
    except _BROKEN as error:
        raise UserError(f"{path} is broken, cut off or of an unknown format: {error}.") from error


def _read_zip(path: pathlib.Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].count("/") != 1:
            raise UserError(f"{path} is a zip archive, but not one that torch.save wrote.")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            # torch.save never compresses, and a small file could unfold to any size.
            raise PickleRefusedError("it is compressed")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") == b"big":
            raise UserError(f"{path} was written on a big-endian machine, which is not supported.")
        cache: dict[str, np.ndarray] = {}

        def storage(identity: tuple[Any, ...]) -> np.ndarray:
            kind, key, _, count = identity
            if key not in cache:
                cache[key] = np.frombuffer(archive.read(f"{root}data/{key}"), np.uint8)
            return _numbers(cache[key], kind, count)

        with archive.open(pickles[0]) as stream:
            return read_pickle(stream, storage=storage)


def _read_stream(path: pathlib.Path) -> Any:
    """The format before PyTorch 1.6: pickles one after the other, then the numbers."""
    wanted: dict[str, list[_LateStorage]] = {}

    def storage(identity: tuple[Any, ...]) -> _LateStorage:
        kind, key, _, _, view = identity
        start, count = (0, None) if view is None else view[1:]
        late = _LateStorage(kind, start, count)
        wanted.setdefault(key, []).append(late)
        return late

    with path.open("rb") as stream:
        start = stream.read(2)
        if start == b"PK":
            raise UserError(f"{path} is a zip archive that is cut off; copy it again.")
        if start[:1] != b"\x80":
            raise UserError(f"{path} is neither a PyTorch nor a safetensors file.")
        stream.seek(0)
        if read_pickle(stream, storage=_no_storage) != _LEGACY_MAGIC:
            raise UserError(f"{path} is a pickle, but not one that torch.save wrote.")
        for _ in ("protocol version", "sizes of the machine's types"):
            read_pickle(stream, storage=_no_storage)
        loaded = read_pickle(stream, storage=storage)
        for key in read_pickle(stream, storage=_no_storage):
            if not isinstance(key, str):
                raise PickleRefusedError("its storages do not match its tensors")
            kinds = {id(late.kind): late.kind for late in wanted.get(key, ())}
            if len(kinds) != 1:
                raise PickleRefusedError("its storages do not match its tensors")
            (kind,) = kinds.values()
            numbers = _read_legacy_storage(stream, kind)
            for late in wanted.pop(key):
                late.fill(numbers)
        return loaded


class _LateStorage:
    """A storage whose numbers come later in the stream."""

    def __init__(self, kind: Any, start: int, count: int | None) -> None:
        self.kind = kind
        self._start, self._count = start, count
        self.numbers: np.ndarray | None = None

    def fill(self, numbers: np.ndarray) -> None:
        end = None if self._count is None else self._start + self._count
        self.numbers = numbers[self._start : end]


def _no_storage(_: tuple[Any, ...]) -> Any:
    raise PickleRefusedError("it has a tensor in an unusual place")


def _read_legacy_storage(stream: IO[bytes], kind: Any) -> np.ndarray:
    (count,) = struct.unpack("<q", _exactly(stream, 8))
    if not isinstance(kind, StorageType) or kind.dtype is None or count < 0:
        raise PickleRefusedError("a storage has an unknown type")
    return np.frombuffer(_exactly(stream, count * kind.dtype.itemsize), kind.dtype)


def _exactly(stream: IO[bytes], size: int) -> bytes:
    here = stream.tell()
    end = stream.seek(0, io.SEEK_END)
    stream.seek(here)
    # Asked first, because reading sets aside the memory before it finds the file too short.
    if size > end - here:
        raise PickleRefusedError("it is cut off")
    return stream.read(size)


def _numbers(data: np.ndarray, kind: Any, count: Any) -> np.ndarray:
    if not isinstance(kind, StorageType) or type(count) is not int or count < 0:
        raise PickleRefusedError("a storage has an unknown type")
    dtype = kind.dtype or np.dtype(np.uint8)
    if data.size < count * dtype.itemsize:
        raise PickleRefusedError("a storage is cut off")
    return data[: count * dtype.itemsize].view(dtype)


def _array(tensor: Tensor) -> np.ndarray:
    numbers = tensor.storage
    if isinstance(numbers, _LateStorage):
        numbers = numbers.numbers
    if not isinstance(numbers, np.ndarray):
        raise PickleRefusedError("a tensor has no numbers")
    if tensor.dtype is not None:
        size = numbers.nbytes - numbers.nbytes % tensor.dtype.itemsize
        numbers = numbers.view(np.uint8)[:size].view(tensor.dtype)
    if 0 in tensor.shape:
        return np.zeros(tensor.shape, numbers.dtype)
    # The stride of an axis of size 1 leads nowhere and may be any number.
    axes = zip(tensor.shape, tensor.strides, strict=True)
    strides = [stride if size > 1 else 0 for size, stride in axes]
    last = tensor.offset + sum(
        (size - 1) * stride for size, stride in zip(tensor.shape, strides, strict=True)
    )
    if last >= numbers.size:
        raise PickleRefusedError("a tensor reaches beyond its storage")
    # A view needs no memory, however large a shape with strides of 0 pretends to be.
    return np.lib.stride_tricks.as_strided(
        numbers[tensor.offset :],
        tensor.shape,
        [stride * numbers.itemsize for stride in strides],
        writeable=False,
    )


def _find_tensors(loaded: Any, path: pathlib.Path) -> dict[str, np.ndarray]:
    for _ in range(_DEEPEST_WRAPPER):
        if not isinstance(loaded, Mapping):
            break
        tensors = {
            name: _array(value)
            for name, value in loaded.items()
            if isinstance(name, str) and isinstance(value, Tensor)
        }
        if tensors:
            return tensors
        inside = [loaded[name] for name in _WRAPPERS if isinstance(loaded.get(name), Mapping)]
        if not inside:
            break
        loaded = inside[0]
    found = "something else"
    if isinstance(loaded, Mapping) and loaded:
        found = ", ".join(f"`{name!s:.40}`" for name in list(loaded)[:_SHOWN])
    raise UserError(f"{path} holds no tensors by name but {found}: expected a `state_dict`.")
