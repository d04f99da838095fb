import dataclasses

import jax
import numpy as np
import pytest

from input_pipeline.errors import UserError
from magnifier_jax.devices import make_mesh
from magnifier_jax.embedding.network import load_trained
from magnifier_jax.interop import to_torch_state_dict, write_safetensors, write_torch_file
from magnifier_jax.training.state import starting_state
from magnifier_jax.training.step import build_model

pytestmark = pytest.mark.usefixtures("quick_compiling")


@pytest.fixture(scope="module")
def mesh():
    return make_mesh(jax.devices()[:1])


@pytest.fixture(scope="module")
def trained(tiny_run, mesh):
    return load_trained(tiny_run.workdir.path, mesh)


def start(trained, mesh, *, identities=8, **init):
    config = dataclasses.replace(
        trained.config, seed=5, init=dataclasses.replace(trained.config.init, **init)
    )
    said = []
    model = build_model(config, num_identities=identities)
    state = starting_state(config, model, mesh, say=said.append)
    return jax.device_get(state.variables), "\n".join(said)


def same(one, two):
    jax.tree.map(np.testing.assert_array_equal, one, jax.device_get(two))


@pytest.mark.parametrize("form", ["workdir", "safetensors", "pth"])
def test_a_whole_network(trained, tiny_run, mesh, form, tmp_path):
    path = tiny_run.workdir.path
    if form != "workdir":
        path = tmp_path / f"weights.{form}"
        write = write_safetensors if form == "safetensors" else write_torch_file
        write(path, to_torch_state_dict(trained.variables, trained.model))
    variables, said = start(trained, mesh, checkpoint=str(path))
    same(variables, trained.variables)
    assert str(path) in said


@pytest.mark.parametrize("form", ["workdir", "safetensors"])
def test_classifiers_of_other_identities_start_afresh(trained, tiny_run, mesh, form, tmp_path):
    path = tiny_run.workdir.path
    if form != "workdir":
        path = tmp_path / "weights.safetensors"
        write_safetensors(path, to_torch_state_dict(trained.variables, trained.model))
    variables, said = start(trained, mesh, identities=5, checkpoint=str(path))
    same(variables["params"]["backbone"], trained.variables["params"]["backbone"])
    assert variables["params"]["global_branch"]["classifier"]["kernel"].shape[1] == 5
    assert "8 instead of 5" in said


def test_a_backbone(trained, mesh, tmp_path):
    tensors = to_torch_state_dict(trained.variables, trained.model)
    prefix = "base.model."
    resnet = {
        name.removeprefix(prefix): array
        for name, array in tensors.items()
        if name.startswith(prefix)
    }
    path = tmp_path / "resnet.pth"
    write_torch_file(path, {**resnet, "fc.weight": np.zeros((10, 4), np.float32)})
    variables, said = start(trained, mesh, backbone=str(path))
    same(variables["params"]["backbone"], trained.variables["params"]["backbone"])
    kernel = variables["params"]["fusion"]["bottleneck"]["conv1"]["kernel"]
    other = trained.variables["params"]["fusion"]["bottleneck"]["conv1"]["kernel"]
    assert not np.array_equal(kernel, other)
    assert "fc.weight" in said


@pytest.mark.parametrize("field", ["backbone", "checkpoint"])
def test_a_path_that_does_not_load_stops_the_run(trained, mesh, field, tmp_path):
    with pytest.raises(UserError, match=f"config.init.{field}: there is no"):
        start(trained, mesh, **{field: "/nowhere/weights.pth"})
    (tmp_path / "weights.pth").write_bytes(b"not weights")
    with pytest.raises(UserError, match=r"weights\.pth"):
        start(trained, mesh, **{field: str(tmp_path / "weights.pth")})
