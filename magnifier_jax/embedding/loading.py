"""`load`: a network from the work directory of a run, from an export, or from the package."""

from __future__ import annotations

import dataclasses
import os
import pathlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import Mesh

from input_pipeline.errors import UserError
from input_pipeline.files import read_json, user_path
from magnifier_jax import weights
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.config import Config
from magnifier_jax.devices import enable_compilation_cache, make_mesh
from magnifier_jax.embedding.exported import OnnxNetwork, load_weights
from magnifier_jax.embedding.model import Model
from magnifier_jax.embedding.network import JaxNetwork, Precision, Trained, load_trained
from magnifier_jax.embedding.runtimes import GraphNetwork, Runtime, check_runtime

_WEIGHTS = (".safetensors", ".pth", ".pt", ".bin")
_FOLDER_WEIGHTS = "model.safetensors"


def load(
    path: str | os.PathLike[str],
    *,
    checkpoint: Which = "latest",
    flip: bool | None = None,
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None = None,
    devices: Sequence[jax.Device] | None = None,
    runtime: Runtime = "jax",
    precision: Precision | None = None,
) -> Model:
    """Loads a network with its weights.

    Args:
        path: The work directory of a training run; a `.safetensors`, `.pth` or `.onnx` file that
            `magnifier export` wrote; a folder of `magnifier export --format folder`; or `drawn`,
            the network that comes with the package (see docs/transfer.md).
        checkpoint: Of a work directory, `latest`, `best` (by mAP) or a step.
        flip: Whether a descriptor is the mean of an image's and its mirror image's; None is as
            configured in training.
        config: For a bare file of weights without its card: the configuration of its training, as
            an object, a mapping, or a run's `config.json`.
        devices: The devices that jax runs it on; None is all of this process.
        runtime: What runs it: `jax`, on whatever device; or `onnxruntime` or `openvino`, which are
            faster on CPUs and give the same descriptors to 1e-4. An ONNX file is run by ONNX
            Runtime in any case.
        precision: `float32`, or `bf16` for convolutions and matrix products in bfloat16; None is
            as in training with jax, and float32 with the others.

    Returns:
        A model whose `embed` takes images and whose `evaluate` takes test sets.

    Raises:
        UserError: There is nothing there that can be loaded, or something else is needed too.
        DataError: A file cannot be read.
    """
    place = weights.find(path)
    if not place.exists():
        raise UserError(
            f"{place} does not exist, so it holds no checkpoint: give the work directory of a run, "
            "a file that `magnifier export` wrote, or the name of a network that comes with the "
            f"package ({', '.join(weights.names())})."
        )
    check_runtime(runtime, precision)
    enable_compilation_cache()
    mesh = make_mesh(devices or jax.local_devices())
    read: Callable[[Which], Trained]
    if place.is_dir():
        read = _folder(place, mesh)
    elif place.suffix == ".onnx":
        if runtime == "openvino" or precision is not None:
            raise UserError(
                f"{place} is run by ONNX Runtime as it is: load the work directory, or an export "
                "to safetensors, to choose a runtime or a precision."
            )
        return Model(OnnxNetwork(place), path=place, flip=bool(flip))
    elif place.suffix in _WEIGHTS:
        read = _weights(place, mesh, _configuration(config))
    else:
        raise UserError(_not_loadable(place))
    network: JaxNetwork | GraphNetwork
    if runtime == "jax":
        network = JaxNetwork(_computing_in(precision, read(checkpoint)), mesh)
    else:
        network = GraphNetwork(read, checkpoint, runtime, precision=precision)
    flip = network.config.evaluate.flip if flip is None else flip
    return Model(network, path=place, flip=flip)


def _computing_in(precision: Precision | None, trained: Trained) -> Trained:
    if precision is None:
        return trained
    dtype = jnp.bfloat16 if precision == "bf16" else jnp.float32
    return dataclasses.replace(trained, model=trained.model.clone(dtype=dtype))


def _weights(place: pathlib.Path, mesh: Mesh, config: Config | None) -> Callable[[Which], Trained]:
    return lambda which: load_weights(place, mesh, config=config)


def _folder(place: pathlib.Path, mesh: Mesh) -> Callable[[Which], Trained]:
    """How the network of a folder is read."""
    if (place / _FOLDER_WEIGHTS).is_file() and not (place / "checkpoints").is_dir():
        return lambda which: load_weights(place, mesh)
    if (place / "saved_model.pb").exists():
        raise UserError(
            f"{place} is a SavedModel, which TensorFlow runs: load the work directory, or export "
            "to safetensors, folder or onnx."
        )
    return lambda which: load_trained(place, mesh, which=which)


def _configuration(
    config: Config | Mapping[str, Any] | str | os.PathLike[str] | None,
) -> Config | None:
    if config is None or isinstance(config, Config):
        return config
    if not isinstance(config, Mapping):
        config = read_json(user_path(config), what="configuration of a run")
    if not isinstance(config, Mapping):
        raise UserError("config is not a configuration: give the config.json of a run.")
    return Config.from_mapping(config.get("config", config))


def _not_loadable(place: pathlib.Path) -> str:
    if place.suffix == ".npz":
        return f"{place} is not a network: Gallery.load reads galleries."
    if place.suffix == ".json":
        beside = place.parent if place.name == "config.json" else place.with_suffix("")
        return f"{place} is no network: give the one that it belongs to, {beside}."
    known = ", ".join((*_WEIGHTS, ".onnx"))
    return (
        f"{place} is not a work directory, nor of a kind that can be loaded ({known}): "
        "export the network to one of these."
    )
