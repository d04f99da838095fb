"""Networks from exported files: weights with their card, ONNX, and hub folders."""

from __future__ import annotations

import dataclasses
import functools
import hashlib
import importlib
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.files import read_json, reading
from magnifier_jax.config import Config, ModelConfig
from magnifier_jax.devices import put_replicated
from magnifier_jax.embedding.network import EmbeddedArrays, Precision, Trained
from magnifier_jax.interop import from_torch_state_dict, read_metadata, read_torch_file
from magnifier_jax.model import classifies_identities
from magnifier_jax.training.step import abstract_state, build_model

Card = Mapping[str, Any]

_MOST_IDENTITIES = 10**7
_UNIT = 1e-6  # shorter vectors stay as they are
_NEEDED = (
    "an export needs its card, which `magnifier export` writes beside it, to say which network it "
    "is and which images it takes"
)


def read_card(path: pathlib.Path) -> Card | None:
    """The card of an exported file: from the file itself, or else from `NAME.json` beside it.

    Raises:
        DataError: There is one that cannot be read.
    """
    inside = _card_inside(path)
    if inside is not None:
        return inside
    beside = path.with_name(f"{path.name}.json")
    if not beside.is_file():
        return None
    return _checked(read_json(beside, what="card of an export"), beside)


def _card_inside(path: pathlib.Path) -> Card | None:
    from magnifier_jax.export.card import parse_metadata

    if path.suffix == ".onnx":
        texts = dict(_session(path).get_modelmeta().custom_metadata_map)
    else:
        texts = read_metadata(path)
    with reading(path, what="export", advice="export it again"):
        found = parse_metadata(texts)
    return None if found is None else _checked(found, path)


def _checked(card: Any, path: pathlib.Path) -> Card:
    """The card, if it says what is needed of every export."""
    with reading(path, what="card of an export", advice="export the network again"):
        if not isinstance(card, dict):
            raise ValueError("it is not a JSON object")
        for name in ("height", "width", "layout", "normalise"):
            if name not in card["input"]:
                raise ValueError(f"its input has no {name!r}")
        if min(int(card["input"]["height"]), int(card["input"]["width"])) < 1:
            raise ValueError("its input has no size")
    return card


# --- Weights --------------------------------------------------------------------------------------


def load_weights(path: pathlib.Path, mesh: Mesh, *, config: Config | None = None) -> Trained:
    """Loads the network of a `.safetensors` or `.pth` file, or of a folder made for hubs.

    Args:
        path: The file or folder.
        mesh: The devices.
        config: The configuration of its training, for a file that does not say what it is.

    Raises:
        UserError: Nothing says what it is, or the tensors are of another network.
        DataError: The file or its card cannot be read.
    """
    from magnifier_jax.export.reader import read_exported

    card = None
    if config is None:
        if path.is_dir() or _card_inside(path) is not None:
            trained = read_exported(path)
            return dataclasses.replace(trained, variables=put_replicated(trained.variables, mesh))
        card = read_card(path)
        if card is None:
            raise UserError(
                f"{path} has no card: {_NEEDED}. Put the card at {path.name}.json, or give the "
                "configuration of the training: load(path, config='runs/mine/config.json')."
            )
    identities, step = 1, 0
    with reading(path, what="export", advice="its card does not describe a network"):
        if config is None:
            assert card is not None
            config = _config_of(card)
            identities, step = int(card["identities"]), int(card.get("step", 0))
            if not 1 <= identities <= _MOST_IDENTITIES:
                raise ValueError(f"it has {identities} identities")
        model = build_model(config, num_identities=identities)
        shapes = abstract_state(config, model, mesh).variables
    imported = from_torch_state_dict(read_torch_file(path), model)
    unfilled = imported.report.unfilled
    missing = [name for name in unfilled if not classifies_identities(name.split("/"))]
    if missing:
        raise UserError(
            f"{path} holds another network than its card or configuration says: it lacks "
            f"{len(missing)} tensors, such as {missing[0]}."
        )
    # No descriptor depends on the classifiers, so those of another number of identities may go.
    empty = jax.tree.map(lambda shape: np.zeros(shape.shape, shape.dtype), shapes)
    names = tuple(f"{i}" for i in range(identities))
    return Trained(config, model, put_replicated(imported.over(empty), mesh), names, step)


