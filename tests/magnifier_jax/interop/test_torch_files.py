"""Tensors from PyTorch's files and into them."""

from __future__ import annotations

import argparse
import collections
import pathlib
import pickle
import struct
import zipfile
from collections.abc import Callable, Mapping
from typing import Any

import ml_dtypes
import numpy as np
import pytest

from input_pipeline.errors import MagnifierError
from magnifier_jax.interop import read_torch_file, write_safetensors, write_torch_file
from tests.torch_like_files import NUMBERS, ROW, Call, FakeStorage, pickled, save, tensor

STATE = {
    "float.weight": np.arange(12, dtype=np.float32).reshape(2, 3, 2),
    "double": np.arange(3.0),
    "half": np.array([1, 2.5], np.float16),
    "brain": np.array([[1.0, -3.0]], ml_dtypes.bfloat16),
    "counter": np.array(7, np.int64),
    "bytes": np.array([0, 255], np.uint8),
    "flags": np.array([True, False]),
    "empty": np.zeros((0, 4), np.float32),
    "Umlaut ä": np.ones(1, np.float32),
}
WRITERS: Mapping[str, Callable[..., None]] = {
    ".safetensors": write_safetensors,
    ".pth": write_torch_file,
    ".pt": write_torch_file,
}


def assert_same(found: Mapping[str, np.ndarray], expected: Mapping[str, np.ndarray]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype, name
        assert found[name].shape == array.shape, name
        np.testing.assert_array_equal(found[name], array, err_msg=name)


@pytest.mark.parametrize("suffix", WRITERS)
def test_round_trip(tmp_path: pathlib.Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    WRITERS[suffix](path, {"old": np.zeros(1)})
    WRITERS[suffix](path, STATE)
    assert_same(read_torch_file(path), STATE)
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize("suffix", WRITERS)
def test_arrays_with_other_axes_order(tmp_path: pathlib.Path, suffix: str) -> None:
    path = tmp_path / f"weights{suffix}"
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(2, 0, 1)
    WRITERS[suffix](path, {"a": array, "b": array[::2, :, 1]})
    assert_same(read_torch_file(path), {"a": array, "b": array[::2, :, 1]})


@pytest.mark.parametrize("suffix", WRITERS)
def test_unwritable_folder_is_named(tmp_path: pathlib.Path, suffix: str) -> None:
    with pytest.raises(MagnifierError, match=r"Cannot write .*missing"):
        WRITERS[suffix](tmp_path / "missing" / f"w{suffix}", STATE)


def test_number_type_that_torch_lacks(tmp_path: pathlib.Path) -> None:
    with pytest.raises(MagnifierError, match=r"`odd` has type uint32"):
        write_torch_file(tmp_path / "w.pth", {"odd": np.zeros(1, np.uint32)})


@pytest.mark.parametrize("wrapper", ["state_dict", "model", "net"])
@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_checkpoint_with_other_things(tmp_path: pathlib.Path, wrapper: str, protocol: int) -> None:
    tensors = collections.OrderedDict(
        strided=tensor("0", 10, offset=1, shape=(2, 2), strides=(1, 3)),
        expanded=tensor("0", 10, shape=(3, 2), strides=(0, 1)),
        parameter=Call("torch._utils", "_rebuild_parameter", ROW, True, {}),
        nothing=tensor("0", 10, shape=(0, 3), strides=(3, 1)),
    )
    checkpoint = {
        "epoch": 10**12,
        wrapper: tensors,
        "optimizer": {"state": {0: {"step": ROW}}, "param_groups": [{"lr": 1e-3, "seen": {1, 2}}]},
        "args": argparse.Namespace(lr=3e-4, device=None, name=b"x"),
        "best": np.float64(0.9),
        "curve": np.arange(3),
        "scheduler": {"milestones": collections.Counter([40, 70])},
        "state": collections.defaultdict(dict, {0: {"step": 1}}),
        "output": pathlib.PosixPath("log"),
    }
    data = pickled(checkpoint, tmp_path / "x", protocol)
    found = read_torch_file(save(tmp_path / "x.pth", data, storages={"0": NUMBERS}))
    expected = {
        "strided": [[1, 4], [2, 5]],
        "expanded": [[0, 1]] * 3,
        "parameter": [0, 1],
        "nothing": np.zeros((0, 3)),
    }
    assert_same(found, {name: np.array(rows, np.float32) for name, rows in expected.items()})


IMPOSSIBLE: Mapping[str, Call] = {
    "beyond its storage": tensor("0", 10, shape=(11,), strides=(1,)),
    "offset beyond": tensor("0", 10, offset=9, shape=(2,), strides=(1,)),
    "negative offset": tensor("0", 10, offset=-1, shape=(2,), strides=(1,)),
    "negative stride": tensor("0", 10, offset=9, shape=(2,), strides=(-1,)),
    "axes without strides": tensor("0", 10, shape=(2, 2), strides=(1,)),
    "storage cut off": tensor("0", 11, shape=(2,), strides=(1,)),
    "missing storage": tensor("5", 10, shape=(2,), strides=(1,)),
    "no storage": Call("torch._utils", "_rebuild_tensor_v2", 3, 0, (1,), (1,), False, None),
    "shape is text": tensor("0", 10, shape="ab", strides="cd"),
    "huge": tensor("0", 10, shape=(2**62, 2**62), strides=(0, 0)),
}


@pytest.mark.parametrize("kind", IMPOSSIBLE)
def test_impossible_tensor_is_refused(tmp_path: pathlib.Path, kind: str) -> None:
    data = pickled({"weight": IMPOSSIBLE[kind]}, tmp_path / "x")
    path = save(tmp_path / "x.pth", data, storages={"0": NUMBERS})
    with pytest.raises(MagnifierError, match=r"x\.pth"):
        read_torch_file(path)


def test_pretended_size_needs_no_memory(tmp_path: pathlib.Path) -> None:
    data = pickled({"weight": tensor("0", 10, shape=(2**40, 2), strides=(0, 1))}, tmp_path / "x")
    found = read_torch_file(save(tmp_path / "x.pth", data, storages={"0": NUMBERS}))
    assert found["weight"].shape == (2**40, 2)


def test_compressed_archive_is_refused(tmp_path: pathlib.Path) -> None:
    data = pickled({"weight": ROW}, tmp_path / "x")
    path = save(tmp_path / "x.pth", data, storages={"0": NUMBERS}, compression=zipfile.ZIP_DEFLATED)
    with pytest.raises(MagnifierError, match="compressed"):
        read_torch_file(path)


def test_big_endian_archive_is_refused(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path / "x.pth", pickled({"weight": ROW}, tmp_path / "x"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/byteorder", "big")
    with pytest.raises(MagnifierError, match="big-endian"):
        read_torch_file(path)


def legacy(tmp_path: pathlib.Path, value: Any, *, keys: list[str], numbers: bytes) -> pathlib.Path:
    """A file as torch.save wrote it before PyTorch 1.6."""
    head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
    data = b"".join(pickle.dumps(item, 2) for item in head)
    data += pickled(value, tmp_path / "x") + pickle.dumps(keys, 2) + numbers
    path = tmp_path / "old.pth"
    path.write_bytes(data)
    return path


def legacy_row(view: tuple[str, int, int] | None) -> Call:
    storage = FakeStorage("FloatStorage", "94", 10)
    storage.identity = (*storage.identity, view)
    return Call("torch._utils", "_rebuild_tensor", storage, 1, (2,), (2,))


def test_legacy_file(tmp_path: pathlib.Path) -> None:
    value = {"plain": legacy_row(None), "view": legacy_row(("95", 2, 5))}
    numbers = struct.pack("<q", 10) + NUMBERS.tobytes()
    found = read_torch_file(legacy(tmp_path, value, keys=["94"], numbers=numbers))
    expected = {"plain": np.array([1, 3], np.float32), "view": np.array([3, 5], np.float32)}
    assert_same(found, expected)


@pytest.mark.parametrize(
    ("keys", "numbers"),
    [
        (["94"], struct.pack("<q", 10) + NUMBERS.tobytes()[:-1]),
        (["94"], struct.pack("<q", 2**60)),
        (["94"], struct.pack("<q", -1)),
        (["94"], b"123"),
        (["93"], struct.pack("<q", 10) + NUMBERS.tobytes()),
        ([], b""),
    ],
)
def test_broken_legacy_file(tmp_path: pathlib.Path, keys: list[str], numbers: bytes) -> None:
    path = legacy(tmp_path, {"plain": legacy_row(None)}, keys=keys, numbers=numbers)
    with pytest.raises(MagnifierError, match="was refused"):
        read_torch_file(path)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("x.pth", b"", "neither"),
        ("x.pth", b"version https://git-lfs", "neither"),
        ("x.pth", b"PK\x03\x04 and then nothing", "cut off"),
        ("x.pth", pickle.dumps([1], 2), "not one that torch.save wrote"),
        ("x.safetensors", b"12345678{}", "not a sound file of weights"),
        ("x.safetensors", b"", "not a sound file of weights"),
    ],
)
def test_other_files_are_told_apart(
    tmp_path: pathlib.Path, name: str, content: bytes, message: str
) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(MagnifierError, match=message):
        read_torch_file(tmp_path / name)


def test_other_archives_are_told_apart(tmp_path: pathlib.Path) -> None:
    with zipfile.ZipFile(tmp_path / "x.pt", "w") as archive:
        archive.writestr("weights.npy", b"")
    with pytest.raises(MagnifierError, match="zip archive, but"):
        read_torch_file(tmp_path / "x.pt")


@pytest.mark.parametrize("suffix", WRITERS)
def test_missing_file_is_named(tmp_path: pathlib.Path, suffix: str) -> None:
    with pytest.raises(MagnifierError, match=rf"x{suffix} cannot be read: No such file"):
        read_torch_file(tmp_path / f"x{suffix}")


def test_no_tensors(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path / "x.pth", pickled({"epoch": 3, "lr": 0.1}, tmp_path / "x"))
    with pytest.raises(MagnifierError, match="no tensors by name but `epoch`, `lr`"):
        read_torch_file(path)


# Where PyTorch is installed, against PyTorch itself.


@pytest.mark.parametrize("mmap", [False, True])
def test_torch_reads_what_we_write(tmp_path: pathlib.Path, mmap: bool) -> None:
    torch = pytest.importorskip("torch")
    write_torch_file(tmp_path / "w.pth", STATE)
    loaded = torch.load(tmp_path / "w.pth", weights_only=True, mmap=mmap)
    assert loaded.keys() == STATE.keys()
    for name, array in STATE.items():
        assert tuple(loaded[name].shape) == array.shape
        if array.dtype == ml_dtypes.bfloat16:
            assert loaded[name].dtype == torch.bfloat16
        else:
            assert loaded[name].numpy().dtype == array.dtype
        np.testing.assert_array_equal(loaded[name].double().numpy(), array.astype(np.float64))


@pytest.mark.parametrize("zipped", [False, True])
def test_we_read_what_torch_writes(tmp_path: pathlib.Path, zipped: bool) -> None:
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Conv2d(3, 4, 3), torch.nn.BatchNorm2d(4))
    state = module.state_dict()
    base = torch.arange(24.0).reshape(4, 6)
    state |= {
        "transposed": base.T,
        "slice": base[1:, ::2],
        "expanded": base[0].expand(3, 6),
        "parameter": torch.nn.Parameter(base.clone()),
        "brain": base.bfloat16(),
        "half": base.half(),
        "scalar": torch.tensor(3),
        "flags": base > 3,
    }
    if zipped:
        state["unsigned"] = torch.arange(5).to(torch.uint16)
    path = tmp_path / "w.pth"
    torch.save({"state_dict": state, "epoch": 1}, path, _use_new_zipfile_serialization=zipped)
    found = read_torch_file(path)
    assert found.keys() == state.keys()
    for name, value in state.items():
        assert found[name].dtype.name == str(value.dtype).removeprefix("torch.")
        np.testing.assert_array_equal(
            found[name].astype(np.float64), value.detach().double().numpy()
        )


def test_hostile_module_of_torch_is_refused(tmp_path: pathlib.Path) -> None:
    torch = pytest.importorskip("torch")
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pth")
    with pytest.raises(MagnifierError, match=r"asks for `torch\.nn\.modules\.linear\.Linear`"):
        read_torch_file(tmp_path / "w.pth")
