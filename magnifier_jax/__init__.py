"""MagnifierNet, a semantic-aware network for person re-identification, in JAX.

    import magnifier_jax as mj

    model = mj.load("runs/market1501")
    found = model.embed(images)
    gallery = mj.Gallery.build(found, names=found.names)
    gallery.search(model.embed(crops), top=5)

Importing this package is fast and does not import jax: each name is imported when it is first used.
Errors that a user can fix are subclasses of `MagnifierError`.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from input_pipeline.errors import DataError as DataError
    from input_pipeline.errors import MagnifierError as MagnifierError
    from input_pipeline.errors import UserError as UserError
    from magnifier_jax.api import train as train
    from magnifier_jax.config import Config as Config
    from magnifier_jax.embedding.embeddings import Embeddings as Embeddings
    from magnifier_jax.embedding.folder import embed_folder as embed_folder
    from magnifier_jax.embedding.loading import load as load
    from magnifier_jax.embedding.model import Model as Model
    from magnifier_jax.embedding.queries import search_images as search_images
    from magnifier_jax.evaluation.explain import explain as explain
    from magnifier_jax.evaluation.robustness.hiding import robustness as robustness
    from magnifier_jax.export.exporting import export_model as export
    from magnifier_jax.gallery import Gallery as Gallery
    from magnifier_jax.retrieval import evaluate as evaluate
    from magnifier_jax.retrieval import pool as pool
    from magnifier_jax.retrieval import rerank as rerank

__version__ = "0.1.0"

# Each name of the front door, and the module that has it.
_HOMES = {
    "Config": "magnifier_jax.config",
    "DataError": "input_pipeline.errors",
    "Embeddings": "magnifier_jax.embedding.embeddings",
    "Gallery": "magnifier_jax.gallery",
    "MagnifierError": "input_pipeline.errors",
    "Model": "magnifier_jax.embedding.model",
    "UserError": "input_pipeline.errors",
    "embed_folder": "magnifier_jax.embedding.folder",
    "evaluate": "magnifier_jax.retrieval",
    "explain": "magnifier_jax.evaluation.explain",
    "load": "magnifier_jax.embedding.loading",
    "pool": "magnifier_jax.retrieval",
    "rerank": "magnifier_jax.retrieval",
    "robustness": "magnifier_jax.evaluation.robustness.hiding",
    "search_images": "magnifier_jax.embedding.queries",
    "train": "magnifier_jax.api",
}
# `export` is a folder too, which Python puts in this place once anything in it is imported; so the
# folder itself can be called.
_CALLABLE = {"export": "magnifier_jax.export"}

__all__ = [
    "Config",
    "DataError",
    "Embeddings",
    "Gallery",
    "MagnifierError",
    "Model",
    "UserError",
    "__version__",
    "embed_folder",
    "evaluate",
    "explain",
    "export",
    "load",
    "pool",
    "rerank",
    "robustness",
    "search_images",
    "train",
]


def __getattr__(name: str) -> Any:
    """Imports a name of the front door when it is used for the first time."""
    if name in _CALLABLE:
        return importlib.import_module(_CALLABLE[name])
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value = getattr(importlib.import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
