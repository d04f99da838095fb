"""Reads tensors from PyTorch's and safetensors' files, without PyTorch and without running code."""

from __future__ import annotations

import dataclasses
import io
import json
import os
import pathlib
import struct
import zipfile
from collections.abc import Iterator, Mapping, Sequence
from typing import IO, Any

import numpy as np
import safetensors
import safetensors.numpy

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import reading
from magnifier_jax.interop.pickles import PickleRefusedError, StorageType, Tensor, read_pickle
from magnifier_jax.interop.torch_writer import CHECKSUM, METADATA, tensors_checksum

_LEGACY_MAGIC = 0x1950A86A20F9469CFC6C
_DEEPEST = 4  # dictionaries in dictionaries that are looked through
_SHOWN = 8
_LARGEST_METADATA = 1 << 26  # bytes
_WHAT = "file of weights"


def read_torch_file(path: str | os.PathLike[str], *, prefix: str = "") -> dict[str, np.ndarray]:
    """Reads the tensors of one network in a `.safetensors`, `.pth` or `.pt` file.

    A `.pth` or `.pt` file is a pickle. It is read by an interpreter that builds tensors and plain
    data only, so a file from a stranger can do no harm. Whether the file was written by
    PyTorch 1.6 or later (a zip archive) or before is recognized by its content.

    Args:
        path: The file. Tensors may be at the top of what was saved or under `state_dict`,
            `model` or any other name; whatever else was saved is left out.
        prefix: Which network, where a file holds several: what stands before the names of its
            tensors, names of dictionaries included, such as `state_dict_ema`, `teacher.backbone`
            or `module.encoder_q`. It is taken off the names.

    Returns:
        Names to read-only arrays; bfloat16 is `ml_dtypes.bfloat16`.

    Raises:
        DataError: The file cannot be read, wants more than tensors, or holds none.
        UserError: It holds several networks and `prefix` chooses none of them.
    """
    path = pathlib.Path(path)
    with reading(path, what=_WHAT, advice="copy or download it again."):
        groups: Sequence[_Group]
        if path.suffix == ".safetensors":
            groups = [_Group((), _read_safetensors(path))]
        else:
            loaded = _load(path)
            groups = list(_groups(loaded, (), set()))
            if not groups:
                raise DataError(_nothing(loaded, path))
        chosen = _choose(groups, prefix, path)
        try:
            return {
                name: value if isinstance(value, np.ndarray) else _array(value)
                for name, value in chosen.items()
            }
        except PickleRefusedError as error:
            raise _refused(path, error) from error


def read_metadata(path: str | os.PathLike[str]) -> dict[str, str]:
    """The texts that travel with the tensors in a `.safetensors`, `.pth` or `.pt` file.

    Empty where there are none, as in files of other programs.

    Raises:
        DataError: The file cannot be read.
    """
    path = pathlib.Path(path)
    with reading(path, what=_WHAT, advice="copy or download it again."):
        texts: Any = {}
        if path.suffix == ".safetensors":
            with safetensors.safe_open(path, framework="np") as file:
                texts = file.metadata() or {}
        elif zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                names = [name for name in archive.namelist() if name.endswith(f"/{METADATA}")]
                if names:
                    if archive.getinfo(names[0]).file_size > _LARGEST_METADATA:
                        raise ValueError("its metadata is too large")
                    texts = json.loads(archive.read(names[0]))
        if not isinstance(texts, dict) or not all(isinstance(x, str) for x in texts.values()):
            raise ValueError("its metadata is not text")
        return texts


def _read_safetensors(path: pathlib.Path) -> dict[str, np.ndarray]:
    with safetensors.safe_open(path, framework="np") as file:
        texts = dict(file.metadata() or {})
        for name in sorted(file.keys()):
            kind = file.get_slice(name).get_dtype()
            if kind.startswith(("F8_", "F6_", "F4")):
                raise DataError(
                    f"{path}: tensor `{name:.80}` has type {kind}, whose numbers mean nothing "
                    "without their scales: convert the file to float32, float16 or bfloat16."
                )
    tensors = dict(safetensors.numpy.load_file(path))
    expected = texts.pop(CHECKSUM, None)
    if expected is not None and expected != tensors_checksum(tensors, texts):
        raise ValueError("its checksum differs")
    return tensors


def _load(path: pathlib.Path) -> Any:
    try:
        return _read_zip(path) if zipfile.is_zipfile(path) else _read_stream(path)
    except PickleRefusedError as error:
        raise _refused(path, error) from error


def _refused(path: pathlib.Path, error: PickleRefusedError) -> DataError:
    return DataError(
        f"{path} was refused: {error}. Only tensors and plain data are read; if you trust the "
        "file, load it with PyTorch and save its `state_dict()` alone."
    )


