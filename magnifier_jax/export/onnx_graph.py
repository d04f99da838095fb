"""Puts an ONNX graph together, node by node."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.errors import UserError

# Old enough for every runtime in use: ONNX Runtime 1.13, TensorRT 8.6, OpenVINO 2023.
OPSET = 17
_IR_VERSION = 8


class Graph:
    """A growing ONNX graph; every method that adds a node returns the name of what it makes."""

    def __init__(self, weights: Mapping[str, np.ndarray]) -> None:
        """Starts an empty graph.

        Args:
            weights: Tensors that `weight` may refer to; only those that are used are written.
        """
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

    def weight(self, name: str) -> str:
        """Refers to a weight by its name."""
        self._stored[name] = self._weights[name]
        return name

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
    ) -> None:
        """Checks the graph and writes it.

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
        )
        onnx.checker.check_model(model, full_check=True)
        try:
            onnx.save(model, str(path))
        except OSError as error:
            raise UserError(f"Cannot write {path}: {error.strerror}.") from error


def _import_onnx() -> Any:
    try:
        importlib.import_module("onnxruntime")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise UserError(
            "--format=onnx needs the packages onnx and onnxruntime: "
            "pip install 'magnifier_jax[export]'"
        ) from error
