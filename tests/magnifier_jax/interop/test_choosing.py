"""Which network is taken from a file that holds several, or other things beside one."""

from __future__ import annotations

import json
import pathlib
import zipfile
from typing import Any

import jax.numpy as jnp
import ml_dtypes
import numpy as np
import pytest

from input_pipeline.errors import DataError, MagnifierError, UserError
from magnifier_jax.interop import (
    backbone_from_torch,
    from_torch_state_dict,
    read_torch_file,
    write_safetensors,
    write_torch_file,
)
from magnifier_jax.model import BACKBONES
from tests.magnifier_jax.interop.test_conversion import MODEL, random_state
from tests.torch_like_files import NUMBERS, Call, pickled, save, tensor

SPEC = BACKBONES["tiny"]


def number(place: int) -> Call:
    """A tensor of the one number `place`."""
    return tensor("0", 10, offset=place, shape=(1,), strides=(1,))


def network(place: int, prefix: str = "") -> dict[str, Call]:
    names = ("conv1.weight", "layer1.0.conv1.weight", "fc.bias")
    return {f"{prefix}{name}": number(place) for name in names}


def stored(tmp_path: pathlib.Path, value: Any) -> pathlib.Path:
    return save(tmp_path / "x.pth", pickled(value, tmp_path / "x"), storages={"0": NUMBERS})


@pytest.mark.parametrize(
    "checkpoint",
    [
        {"state_dict": network(1), "best_acc1": number(5)},
        {"best_acc1": number(5), "state_dict": network(1), "epoch": 90},
        {"model": network(1), "optimizer": {"exp_avg": network(6)}},
        {"model": network(1), "criterion": {"center.weight": number(6)}},
        {"anything": network(1)},
        {"checkpoint": {"model": network(1), "epoch": 3}},
        {**network(1), "meta": {"a.b": number(6), "b.c": number(6), "c.d": number(6)}},
        network(1),
    ],
)
def test_the_network_is_found(tmp_path: pathlib.Path, checkpoint: Any) -> None:
    found = read_torch_file(stored(tmp_path, checkpoint))
    assert {name: float(array[0]) for name, array in found.items()} == dict.fromkeys(network(1), 1)


@pytest.mark.parametrize(
    ("prefix", "place"),
    [
        ("state_dict", 1),
        ("state_dict_ema", 2),
        ("model_ema.module", 3),
        ("model_ema.module.", 3),
        ("teacher.backbone", 4),
        ("student.backbone", 5),
        ("module.encoder_q", 6),
        ("moco.module.encoder_q", 6),
    ],
)
def test_a_prefix_chooses(tmp_path: pathlib.Path, prefix: str, place: int) -> None:
    checkpoint = {
        "state_dict": network(1),
        "state_dict_ema": network(2),
        "model_ema": network(3, "module."),
        "teacher": network(4, "backbone.") | {"head.weight": number(9)},
        "student": {"backbone": network(5)},
        "moco": network(6, "module.encoder_q.") | network(7, "module.encoder_q2."),
    }
    found = read_torch_file(stored(tmp_path, checkpoint), prefix=prefix)
    assert {name: float(array[0]) for name, array in found.items()} == dict.fromkeys(
        network(1), place
    )


@pytest.mark.parametrize("other", ["state_dict_ema", "model_ema", "teacher"])
def test_several_networks_need_a_choice(tmp_path: pathlib.Path, other: str) -> None:
    path = stored(tmp_path, {"state_dict": network(1), other: network(2)})
    with pytest.raises(UserError, match=rf"2 networks, `state_dict`, `{other}`.*init\.prefix"):
        read_torch_file(path)


def test_a_prefix_that_is_nowhere_is_told_what_there_is(tmp_path: pathlib.Path) -> None:
    path = stored(tmp_path, {"state_dict": network(1)})
    with pytest.raises(UserError, match=r"below `teacher`; its names are `state_dict\.conv1\.w"):
        read_torch_file(path, prefix="teacher")