def _config_of(card: Card) -> Config:
    """The default configuration, with the network and the image size of a card."""
    from configs import default

    base = Config.from_mapping(default.get_config().to_dict())
    size = (int(card["input"]["height"]), int(card["input"]["width"]))
    network = {"backbone": str(card["backbone"]), **card["network"]}
    return dataclasses.replace(
        base,
        name=str(card.get("run", "")),
        model=dataclasses.replace(base.model, **_known_fields(network)),
        data=dataclasses.replace(base.data, image_size=size),
    )


def _known_fields(network: Mapping[str, Any]) -> dict[str, Any]:
    known = {field.name for field in dataclasses.fields(ModelConfig)}
    unknown = sorted(set(network) - known)
    if unknown:
        raise ValueError(f"its network has an unknown setting {unknown[0]!r}")
    return dict(network)


# --- ONNX -----------------------------------------------------------------------------------------


@functools.lru_cache(maxsize=4)
def _open_session(path: str, changed: int, size: int) -> Any:
    del changed, size  # They tell another file at the same place.
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        raise UserError("ONNX files need ONNX Runtime: pip install onnxruntime") from error
    wanted = ("CUDAExecutionProvider", "CPUExecutionProvider")
    providers = [name for name in wanted if name in runtime.get_available_providers()]
    with reading(path, what="ONNX file", advice="copy it again, or export it again"):
        return runtime.InferenceSession(path, providers=providers)


def _session(path: pathlib.Path) -> Any:
    with reading(path, what="ONNX file"):
        status = path.stat()
    return _open_session(str(path), status.st_mtime_ns, status.st_size)


class OnnxNetwork:
    """A network in an ONNX file, run by ONNX Runtime.

    Attributes:
        trained: None, for an ONNX file can only be run; and so are `config` and `step`.
        image_size: Height and width of its input, in pixels.
        batch_multiple: Batches have to be multiples of this.
        batch_size: The only batch size that the file takes, or None for any.
        dimension: Numbers in a descriptor.
        model_id: The same text for the same file.
        precision: What is given and taken; within, it may be half of that.
    """

    trained: Trained | None = None
    config: Config | None = None
    step: int | None = None
    batch_multiple = 1
    precision: Precision = "float32"

    def __init__(self, path: pathlib.Path, card: Card | None = None) -> None:
        """Opens the file.

        Raises:
            UserError: ONNX Runtime or the card is missing.
            DataError: The file cannot be read.
        """
        card = card or read_card(path)
        if card is None:
            raise UserError(
                f"{path} has no card: {_NEEDED}. Put the card at {path.name}.json, or export the "
                "network again."
            )
        self._session = _session(path)
        self._input = card["input"]
        self.image_size = (int(card["input"]["height"]), int(card["input"]["width"]))
        with reading(path, what="ONNX file of this project", advice="export it again"):
            (given,), made = self._session.get_inputs(), self._session.get_outputs()[0]
            self._names = (given.name, made.name)
            self.dimension = int(made.shape[1])
            self.batch_size = given.shape[0] if isinstance(given.shape[0], int) else None
        digest = hashlib.sha256(path.read_bytes()).hexdigest()[:16]
        self.model_id = f"onnx {digest}"

    def start(self, images: NDArray[np.uint8], *, flip: bool) -> NDArray[np.float32]:
        """Embeds uint8 RGB `[N, H, W, 3]`; `finish` gives the result."""
        found = self._run(images)
        return (found + self._run(images[:, :, ::-1])) / np.float32(2) if flip else found

    def finish(self, started: NDArray[np.float32]) -> EmbeddedArrays:
        """Descriptors of unit length; an ONNX file has nothing of body parts."""
        lengths = np.linalg.norm(started, axis=1, keepdims=True)
        return EmbeddedArrays(started / np.maximum(lengths, _UNIT))

    def _run(self, images: NDArray[np.uint8]) -> NDArray[np.float32]:
        given, made = self._names
        return np.asarray(self._session.run([made], {given: self._prepare(images)})[0], np.float32)

    def _prepare(self, images: NDArray[np.uint8]) -> NDArray[Any]:
        """The images in the layout and type that the card says."""
        ready: NDArray[Any] = images
        if self._input.get("colour_order", "RGB") == "BGR":
            ready = ready[..., ::-1]
        if self._input["normalise"] == "outside":
            mean, std = (np.asarray(self._input[name], np.float32) for name in ("mean", "std"))
            ready = (ready.astype(np.float32) / 255 - mean) / std
        ready = ready.astype(self._input.get("dtype", ready.dtype), copy=False)
        if self._input["layout"] == "NCHW":
            ready = ready.transpose(0, 3, 1, 2)
        return np.ascontiguousarray(ready)