def _read_zip(path: pathlib.Path) -> Any:
    with zipfile.ZipFile(path) as archive:
        if any("/code/" in name for name in archive.namelist()):
            raise DataError(
                f"{path} is a TorchScript program: load it with torch.jit.load, and save its "
                "`state_dict()` with torch.save."
            )
        pickles = [name for name in archive.namelist() if name.endswith("/data.pkl")]
        if len(pickles) != 1 or pickles[0].count("/") != 1:
            raise DataError(f"{path} is a zip archive, but not one that torch.save wrote.")
        if any(entry.compress_type != zipfile.ZIP_STORED for entry in archive.infolist()):
            # torch.save never compresses, and a small file could unfold to any size.
            raise PickleRefusedError("it is compressed")
        root = pickles[0].removesuffix("data.pkl")
        if f"{root}byteorder" in archive.namelist() and archive.read(f"{root}byteorder") == b"big":
            raise DataError(f"{path} was written on a big-endian machine, which is not supported.")
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
            raise DataError(f"{path} is a zip archive that is cut off; copy it again.")
        if start[:1] == b"{":
            raise DataError(_index(path))
        if start[:1] != b"\x80":
            raise DataError(f"{path} is neither a PyTorch nor a safetensors file.")
        stream.seek(0)
        if read_pickle(stream, storage=_no_storage) != _LEGACY_MAGIC:
            raise DataError(f"{path} is a pickle, but not one that torch.save wrote.")
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


def _index(path: pathlib.Path) -> str:
    with path.open("rb") as stream:
        try:
            content = json.loads(stream.read(_LARGEST_METADATA))
            parts = sorted({str(name) for name in content["weight_map"].values()})
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            return f"{path} is neither a PyTorch nor a safetensors file."
    return (
        f"{path} is the index of weights that are split over {len(parts)} files "
        f"({', '.join(parts[:2])}{', …' if len(parts) > 2 else ''}): save them as one file."
    )


@dataclasses.dataclass(frozen=True, eq=False)
class _Group:
    """The tensors of one dictionary in a file.

    Attributes:
        path: Names of the dictionaries that it is in, from the top.
        tensors: By name.
    """

    path: tuple[str, ...]
    tensors: Mapping[str, Tensor | np.ndarray]

    @property
    def is_network(self) -> bool:
        """Whether tensors are named as those of modules are, such as `conv1.weight`."""
        return any("." in name for name in self.tensors)

    def full_name(self, name: str) -> str:
        return ".".join((*self.path, name))


def _groups(loaded: Any, path: tuple[str, ...], seen: set[int]) -> Iterator[_Group]:
    # A dictionary may hold itself, and be in many places.
    if not isinstance(loaded, Mapping) or len(path) > _DEEPEST or id(loaded) in seen:
        return
    seen.add(id(loaded))
    named = {name: value for name, value in loaded.items() if isinstance(name, str)}
    tensors = {name: value for name, value in named.items() if isinstance(value, Tensor)}
    if tensors:
        yield _Group(path, tensors)
    for name, value in named.items():
        if "optim" not in name:
            yield from _groups(value, (*path, name), seen)


def _choose(
    groups: Sequence[_Group], prefix: str, path: pathlib.Path
) -> Mapping[str, Tensor | np.ndarray]:
    """The tensors of the one network that is meant, without the prefix."""
    if prefix:
        return _after_prefix(groups, prefix, path)
    networks = [group for group in groups if group.is_network] or groups
    if not networks[0].path:  # A `state_dict` with something beside it.
        return networks[0].tensors
    most = max(len(group.tensors) for group in networks)
    rivals = [group for group in networks if 2 * len(group.tensors) >= most]
    if len(rivals) > 1:
        found = [f"`{'.'.join(group.path)}`" for group in rivals[:_SHOWN]]
        raise UserError(
            f"{path} holds {len(rivals)} networks, {', '.join(found)}: choose one by its name "
            "with init.prefix (`prefix` of `read_torch_file`)."
        )
    return rivals[0].tensors


def _after_prefix(
    groups: Sequence[_Group], prefix: str, path: pathlib.Path
) -> Mapping[str, Tensor | np.ndarray]:
    start = prefix.rstrip(".") + "."
    whole = {
        group.full_name(name).removeprefix(start): value
        for group in groups
        for name, value in group.tensors.items()
        if group.full_name(name).startswith(start)
    }
    if whole:
        return whole
    holding = [g for g in groups if any(name.startswith(start) for name in g.tensors)]
    if not holding:
        names = [group.full_name(name) for group in groups for name in group.tensors]
        some = ", ".join(f"`{name:.80}`" for name in names[:_SHOWN])
        raise UserError(f"{path} holds no tensor below `{prefix}`; its names are {some}, ….")
    if len(holding) > 1:
        found = [f"`{group.full_name(start)[:-1]}`" for group in holding[:_SHOWN]]
        raise UserError(
            f"{path} holds `{prefix}` {len(holding)} times: choose one of {', '.join(found)}."
        )
    return {
        name.removeprefix(start): value
        for name, value in holding[0].tensors.items()
        if name.startswith(start)
    }


def _nothing(loaded: Any, path: pathlib.Path) -> str:
    found = "something else"
    if isinstance(loaded, Mapping) and loaded:
        found = ", ".join(f"`{name!s:.40}`" for name in list(loaded)[:_SHOWN])
    return f"{path} holds no tensors by name but {found}: expected a `state_dict`."
