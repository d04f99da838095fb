"""MagnifierNet as an ONNX graph of plain NCHW convolutions, under the original's tensor names.

The graph is written from the architecture rather than translated from jax's operations: runtimes
know Conv, BatchNormalization and LSTM as such, fuse them, and people can read the result.
"""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import write_bytes
from magnifier_jax.export.card import OPSET, file_metadata
from magnifier_jax.export.function import DescriptorFunction
from magnifier_jax.interop import to_torch_state_dict
from magnifier_jax.model.layers import BATCH_NORM_EPSILON
from magnifier_jax.model.resnet import BackboneSpec
from magnifier_jax.training.augmentation import MEAN, STD

INPUT, OUTPUT = "images", "descriptor"
_IR_VERSION = 8
_FLOAT, _HALF = 1, 10  # numbers of the types float32 and float16
_NORM = ("weight", "bias", "running_mean", "running_var")
_SMALLEST_LENGTH = 1e-6


def write_onnx(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes the function, for batches of any size.

    Raises:
        UserError: A package is missing, or the file cannot be written.
    """
    weights = to_torch_state_dict(function.variables, function.model)
    graph = Graph(weights, half=function.settings.precision == "fp16")
    descriptor = _descriptor(graph, function, _images(graph, function))
    graph.save(
        path,
        input_name=INPUT,
        input_shape=("batch", *function.input_shape),
        input_type=function.input_type,
        output=descriptor,
        output_name=OUTPUT,
        output_shape=("batch", function.dimension),
        metadata=file_metadata(function),
    )


def _images(graph: Graph, function: DescriptorFunction) -> str:
    """The input as normalized float32 NCHW."""
    x = INPUT
    if function.settings.layout == "NHWC":
        x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    if function.settings.normalise == "outside":
        return x
    x = graph.add("Cast", [x], to=_FLOAT)
    scale = 1 / (255 * np.array(STD, np.float32))
    offset = -np.array(MEAN, np.float32) / np.array(STD, np.float32)
    x = graph.add("Mul", [x, graph.constant("scale", scale.reshape(1, 3, 1, 1))])
    return graph.add("Add", [x, graph.constant("offset", offset.reshape(1, 3, 1, 1))])


def _descriptor(graph: Graph, function: DescriptorFunction, images: str) -> str:
    model, settings = function.model, function.settings
    trunk = _trunk(graph, model.backbone, graph.narrow(images), stem_relu=model.stem_relu)
    features = ""
    if model.use_global or model.use_fusion:
        features = _stage(graph, model.backbone, trunk, stage=3)
    necks = []
    if model.use_global:
        # Sums over cells, necks and lengths are worth float32, and cost next to nothing in it.
        cells = graph.widen(features)
        pooled = graph.add("ReduceMean", [cells], axes=[2, 3], keepdims=0)
        necks.append(_neck(graph, pooled, "base.feat_bn"))
    if model.use_adversarial:
        x = _block(graph, trunk, "base.mask.bottle", convolutions=3)
        x = graph.widen(graph.add("ReduceMax", [x], axes=[2, 3], keepdims=1))
        x = _convolution(graph, x, "base.mask.dim_reducer", kernel=1, half=False)
        x = graph.add("Flatten", [x], axis=1)
        necks.append(_neck(graph, x, "base.mask.mask_bn"))
    if model.use_fusion:
        part_map = _part_map(graph, features)
        x = _block(graph, trunk, "base.part.bottle", convolutions=3)
        parts = _part_max_pool(graph, x, part_map, num_parts=model.num_parts)
        x = _lstm(graph, graph.widen(parts))
        necks.append(_neck(graph, x, "base.part.combine_bn"))
    found = necks[0] if len(necks) == 1 else graph.add("Concat", necks, axis=1)
    if function.projection is not None:
        found = _unit_length(graph, found)
        mean = graph.constant("projection.mean", function.projection.mean[None])
        components = graph.constant("projection.components", function.projection.components)
        found = graph.add("MatMul", [graph.add("Sub", [found, mean]), components])
    return _unit_length(graph, found) if settings.l2 == "inside" else found


def _trunk(graph: Graph, spec: BackboneSpec, x: str, *, stem_relu: bool) -> str:
    """The stem and the first three stages."""
    prefix = "base.model."
    x = _convolution(graph, x, f"{prefix}conv1", kernel=spec.stem_kernel, stride=2)
    norm = _instance_norm if spec.stem_norm == "instance" else _norm
    x = norm(graph, x, f"{prefix}bn1")
    if stem_relu:
        x = graph.add("Relu", [x])
    if spec.stem_pool:
        x = graph.add("MaxPool", [x], kernel_shape=[3, 3], strides=[2, 2], pads=[1, 1, 1, 1])
    for stage in range(3):
        x = _stage(graph, spec, x, stage=stage)
    return x


def _stage(graph: Graph, spec: BackboneSpec, x: str, *, stage: int) -> str:
    """One of the four stages, counted from 0."""
    widening = 4 if spec.bottleneck else 1
    out = spec.width * 2**stage * widening
    channels = out // 2 if stage else spec.width
    for index in range(spec.blocks[stage]):
        stride = spec.strides[stage] if index == 0 else 1
        x = _block(
            graph,
            x,
            f"base.model.layer{stage + 1}.{index}",
            convolutions=3 if spec.bottleneck else 2,
            stride=stride,
            project=index == 0 and (stride != 1 or channels != out),
            ibn=spec.has_ibn(stage),
        )
    return x


def _block(
    graph: Graph,
    x: str,
    name: str,
    *,
    convolutions: int,
    stride: int = 1,
    project: bool = False,
    ibn: bool = False,
) -> str:
    """A bottleneck (three convolutions) or a basic block (two), with its residual."""
    residual = x
    if project:
        residual = _convolution(graph, x, f"{name}.downsample.0", kernel=1, stride=stride)
        residual = _norm(graph, residual, f"{name}.downsample.1")
    bottleneck = convolutions == 3
    strided = 2 if bottleneck else 1
    for number in range(1, convolutions + 1):
        x = _convolution(
            graph,
            x,
            f"{name}.conv{number}",
            kernel=1 if bottleneck and number != 2 else 3,
            stride=stride if number == strided else 1,
        )
        norm = _half_instance_norm if ibn and number == 1 else _norm
        x = norm(graph, x, f"{name}.bn{number}")
        if number < convolutions:
            x = graph.add("Relu", [x])
    return graph.add("Relu", [graph.add("Add", [x, residual])])


def _convolution(
    graph: Graph, x: str, name: str, *, kernel: int, stride: int = 1, half: bool = True
) -> str:
    return graph.add(
        "Conv",
        [x, graph.weight(f"{name}.weight", half=half)],
        kernel_shape=[kernel] * 2,
        strides=[stride] * 2,
        pads=[kernel // 2] * 4,
    )


def _norm(graph: Graph, x: str, name: str) -> str:
    """Batch norm after a convolution, `[N, C, h, w]`."""
    if not graph.half:
        return _batch_norm(graph, x, name)
    # As a scale and an offset computed in float64: float16 cannot hold small variances.
    weight, bias, mean, variance = (graph.read(f"{name}.{t}").astype(np.float64) for t in _NORM)
    scale = weight / np.sqrt(variance + BATCH_NORM_EPSILON)
    axes = (1, -1, 1, 1)
    x = graph.add("Mul", [x, graph.number(f"{name}.scale", scale.reshape(axes))])
    offset = (bias - mean * scale).reshape(axes)
    return graph.add("Add", [x, graph.number(f"{name}.offset", offset)])


def _instance_norm(graph: Graph, x: str, name: str) -> str:
    """Instance norm after a convolution, `[N, C, h, w]`; sums over cells are worth float32."""
    inputs = [graph.widen(x), *(graph.weight(f"{name}.{t}", half=False) for t in _NORM[:2])]
    return graph.narrow(graph.add("InstanceNormalization", inputs, epsilon=BATCH_NORM_EPSILON))


def _half_instance_norm(graph: Graph, x: str, name: str) -> str:
    """Instance norm of the first half of the channels, batch norm of the others."""
    halves = [graph.read(f"{name}.{kind}.weight").size for kind in ("IN", "BN")]
    sizes = graph.constant(f"{name}.halves", np.array(halves, np.int64))
    alone, together = graph.add_many("Split", [x, sizes], outputs=2, axis=1)
    found = [_instance_norm(graph, alone, f"{name}.IN"), _norm(graph, together, f"{name}.BN")]
    return graph.add("Concat", found, axis=1)


def _batch_norm(graph: Graph, x: str, name: str) -> str:
    inputs = [x, *(graph.weight(f"{name}.{tensor}", half=False) for tensor in _NORM)]
    return graph.add("BatchNormalization", inputs, epsilon=BATCH_NORM_EPSILON)


def _neck(graph: Graph, x: str, name: str) -> str:
    """Batch norm of `[N, C]`; some runtimes want two more axes."""
    axes = graph.constant("height_and_width", np.array([2, 3], np.int64))
    x = _batch_norm(graph, graph.add("Unsqueeze", [x, axes]), name)
    return graph.add("Flatten", [x], axis=1)


def _part_map(graph: Graph, features: str) -> str:
    """The parsing head's class of each cell of the trunk, `[N, 1, h, w]`."""
    name = "base.seg_module."
    x = graph.add(
        "ConvTranspose",
        [features, graph.weight(f"{name}deconv.weight")],
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    )
    # Only the cells that the branches look at need a class.
    ends, steps = np.full(2, np.iinfo(np.int32).max, np.int64), np.full(2, 2, np.int64)
    x = graph.add(
        "Slice",
        [
            x,
            graph.constant("slice.starts", np.zeros(2, np.int64)),
            graph.constant("slice.ends", ends),
            graph.constant("height_and_width", np.array([2, 3], np.int64)),
            graph.constant("slice.steps", steps),
        ],
    )
    x = graph.add("Relu", [_norm(graph, x, f"{name}bn")])
    x = graph.add(
        "Conv",
        [x, graph.weight(f"{name}conv.weight"), graph.weight(f"{name}conv.bias")],
        kernel_shape=[1, 1],
    )
    return graph.add("ArgMax", [x], axis=1, keepdims=1)


def _part_max_pool(graph: Graph, x: str, part_map: str, *, num_parts: int) -> str:
    """The maximum over each part's cells, `[P, N, C]`; zeros where a part is not shown."""
    zero = graph.number("zero", np.zeros(()))
    first = graph.constant("part_axis", np.zeros(1, np.int64))
    parts = []
    for part in range(num_parts):
        number = graph.constant(f"part.{part}", np.array(part, np.int64))
        shown = graph.add("Equal", [part_map, number])
        cells = graph.add("Where", [shown, x, zero])
        pooled = graph.add("ReduceMax", [cells], axes=[2, 3], keepdims=0)
        parts.append(graph.add("Unsqueeze", [pooled, first]))
    return graph.add("Concat", parts, axis=0)


def _lstm(graph: Graph, sequence: str) -> str:
    """The last hidden state, `[N, C]`, of a sequence `[T, N, C]`."""
    name = "base.part.lstm."

    def gates(tensor: str) -> np.ndarray:
        """From PyTorch's order (input, forget, cell, output) to ONNX's (i, o, f, c)."""
        into, forget, cell, out = np.split(graph.read(f"{name}{tensor}_l0"), 4)
        return np.concatenate([into, out, forget, cell])

    bias = np.concatenate([gates("bias_ih"), gates("bias_hh")])
    size = gates("weight_hh").shape[1]
    inputs = [
        sequence,
        graph.widen(graph.number(f"{name}W", gates("weight_ih")[None])),
        graph.widen(graph.number(f"{name}R", gates("weight_hh")[None])),
        graph.widen(graph.number(f"{name}B", bias[None])),
    ]
    _, last = graph.add_many("LSTM", inputs, outputs=2, hidden_size=size)
    return graph.add("Squeeze", [last, graph.constant("part_axis", np.zeros(1, np.int64))])


def _unit_length(graph: Graph, x: str) -> str:
    length = graph.add("ReduceL2", [x], axes=[1], keepdims=1)
    least = graph.constant("smallest_length", np.array(_SMALLEST_LENGTH, np.float32))
    return graph.add("Div", [x, graph.add("Max", [length, least])])


class Graph:
    """A growing ONNX graph; every method that adds a node returns the name of what it makes."""

    def __init__(self, weights: Mapping[str, np.ndarray], *, half: bool = False) -> None:
        """Starts an empty graph.

        Args:
            weights: Tensors that `weight` may refer to; only those that are used are written.
            half: Whether numbers are float16 where nothing else is asked for.
        """
        self.half = half
        self._onnx = _import_onnx()
        self._weights = weights
        self._nodes: list[Any] = []
        self._stored: dict[str, np.ndarray] = {}
        self._counts: dict[str, int] = {}

    def add(self, kind: str, inputs: Sequence[str], **attributes: Any) -> str:
        """Adds a node of one output."""
        return self.add_many(kind, inputs, outputs=1, **attributes)[0]

    def add_many(
        self, kind: str, inputs: Sequence[str], *, outputs: int, **attributes: Any
    ) -> list[str]:
        """Adds a node of several outputs."""
        self._counts[kind] = self._counts.get(kind, 0) + 1
        name = f"{kind}_{self._counts[kind]}"
        made = [name] if outputs == 1 else [f"{name}_{index}" for index in range(outputs)]
        self._nodes.append(
            self._onnx.helper.make_node(kind, list(inputs), made, name=name, **attributes)
        )
        return made

    def read(self, name: str) -> np.ndarray:
        """The numbers of a weight, for one that is stored in another order."""
        return self._weights[name]

    def weight(self, name: str, *, half: bool = True) -> str:
        """Refers to a weight by its name, in float16 if the graph is of it and `half` is true."""
        value = self._weights[name]
        return self.number(name, value) if half else self.constant(name, value)

    def number(self, name: str, value: np.ndarray) -> str:
        """Stores an array in the type that the graph computes in."""
        with np.errstate(over="ignore"):  # Infinite numbers show when the export is checked.
            return self.constant(name, value.astype(np.float16 if self.half else np.float32))

    def narrow(self, x: str) -> str:
        """From float32 to the type that the graph computes in."""
        return self.add("Cast", [x], to=_HALF) if self.half else x

    def widen(self, x: str) -> str:
        """From the type that the graph computes in to float32."""
        return self.add("Cast", [x], to=_FLOAT) if self.half else x

    def constant(self, name: str, value: np.ndarray) -> str:
        """Stores another array under a name; a name means the same array everywhere."""
        self._stored[name] = value
        return name

    def save(
        self,
        path: pathlib.Path,
        *,
        input_name: str,
        input_shape: Sequence[str | int],
        input_type: np.dtype,
        output: str,
        output_name: str,
        output_shape: Sequence[str | int],
        metadata: Mapping[str, str],
    ) -> None:
        """Checks the graph and writes it, with texts by name.

        Raises:
            UserError: The file cannot be written.
        """
        onnx = self._onnx
        self._nodes.append(onnx.helper.make_node("Identity", [output], [output_name]))
        number = onnx.helper.np_dtype_to_tensor_dtype
        graph = onnx.helper.make_graph(
            self._nodes,
            "magnifier_net",
            [onnx.helper.make_tensor_value_info(input_name, number(input_type), input_shape)],
            [
                onnx.helper.make_tensor_value_info(
                    output_name, number(np.dtype(np.float32)), output_shape
                )
            ],
            [onnx.numpy_helper.from_array(a, name) for name, a in self._stored.items()],
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="magnifier_jax",
            producer_version=metadata["version"],
        )
        onnx.helper.set_model_props(model, dict(metadata))
        onnx.checker.check_model(model, full_check=True)
        write_bytes(path, model.SerializeToString())


def _import_onnx() -> Any:
    try:
        importlib.import_module("onnxruntime")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise UserError(
            "--format=onnx needs the packages onnx and onnxruntime: "
            "pip install 'magnifier_jax[export]'"
        ) from error
