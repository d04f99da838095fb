"""Files as torch.save writes them, and as an attacker might, put together without PyTorch."""

from __future__ import annotations

import pathlib
import pickle
import zipfile
from collections.abc import Mapping
from typing import Any

import numpy as np


class FakeStorage:
    def __init__(self, kind: str, key: str, count: int) -> None:
        self.identity = ("storage", Name("torch", kind), key, "cpu", count)


class Name:
    """Pickles as a reference to a name, whether or not it exists here."""

    def __init__(self, module: str, name: str) -> None:
        self.module, self.name = module, name


class Call:
    """Pickles as a call of a name."""

    def __init__(self, module: str, name: str, *arguments: Any, state: Any = None) -> None:
        self.function, self.arguments, self.state = Name(module, name), arguments, state


class TorchLikePickler(pickle._Pickler):
    def persistent_id(self, value: Any) -> Any:
        return value.identity if isinstance(value, FakeStorage) else None

    def save(self, value: Any, save_persistent_id: bool = True) -> None:
        if isinstance(value, Name):
            self.write(pickle.GLOBAL + f"{value.module}\n{value.name}\n".encode())
        elif isinstance(value, Call):
            self.save(value.function)
            self.save(value.arguments)
            self.write(pickle.REDUCE)
            if value.state is not None:
                self.save(value.state)
                self.write(pickle.BUILD)
        else:
            super().save(value, save_persistent_id)


def tensor(
    key: str, count: int, *, offset: int = 0, shape: tuple[int, ...], strides: tuple
) -> Call:
    storage = FakeStorage("FloatStorage", key, count)
    hooks = Call("collections", "OrderedDict")
    return Call("torch._utils", "_rebuild_tensor_v2", storage, offset, shape, strides, False, hooks)


def pickled(value: Any, path: pathlib.Path, protocol: int = 2) -> bytes:
    with path.with_suffix(".pickle").open("wb") as stream:
        TorchLikePickler(stream, protocol).dump(value)
    return path.with_suffix(".pickle").read_bytes()


def save(
    path: pathlib.Path,
    data: bytes,
    *,
    storages: Mapping[str, np.ndarray] | None = None,
    compression: int = zipfile.ZIP_STORED,
) -> pathlib.Path:
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", data)
        for key, numbers in (storages or {}).items():
            archive.writestr(f"archive/data/{key}", numbers.tobytes())
    return path


NUMBERS = np.arange(10, dtype=np.float32)
ROW = tensor("0", 10, shape=(2,), strides=(1,))
