"""An ONNX graph as it grows, node by node."""

from __future__ import annotations

import importlib
import pathlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from input_pipeline.errors import UserError
from input_pipeline.files import writing

OPSET = 17
"""Of ONNX; old enough for ONNX Runtime 1.13, TensorRT 8.6 and OpenVINO 2023."""
FLOAT, BYTE, HALF = 1, 2, 10
"""ONNX's numbers of the types float32, uint8 and float16."""
_IR_VERSION = 8
_PAGE = 4096  # bytes; what is mapped into memory begins with one


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
        self._given: list[Any] = []
        self._made: list[Any] = []

    def takes(self, name: str, dtype: np.dtype, shape: Sequence[str | int]) -> None:
        """Declares an input; text in a shape stands for any number."""
        self._given.append(self._declared(name, dtype, shape))

    def gives(
        self, name: str, made: str, dtype: np.dtype, shape: Sequence[str | int | None]
    ) -> None:
        """Gives what a node made as an output of this name."""
        self._nodes.append(self._onnx.helper.make_node("Identity", [made], [name]))
        self._made.append(self._declared(name, dtype, shape))

    def _declared(self, name: str, dtype: np.dtype, shape: Sequence[str | int | None]) -> Any:
        helper = self._onnx.helper
        number = helper.np_dtype_to_tensor_dtype(dtype)
        return helper.make_tensor_value_info(name, number, shape)

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
        return self.add("Cast", [x], to=HALF) if self.half else x

    def widen(self, x: str) -> str:
        """From the type that the graph computes in to float32."""
        return self.add("Cast", [x], to=FLOAT) if self.half else x

    def constant(self, name: str, value: np.ndarray) -> str:
        """Stores another array under a name; a name means the same array everywhere."""
        self._stored[name] = value
        return name

    def model(self, metadata: Mapping[str, str], *, weights: pathlib.Path | None = None) -> Any:
        """The checked graph as ONNX's `ModelProto`.

        Args:
            metadata: Texts by name that it carries.
            weights: File that its arrays are written to, which has to stay beside the graph's;
                None keeps them inside.

        Raises:
            UserError: The file cannot be written.
        """
        onnx = self._onnx
        if weights is None:
            tensors = [onnx.numpy_helper.from_array(a, name) for name, a in self._stored.items()]
        else:
            tensors = self._write_weights(weights)
        graph = onnx.helper.make_graph(
            self._nodes, "magnifier_net", self._given, self._made, tensors
        )
        model = onnx.helper.make_model(
            graph,
            opset_imports=[onnx.helper.make_opsetid("", OPSET)],
            ir_version=_IR_VERSION,
            producer_name="magnifier_jax",
            producer_version=metadata["version"],
        )
        onnx.helper.set_model_props(model, dict(metadata))
        if weights is None:  # The checker looks for files in the current folder.
            onnx.checker.check_model(model, full_check=True)
        return model

    def _write_weights(self, path: pathlib.Path) -> list[Any]:
        """Writes the arrays one after another; returns tensors that say where they are."""
        tensors = []
        with writing(path), path.open("wb") as file:
            for name, array in self._stored.items():
                if array.nbytes < _PAGE:  # Runtimes read shapes and axes before any file.
                    tensors.append(self._onnx.numpy_helper.from_array(array, name))
                    continue
                file.write(bytes(-file.tell() % _PAGE))
                place = {"location": path.name, "offset": file.tell(), "length": array.nbytes}
                file.write(np.ascontiguousarray(array).data)
                tensor = self._onnx.TensorProto(
                    name=name,
                    dims=array.shape,
                    data_type=self._onnx.helper.np_dtype_to_tensor_dtype(array.dtype),
                    data_location=self._onnx.TensorProto.EXTERNAL,
                )
                for key, value in place.items():
                    tensor.external_data.add(key=key, value=str(value))
                tensors.append(tensor)
        return tensors


def _import_onnx() -> Any:
    try:
        importlib.import_module("onnxruntime")
        return importlib.import_module("onnx")
    except ImportError as error:
        raise UserError(
            "--format=onnx needs the packages onnx and onnxruntime: "
            "pip install 'magnifier_jax[export]'"
        ) from error