def test_a_prefix_in_several_dictionaries(tmp_path: pathlib.Path) -> None:
    path = stored(tmp_path, {"a": network(1, "module."), "b": network(2, "module.")})
    with pytest.raises(UserError, match=r"`module` 2 times.* `a\.module`, `b\.module`"):
        read_torch_file(path, prefix="module")


def test_a_prefix_goes_with_safetensors_too(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.safetensors"
    write_safetensors(path, {"q.conv1.weight": np.ones(1), "k.conv1.weight": np.zeros(1)})
    assert read_torch_file(path, prefix="q") == {"conv1.weight": np.ones(1)}


def test_a_dictionary_that_is_in_itself_many_times(tmp_path: pathlib.Path) -> None:
    # d["0"] = d["1"] = … = d: paths of four steps would be many millions.
    loop: dict[str, Any] = {}
    loop.update({str(key): loop for key in range(300)})
    with pytest.raises(DataError, match="no tensors by name"):
        read_torch_file(stored(tmp_path, loop))


@pytest.mark.parametrize("prefix", ["model.", "module.", "net.module.", "student.backbone."])
def test_a_whole_network_below_any_name(prefix: str) -> None:
    state = random_state()
    wrapped = {f"{prefix}{name}": array for name, array in state.items()}
    imported = from_torch_state_dict(wrapped | {"loss.centers": np.ones(3)}, MODEL)
    assert imported.report.unused == ("loss.centers",)
    assert not imported.report.unfilled


def test_two_whole_networks_need_a_choice() -> None:
    state = random_state()
    both = {f"{side}.{name}": a for side in ("teacher", "student") for name, a in state.items()}
    with pytest.raises(UserError, match=r"`teacher`, `student`: choose one with init\.prefix"):
        from_torch_state_dict(both, MODEL)


def backbone(prefix: str = "") -> dict[str, np.ndarray]:
    start = "base.model."
    return {
        name.replace(start, prefix, 1): array
        for name, array in random_state().items()
        if name.startswith(start)
    }


def test_two_encoders(tmp_path: pathlib.Path) -> None:
    both = backbone("module.encoder_q.") | {
        name: -array for name, array in backbone("module.encoder_k.").items()
    }
    with pytest.raises(UserError, match=r"`module\.encoder_q`, `module\.encoder_k`: choose"):
        backbone_from_torch(both, SPEC)
    write_torch_file(tmp_path / "moco.pth", both)
    for prefix, sign in {"module.encoder_q": 1, "module.encoder_k": -1}.items():
        chosen = read_torch_file(tmp_path / "moco.pth", prefix=prefix)
        found = backbone_from_torch(chosen, SPEC).variables["params"]["backbone"]
        expected = sign * backbone()["conv1.weight"].transpose(2, 3, 1, 0)
        np.testing.assert_array_equal(found["conv1"]["kernel"], expected)


def test_a_name_that_only_ends_alike_is_no_resnet() -> None:
    with pytest.raises(UserError, match="is missing"):
        backbone_from_torch({"my_layer1.0.conv1.weight": np.ones(1)}, SPEC)


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float32, np.float16, ml_dtypes.bfloat16, np.float64])
def test_undefined_weights_are_named(value: float, dtype: Any) -> None:
    state = random_state()
    damaged = np.array(state["base.feat_bn.running_var"], dtype)
    damaged[2] = value
    state["base.feat_bn.running_var"] = damaged
    with pytest.raises(UserError, match=r"`base\.feat_bn\.running_var` holds 1 .*undefined"):
        from_torch_state_dict(state, MODEL)
    encoder = backbone()
    encoder["layer1.0.conv1.weight"] = np.full_like(encoder["layer1.0.conv1.weight"], value)
    with pytest.raises(UserError, match=r"`layer1\.0\.conv1\.weight` holds"):
        backbone_from_torch(encoder, SPEC)


def test_weights_too_large_for_the_network_are_named() -> None:
    state = random_state()
    state["base.feat_bn.weight"] = np.full(state["base.feat_bn.weight"].shape, 1e300)
    with pytest.raises(UserError, match=r"`base\.feat_bn\.weight` holds"):
        from_torch_state_dict(state, MODEL)


