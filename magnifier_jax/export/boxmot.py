"""What BoxMOT wants to know of an ONNX file that it loads."""

from __future__ import annotations

import pathlib
from typing import Any

from magnifier_jax.export.card import Card

# As BoxMOT 25 reads them.
_SCHEMA = 1


def boxmot_sidecar(output: pathlib.Path) -> pathlib.Path:
    """Where BoxMOT looks for it."""
    return output.with_name(output.name + ".metadata.json")


def boxmot_metadata(card: Card) -> dict[str, Any]:
    """The size of crops above all: without it, OpenCV's backend takes 256 x 128 for granted."""
    size = [card.input.height, card.input.width]
    return {
        "schema_version": _SCHEMA,
        "model_name": "magnifier_net",
        "num_classes": card.identities,
        "preprocess": "resize",
        "model_kwargs_schema_version": _SCHEMA,
        "model_kwargs": {"img_size": size},
        "img_size": size,
    }
