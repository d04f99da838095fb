"""The parser's file: weights in half precision, and the card that says where they come from."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import pathlib
from collections.abc import Mapping
from typing import Any

import numpy as np

from input_pipeline.files import reading, write_bytes
from input_pipeline.part_labels.drawn.network import Size

WEIGHTS = pathlib.Path(__file__).with_name("parser.safetensors")
"""The weights that come with the package."""


@dataclasses.dataclass(frozen=True)
class Weights:
    """A trained parser.

    Attributes:
        size: Decides the network's shapes.
        variables: flax's tree of parameters, float32.
        card: What the parser was made of and what was measured, text by key.
        sha256: Of the file that they were read from.
    """

    size: Size
    variables: Mapping[str, Any]
    card: Mapping[str, str]
    sha256: str = ""


def write_weights(weights: Weights, path: pathlib.Path) -> None:
    """Writes them in half precision, with the card in the header.

    Raises:
        UserError: The file cannot be written.
    """
    import flax.traverse_util
    import safetensors.numpy

    flat = flax.traverse_util.flatten_dict(dict(weights.variables), sep="/")
    tensors = {name: np.asarray(value, np.float16) for name, value in flat.items()}
    header = {**weights.card, "size": json.dumps(dataclasses.asdict(weights.size))}
    write_bytes(path, safetensors.numpy.save(tensors, header))


def read_weights(path: pathlib.Path = WEIGHTS) -> Weights:
    """Reads what `write_weights` wrote.

    Raises:
        DataError: It cannot be read, or is no such file.
    """
    import flax.traverse_util
    import safetensors.numpy

    advice = "train another one, or install the package again"
    with reading(path, what="file of the part parser", advice=advice):
        data = path.read_bytes()
        card = _header(data)
        fields = json.loads(card.pop("size"))
        size = Size(
            height=int(fields["height"]),
            width=int(fields["width"]),
            channels=tuple(fields["channels"]),
            blocks=tuple(fields["blocks"]),
        )
        flat = {
            name: value.astype(np.float32) for name, value in safetensors.numpy.load(data).items()
        }
        variables = flax.traverse_util.unflatten_dict(flat, sep="/")
        return Weights(size, variables, card, hashlib.sha256(data).hexdigest())


def _header(data: bytes) -> dict[str, str]:
    """The texts in the header of a safetensors file: 8 bytes of its length, then JSON."""
    length = int.from_bytes(data[:8], "little")
    return dict(json.loads(data[8 : 8 + length])["__metadata__"])
