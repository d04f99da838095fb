"""Hostile and broken pickles are refused, and nothing that they ask for is done."""

from __future__ import annotations

import builtins
import os
import pathlib
import pickle
from collections.abc import Callable, Mapping
from typing import Any

import numpy as np
import pytest

from input_pipeline.errors import MagnifierError
from magnifier_jax.interop import read_torch_file
from tests.torch_like_files import NUMBERS, ROW, Call, Name, pickled, save


class Reduced:
    """Pickles as the call of a real function, as an attack would."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


HOSTILE: Mapping[str, Any] = {
    "system": Reduced(os.system, "touch {mark}"),
    "exec": Reduced(builtins.exec, "open({mark!r}, 'w')"),
    "eval": Reduced(builtins.eval, "open({mark!r}, 'w')"),
    "getattr": Reduced(getattr, "", "format"),
    "nested getattr": Call("builtins", "getattr", Call("builtins", "__import__", "os"), "system"),
    "dotted": Call("torch._utils", "_rebuild_tensor_v2.__globals__"),
    "dotted torch": Call("torch", "serialization.os.system", "touch {mark}"),
    "numpy loader": Call("numpy", "load", "{mark}"),
    "python 2": Call("__builtin__", "eval", "1"),
    "whole module": Call("torchvision.models.resnet", "ResNet"),
    "rebuild by type": Call(
        "torch._tensor",
        "_rebuild_from_type_v2",
        Name("posix", "system"),
        None,
        ("touch {mark}",),
        None,
    ),
}


def arm(value: Any, mark: pathlib.Path) -> Any:
    if isinstance(value, str):
        return value.format(mark=str(mark))
    if isinstance(value, Reduced):
        function, arguments = value.call
        return Reduced(function, *(arm(argument, mark) for argument in arguments))
    return value


@pytest.mark.parametrize("attack", HOSTILE)
@pytest.mark.parametrize("protocol", [0, 2, 4])
@pytest.mark.parametrize("stream", [False, True])
def test_hostile_file_is_refused(
    tmp_path: pathlib.Path, attack: str, protocol: int, stream: bool
) -> None:
    mark = tmp_path / "harm"
    payload = {"state_dict": {"weight": ROW}, "more": [arm(HOSTILE[attack], mark)]}
    data = pickled(payload, tmp_path / "x", protocol)
    path = tmp_path / "x.pth"
    if stream:
        head = (0x1950A86A20F9469CFC6C, 1001, {"little_endian": True})
        path.write_bytes(b"".join(pickle.dumps(item, 2) for item in head) + data)
    else:
        save(path, data, storages={"0": NUMBERS})
    with pytest.raises(MagnifierError, match="was refused"):
        read_torch_file(path)
    assert not mark.exists()


def test_raw_pickle_is_refused(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.pth"
    path.write_bytes(pickle.dumps(Reduced(os.system, f"touch {tmp_path / 'harm'}")))
    with pytest.raises(MagnifierError, match=r"asks for `\w+\.system`"):
        read_torch_file(path)
    assert not (tmp_path / "harm").exists()


BROKEN_PICKLES: Mapping[str, bytes] = {
    "sets the state of a function": b"\x80\x02ccollections\nOrderedDict\n}b.",
    "sets an item of a function": b"\x80\x02ccollections\nOrderedDict\nK\x01K\x02s.",
    "appends to a dictionary": b"\x80\x02}K\x01a.",
    "calls a tensor type": b"\x80\x02ctorch\nfloat32\n)R.",
    "calls a number": b"\x80\x02K\x01)R.",
    "old instance instruction": b"\x80\x02(ios\nsystem\n.",
    "extension registry": b"\x80\x02\x82\x01.",
    "pops from nothing": b"\x80\x020.",
    "pops below a mark": b"\x80\x02K\x01(0.",
    "gets what was never put": b"\x80\x02h\x05.",
    "no end": b"\x80\x02}",
    "unknown instruction": b"\x80\x02\xff.",
    "leaves two values": b"\x80\x02K\x01K\x02.",
    "unhashable key": b"\x80\x02}]K\x01s.",
    "string longer than the file": b"\x80\x02X\xff\xff\xff\x7fabc.",
    "odd persistent id": b"\x80\x02K\x01Q.",
    "persistent id of a module": b"\x80\x02X\x06\x00\x00\x00module\x85Q.",
}


@pytest.mark.parametrize("kind", BROKEN_PICKLES)
def test_broken_pickle_is_refused(tmp_path: pathlib.Path, kind: str) -> None:
    path = save(tmp_path / "x.pth", BROKEN_PICKLES[kind])
    with pytest.raises(MagnifierError, match="was refused"):
        read_torch_file(path)


def test_wrapper_that_contains_itself(tmp_path: pathlib.Path) -> None:
    loop: dict[str, Any] = {}
    loop["model"] = loop
    with pytest.raises(MagnifierError, match="no tensors by name but `model`"):
        read_torch_file(save(tmp_path / "x.pth", pickled(loop, tmp_path / "x")))


def test_deep_nesting(tmp_path: pathlib.Path) -> None:
    depth = 200_000
    data = b"\x80\x02}K\x01" + b")" + b"\x85" * depth + b"s."
    keys = b"\x80\x02}" + b")" + b"\x85" * depth + b"K\x01s."
    for pickle_data in (data, keys):
        with pytest.raises(MagnifierError, match=r"x\.pth"):
            read_torch_file(save(tmp_path / "x.pth", pickle_data))


def test_mutated_pickles(tmp_path: pathlib.Path) -> None:
    checkpoint = {"epoch": 3, "state_dict": {"conv1.weight": ROW, "fc.bias": ROW}, "best": 0.5}
    data = pickled(checkpoint, tmp_path / "x")
    rng = np.random.default_rng(0)
    refused = 0
    for _ in range(400):
        mutated = bytearray(data)
        for place in rng.integers(2, len(data), int(rng.integers(1, 4))):
            mutated[place] = int(rng.integers(256))
        path = save(tmp_path / "x.pth", bytes(mutated), storages={"0": NUMBERS})
        try:
            read_torch_file(path)
        except MagnifierError:
            refused += 1
    assert 100 < refused < 400
