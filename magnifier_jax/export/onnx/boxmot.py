"""What BoxMOT wants to know of an ONNX file that it loads."""

from __future__ import annotations

import pathlib
from typing import Any

from magnifier_jax.export.card import Description

# As BoxMOT 25 reads them.
_SCHEMA = 1


def boxmot_sidecar(output: pathlib.Path) -> pathlib.Path:
    """Where BoxMOT looks for it."""
    return output.with_name(output.name + ".metadata.json")


def boxmot_metadata(known: Description) -> dict[str, Any]:
    """The size of crops above all: without it, OpenCV's backend takes 256 x 128 for granted."""
    size = [known.input.height, known.input.width]
    return {
        "schema_version": _SCHEMA,
        "model_name": "magnifier_net",
        "num_classes": known.identities,
        "preprocess": "resize",
        "model_kwargs_schema_version": _SCHEMA,
        "model_kwargs": {"img_size": size},
        "img_size": size,
    }