def test_undefined_numbers_that_nothing_takes_do_no_harm() -> None:
    state = random_state() | {"loss.centers": np.array([np.nan])}
    assert from_torch_state_dict(state, MODEL).report.unused == ("loss.centers",)


@pytest.mark.parametrize("dtype", [np.int8, np.uint8, np.int64, np.bool_, np.complex64])
def test_numbers_of_other_kinds_are_no_weights(dtype: Any) -> None:
    state = random_state()
    state["base.feat_bn.weight"] = np.ones(state["base.feat_bn.weight"].shape, dtype)
    with pytest.raises(UserError, match=rf"`base\.feat_bn\.weight` has type {np.dtype(dtype)}"):
        from_torch_state_dict(state, MODEL)


def test_torchscript_says_what_to_do(tmp_path: pathlib.Path) -> None:
    path = save(tmp_path / "x.pt", pickled(network(1), tmp_path / "x"))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr("archive/code/__torch__/net.py", "class Net: pass")
        archive.writestr("archive/constants.pkl", b"\x80\x02).")
    with pytest.raises(DataError, match=r"TorchScript program: load it with torch\.jit\.load"):
        read_torch_file(path)


@pytest.mark.parametrize("name", ["pytorch_model.bin.index.json", "model.safetensors.index.json"])
def test_the_index_of_split_weights_says_what_to_do(tmp_path: pathlib.Path, name: str) -> None:
    parts = [f"model-0000{i}-of-00003.safetensors" for i in (1, 2, 3)]
    content = {"metadata": {}, "weight_map": dict(zip("abc", parts, strict=True))}
    (tmp_path / name).write_text(json.dumps(content))
    with pytest.raises(DataError, match=r"split over 3 files .*: save them as one file"):
        read_torch_file(tmp_path / name)


@pytest.mark.parametrize("kind", ["F8_E4M3", "F8_E5M2", "F8_E8M0"])
def test_float8_is_refused_by_name(tmp_path: pathlib.Path, kind: str) -> None:
    entry = {"dtype": kind, "shape": [4], "data_offsets": [0, 4]}
    header = json.dumps({"conv1.weight": entry}).encode()
    path = tmp_path / "x.safetensors"
    path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
    with pytest.raises(DataError, match=rf"`conv1\.weight` has type {kind}"):
        read_torch_file(path)


def test_headers_that_lie(tmp_path: pathlib.Path) -> None:
    path = tmp_path / "x.safetensors"
    huge = {"w": {"dtype": "F32", "shape": [2**62, 4], "data_offsets": [0, 2**64]}}
    headers = [huge, {"w": 3}, [1], {"w": {"dtype": "F32", "shape": [1], "data_offsets": [4, 0]}}]
    for content in headers:
        header = json.dumps(content).encode()
        path.write_bytes(len(header).to_bytes(8, "little") + header + bytes(4))
        with pytest.raises(DataError, match="not a sound file of weights"):
            read_torch_file(path)


@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_files_that_were_cut_or_flipped(tmp_path: pathlib.Path, suffix: str) -> None:
    path = tmp_path / f"x{suffix}"
    write = write_torch_file if suffix == ".pth" else write_safetensors
    state = {"conv1.weight": np.arange(6, dtype=np.float32), "brain": np.ones(3, jnp.bfloat16)}
    write(path, state)
    data = path.read_bytes()
    rng = np.random.default_rng(0)
    refused = 0
    for turn in range(300):
        damaged = bytearray(data)
        if turn % 2:
            del damaged[int(rng.integers(len(data))) :]
        else:
            damaged[int(rng.integers(len(data)))] = int(rng.integers(256))
        path.write_bytes(damaged)
        try:
            found = read_torch_file(path)
        except MagnifierError as error:
            refused += 1
            if "\n" in str(error):
                raise
        else:
            for name in found.keys() & state.keys():
                np.testing.assert_array_equal(found[name], state[name])
    assert refused > 200
