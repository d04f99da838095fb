"""A trained network run on a CPU by ONNX Runtime or OpenVINO, which are faster there than XLA."""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import pathlib
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any, Literal, get_args

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.checkpoints.reader import Which
from magnifier_jax.config import suggest
from magnifier_jax.embedding.network import EmbeddedArrays, Precision, Trained, fingerprint

Runtime = Literal["jax", "onnxruntime", "openvino"]
RUNTIMES: tuple[Runtime, ...] = get_args(Runtime)
PRECISIONS: tuple[Precision, ...] = get_args(Precision)

NAMES = ("descriptor", "part_embeddings", "part_map")
"""Outputs of the graph, of which a network may lack the last two."""
_AT_ONCE = 4  # images; more take more memory and no less time
_UNIT = 1e-6  # shorter descriptors stay as they are

Outputs = Mapping[str, NDArray[Any]]
_Run = Callable[[NDArray[np.uint8]], Outputs]


class GraphNetwork:
    """A trained network as the ONNX graph that `magnifier export` writes, with parts beside it.

    Attributes:
        config: The configuration of its training.
        step: Training steps that it has seen.
        image_size: Height and width of its input, in pixels.
        batch_multiple: Batches have to be multiples of this.
        batch_size: The only batch size that it takes; None, for it takes any.
        dimension: Numbers in a descriptor.
        model_id: The same text as of `JaxNetwork`, for descriptors of both can be compared.
        precision: What its convolutions and matrix products are computed in.
    """

    batch_multiple = 1
    batch_size: int | None = None

    def __init__(
        self,
        read: Callable[[Which], Trained],
        checkpoint: Which,
        runtime: Runtime,
        *,
        precision: Precision | None,
    ) -> None:
        """Writes the graph to a temporary folder and opens it from there.

        Args:
            read: Reads the network of a checkpoint, as often as it is wanted: the runtime has a
                copy of the weights, and a second one would be most of what this takes.
            checkpoint: Which one.
            runtime: `onnxruntime` or `openvino`.
            precision: `bf16` for convolutions in bfloat16; None is float32.

        Raises:
            UserError: A package is missing, or the runtime cannot compute in that precision.
        """
        self.precision: Precision = precision or "float32"
        open_graph = _opener(runtime, self.precision)
        with tempfile.TemporaryDirectory(prefix="magnifier-") as folder:
            path = pathlib.Path(folder) / "network.onnx"
            trained = read(checkpoint)
            self.config, self.step = trained.config, trained.step
            self.image_size = self.config.data.image_size
            self.model_id = f"magnifier {fingerprint(trained.variables)}"
            self.dimension = _write(trained, path)
            del trained
            _give_memory_back()
            self._run = open_graph(path)
        self._read = read

    @property
    def trained(self) -> Trained:
        """The network and its weights, read anew."""
        return self._read(self.step)

    def start(self, images: NDArray[np.uint8], *, flip: bool) -> EmbeddedArrays:
        """Embeds uint8 RGB `[N, H, W, 3]`."""
        pieces = [
            self._embed(images[start : start + _AT_ONCE], flip=flip)
            for start in range(0, len(images), _AT_ONCE)
        ]
        joined: dict[str, Any] = {
            name: None if first is None else np.concatenate([vars(each)[name] for each in pieces])
            for name, first in vars(pieces[0]).items()
        }
        return EmbeddedArrays(**joined)

    def finish(self, started: EmbeddedArrays) -> EmbeddedArrays:
        """What `start` found."""
        return started

    def _embed(self, images: NDArray[np.uint8], *, flip: bool) -> EmbeddedArrays:
        found = self._run(images)
        descriptors, parts = found["descriptor"], found.get("part_embeddings")
        if flip:
            mirrored = self._run(np.ascontiguousarray(images[:, :, ::-1]))["descriptor"]
            descriptors = (descriptors + mirrored) / 2
        maps = found.get("part_map")
        num_parts = self.config.model.num_parts
        return EmbeddedArrays(
            _unit_length(descriptors, least=_UNIT),
            parts=None
            if parts is None
            else _unit_length(parts, least=float(np.finfo(np.float32).tiny)),
            part_shares=None if maps is None else part_shares(maps, num_parts=num_parts),
            part_maps=maps,
        )


