"""MagnifierNet as an ONNX graph of plain NCHW convolutions, under the original's tensor names.

The graph is written from the architecture rather than translated from jax's operations: runtimes
know Conv, BatchNormalization and LSTM as such, fuse them, and people can read the result.
"""

from __future__ import annotations

import pathlib

import numpy as np

from input_pipeline.files import write_bytes
from magnifier_jax.export.card import file_metadata
from magnifier_jax.export.function import DescriptorFunction
from magnifier_jax.export.onnx.graph import BYTE, FLOAT, Graph
from magnifier_jax.interop import to_torch_state_dict
from magnifier_jax.model.layers import BATCH_NORM_EPSILON
from magnifier_jax.model.resnet import BackboneSpec
from magnifier_jax.training.augmentation import MEAN, STD

INPUT, OUTPUT = "images", "descriptor"
PARTS, PART_MAP = "part_embeddings", "part_map"
_NORM = ("weight", "bias", "running_mean", "running_var")
_SMALLEST_LENGTH = 1e-6


def write_onnx(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes the function, for batches of any size.

    Raises:
        UserError: A package is missing, or the file cannot be written.
    """
    graph = _graph(function, parts=False)
    write_bytes(path, graph.model(file_metadata(function)).SerializeToString())


def write_whole_onnx(function: DescriptorFunction, path: pathlib.Path) -> None:
    """Writes a graph that also gives what the network says of body parts.

    Beside the descriptor its outputs are `part_embeddings`, float32 `[N, P, C]` after the parts'
    necks, with a fusion branch, and `part_map`, uint8 `[N, 2h, 2w]`, with a parsing head. The
    weights go to `PATH.data`, from where runtimes map them, so that they are in memory once.

    Raises:
        UserError: A package is missing, or the files cannot be written.
    """
    graph = _graph(function, parts=True)
    weights = path.with_name(f"{path.name}.data")
    write_bytes(path, graph.model(file_metadata(function), weights=weights).SerializeToString())


def _graph(function: DescriptorFunction, *, parts: bool) -> Graph:
    weights = to_torch_state_dict(function.variables, function.model)
    graph = Graph(weights, half=function.settings.precision == "fp16")
    graph.takes(INPUT, function.input_type, ("batch", *function.input_shape))
    found = _outputs(graph, function, _images(graph, function), parts=parts)
    float32, uint8 = np.dtype(np.float32), np.dtype(np.uint8)
    graph.gives(OUTPUT, found[OUTPUT], float32, ("batch", function.dimension))
    if PARTS in found:
        graph.gives(PARTS, found[PARTS], float32, ("batch", function.model.num_parts, None))
    if PART_MAP in found:
        graph.gives(PART_MAP, found[PART_MAP], uint8, ("batch", None, None))
    return graph


def _images(graph: Graph, function: DescriptorFunction) -> str:
    """The input as normalized float32 NCHW."""
    x = INPUT
    if function.settings.layout == "NHWC":
        x = graph.add("Transpose", [x], perm=[0, 3, 1, 2])
    if function.settings.normalise == "outside":
        return x
    x = graph.add("Cast", [x], to=FLOAT)
    scale = 1 / (255 * np.array(STD, np.float32))
    offset = -np.array(MEAN, np.float32) / np.array(STD, np.float32)
    x = graph.add("Mul", [x, graph.constant("scale", scale.reshape(1, 3, 1, 1))])
    return graph.add("Add", [x, graph.constant("offset", offset.reshape(1, 3, 1, 1))])


def _outputs(
    graph: Graph, function: DescriptorFunction, images: str, *, parts: bool
) -> dict[str, str]:
    """The descriptor and, with `parts`, what is said of them, by the names of the outputs."""
    model = function.model
    trunk = _trunk(graph, model.backbone, graph.narrow(images), stem_relu=model.stem_relu)
    features, part_map, found = "", "", {}
    if model.use_global or model.use_fusion or (model.use_parsing and parts):
        features = _stage(graph, model.backbone, trunk, stage=3)
    if model.use_parsing and parts:
        found[PART_MAP], part_map = _whole_part_map(graph, features)
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
        part_map = part_map or _part_map(graph, features)
        x = _block(graph, trunk, "base.part.bottle", convolutions=3)
        pooled = graph.widen(_part_max_pool(graph, x, part_map, num_parts=model.num_parts))
        necks.append(_neck(graph, _lstm(graph, pooled), "base.part.combine_bn"))
        if parts:
            found[PARTS] = _part_necks(graph, pooled, num_parts=model.num_parts)
    joined = necks[0] if len(necks) == 1 else graph.add("Concat", necks, axis=1)
    return {OUTPUT: _finished(graph, function, joined), **found}


def _finished(graph: Graph, function: DescriptorFunction, found: str) -> str:
    """The descriptor, projected and of unit length where that is asked for."""
    if function.projection is not None:
        found = _unit_length(graph, found)
        mean = graph.constant("projection.mean", function.projection.mean[None])
        components = graph.constant("projection.components", function.projection.components)
        found = graph.add("MatMul", [graph.add("Sub", [found, mean]), components])
    return _unit_length(graph, found) if function.settings.l2 == "inside" else found


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
    # As a scale and an offset: float16 cannot hold small variances.
    scale, offset = (number.reshape(1, -1, 1, 1) for number in _scale_and_offset(graph, name))
    x = graph.add("Mul", [x, graph.number(f"{name}.scale", scale)])
    return graph.add("Add", [x, graph.number(f"{name}.offset", offset)])


def _scale_and_offset(graph: Graph, name: str) -> tuple[np.ndarray, np.ndarray]:
    """What a batch norm multiplies by and adds, float64 `[C]`."""
    weight, bias, mean, variance = (graph.read(f"{name}.{t}").astype(np.float64) for t in _NORM)
    scale = weight / np.sqrt(variance + BATCH_NORM_EPSILON)
    return scale, bias - mean * scale


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
    # Only the cells that the branches look at need a class.
    return _classes(graph, _every_other(graph, _doubled(graph, features)))


def _whole_part_map(graph: Graph, features: str) -> tuple[str, str]:
    """The class of every cell, uint8 `[N, 2h, 2w]`, and of the cells of the trunk."""
    classes = _classes(graph, _doubled(graph, features))
    channel = graph.constant("channel_axis", np.ones(1, np.int64))
    narrow = graph.add("Cast", [classes], to=BYTE)
    return graph.add("Squeeze", [narrow, channel]), _every_other(graph, classes)


def _doubled(graph: Graph, features: str) -> str:
    """Stage 4 at twice its height and width."""
    return graph.add(
        "ConvTranspose",
        [features, graph.weight("base.seg_module.deconv.weight")],
        kernel_shape=[3, 3],
        strides=[2, 2],
        pads=[1, 1, 1, 1],
        output_padding=[1, 1],
    )


def _every_other(graph: Graph, x: str) -> str:
    """The cells in even rows and columns."""
    ends, steps = np.full(2, np.iinfo(np.int32).max, np.int64), np.full(2, 2, np.int64)
    inputs = [
        x,
        graph.constant("slice.starts", np.zeros(2, np.int64)),
        graph.constant("slice.ends", ends),
        graph.constant("height_and_width", np.array([2, 3], np.int64)),
        graph.constant("slice.steps", steps),
    ]
    return graph.add("Slice", inputs)


def _classes(graph: Graph, x: str) -> str:
    """The part of each cell, int64 `[N, 1, …]`."""
    name = "base.seg_module."
    x = graph.add("Relu", [_norm(graph, x, f"{name}bn")])
    x = graph.add(
        "Conv",
        [x, graph.weight(f"{name}conv.weight"), graph.weight(f"{name}conv.bias")],
        kernel_shape=[1, 1],
    )
    return graph.add("ArgMax", [x], axis=1, keepdims=1)


def _part_necks(graph: Graph, parts: str, *, num_parts: int) -> str:
    """The parts' embeddings `[P, N, C]` after each part's own neck, `[N, P, C]`."""
    names = [f"base.part.part_bns.{part}" for part in range(num_parts)]
    folded = np.stack([_scale_and_offset(graph, name) for name in names], axis=1)
    scale, offset = folded[:, :, None].astype(np.float32)  # [P, 1, C]
    x = graph.add("Mul", [parts, graph.constant("part_necks.scale", scale)])
    x = graph.add("Add", [x, graph.constant("part_necks.offset", offset)])
    return graph.add("Transpose", [x], perm=[1, 0, 2])


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
