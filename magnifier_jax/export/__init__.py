"""Trained networks for other frameworks: weights, ONNX, StableHLO and SavedModel."""

from magnifier_jax.export.card import Card
from magnifier_jax.export.exporting import export_network
from magnifier_jax.export.projection import Projection, fit_projection
from magnifier_jax.export.settings import ExportSettings, choose_settings

__all__ = [
    "Card",
    "ExportSettings",
    "Projection",
    "choose_settings",
    "export_network",
    "fit_projection",
]