def part_shares(part_maps: NDArray[np.uint8], *, num_parts: int) -> NDArray[np.float32]:
    """Share of the trunk's cells of each part, `[N, P]`, in part maps `[N, 2h, 2w]`."""
    cells = part_maps[:, ::2, ::2].reshape(len(part_maps), -1)
    return np.stack([(cells == part).mean(1) for part in range(num_parts)], 1).astype(np.float32)


def _unit_length(vectors: NDArray[np.float32], *, least: float) -> NDArray[np.float32]:
    # In float64, which has room for the squares of short vectors.
    lengths = np.linalg.norm(vectors.astype(np.float64), axis=-1, keepdims=True)
    return (vectors / np.maximum(lengths, least)).astype(np.float32)


def _give_memory_back() -> None:
    """Glibc keeps what was freed, here several times the weights, which the runtime cannot use."""
    with contextlib.suppress(
        OSError, AttributeError, TypeError
    ):  # Other systems have no such call.
        ctypes.CDLL(None).malloc_trim(0)


def _write(trained: Trained, path: pathlib.Path) -> int:
    """Writes the graph; returns the length of a descriptor."""
    from magnifier_jax.export.function import make_descriptor_function
    from magnifier_jax.export.onnx.network import write_whole_onnx
    from magnifier_jax.export.settings import choose_settings

    # The mean over mirror images is that of descriptors before they have unit length.
    function = make_descriptor_function(trained, choose_settings("onnx", l2="outside"))
    write_whole_onnx(function, path)
    return function.dimension


# --- Runtimes -------------------------------------------------------------------------------------


def check_runtime(runtime: str, precision: str | None) -> None:
    """Refuses what is no runtime or no precision, and a runtime that is not installed.

    Raises:
        UserError: It is one of these.
    """
    for what, value, known in (
        ("runtime", runtime, RUNTIMES),
        ("precision", precision or "float32", PRECISIONS),
    ):
        if value not in known:
            hint = suggest(str(value), known) or f"; choose from {', '.join(known)}."
            raise UserError(f"There is no {what} {value!r}{hint}")
    if runtime != "jax":
        _opener(runtime, precision or "float32")


def _opener(runtime: str, precision: str) -> Callable[[pathlib.Path], _Run]:
    package = _package(runtime)
    if runtime == "openvino":
        return functools.partial(_open_openvino, package, precision=precision)
    if precision != "float32":
        raise UserError(
            "ONNX Runtime computes in float32 on CPUs: leave --precision=bf16 out, or use "
            "--runtime=openvino."
        )
    return functools.partial(_open_onnxruntime, package)


def _package(runtime: str) -> Any:
    try:
        importlib.import_module("onnx")
        with _without_telemetry():
            return importlib.import_module(runtime)
    except ImportError as error:
        raise UserError(
            f"--runtime={runtime} needs the packages onnx and {runtime}: "
            "pip install 'magnifier_jax[cpu]'"
        ) from error


@contextlib.contextmanager
def _without_telemetry() -> Iterator[None]:
    """Importing OpenVINO would tell its makers, from a forked process, unless this is missing."""
    name = "openvino_telemetry"
    if name in sys.modules:
        yield
        return
    sys.modules[name] = None  # type: ignore[assignment]  # An import of it then fails.
    try:
        yield
    finally:
        sys.modules.pop(name, None)


def _open_onnxruntime(package: Any, path: pathlib.Path) -> _Run:
    session = package.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    (given,) = session.get_inputs()

    def run(images: NDArray[np.uint8]) -> Outputs:
        return dict(zip(names, session.run(names, {given.name: images}), strict=True))

    return run


def _open_openvino(package: Any, path: pathlib.Path, *, precision: str) -> _Run:
    # Without a hint OpenVINO takes bfloat16 where the processor has it.
    kind = package.Type.bf16 if precision == "bf16" else package.Type.f32
    options = {"INFERENCE_PRECISION_HINT": kind, "PERFORMANCE_HINT": "LATENCY"}
    compiled = package.Core().compile_model(str(path), "CPU", options)
    known = set().union(*(output.names for output in compiled.outputs))
    names = [name for name in NAMES if name in known]

    def run(images: NDArray[np.uint8]) -> Outputs:
        found = compiled(images, share_inputs=True)
        return {name: found[name] for name in names}

    return run
