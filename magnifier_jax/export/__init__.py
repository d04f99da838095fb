"""Trained networks for other frameworks: weights, ONNX, StableHLO, SavedModel and TFLite.

The package can be called: `magnifier_jax.export(model, path, format=…)` is `export_model`.
"""

import sys
import types
from typing import Any

from magnifier_jax.export.card import Card
from magnifier_jax.export.exporting import card_of, export_model, export_network
from magnifier_jax.export.projection import Projection, fit_projection
from magnifier_jax.export.reader import read_exported
from magnifier_jax.export.settings import ExportSettings, choose_settings

__all__ = [
    "Card",
    "ExportSettings",
    "Projection",
    "card_of",
    "choose_settings",
    "export_model",
    "export_network",
    "fit_projection",
    "read_exported",
]


class _Callable(types.ModuleType):
    """The name `export` at the front door means a function and this package at once."""

    def __call__(self, *arguments: Any, **options: Any) -> Card:
        return export_model(*arguments, **options)


sys.modules[__name__].__class__ = _Callable
