"""Ranking, re-ranking and search with descriptors from any model.

Everything is exact, runs on all devices, and never holds the full distance matrix.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from magnifier_jax.retrieval.descriptors import RetrievalWarning
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.expansion import QueryExpansion, expand_queries
from magnifier_jax.retrieval.labels import SelfMatchWarning, SpellingWarning
from magnifier_jax.retrieval.measures.metrics import Evaluation
from magnifier_jax.retrieval.measures.open_set import OpenSet, OpenSetPoint, evaluate_open_set
from magnifier_jax.retrieval.measures.ranking import evaluate
from magnifier_jax.retrieval.measures.single_shot import SingleShot
from magnifier_jax.retrieval.measures.verification import OperatingPoint, Verification, verify
from magnifier_jax.retrieval.pooling import Groups, Pooled, pool
from magnifier_jax.retrieval.reranking import DistanceBlock, ReRanking, rerank
from magnifier_jax.retrieval.spacing import CollapsedDescriptorsWarning

if TYPE_CHECKING:
    from magnifier_jax.gallery import Gallery as Gallery
    from magnifier_jax.gallery import Searcher as Searcher
    from magnifier_jax.gallery import SearchResult as SearchResult
    from magnifier_jax.gallery import file_header as file_header
    from magnifier_jax.gallery import seal as seal

# Galleries are built on retrieval, and are found here too, as in earlier versions.
_IN_GALLERY = ("Gallery", "SearchResult", "Searcher", "file_header", "seal")

__all__ = [
    "Blocks",
    "CollapsedDescriptorsWarning",
    "DistanceBlock",
    "Evaluation",
    "Gallery",
    "Groups",
    "OpenSet",
    "OpenSetPoint",
    "OperatingPoint",
    "Pooled",
    "QueryExpansion",
    "ReRanking",
    "RetrievalWarning",
    "SearchResult",
    "Searcher",
    "SelfMatchWarning",
    "SingleShot",
    "SpellingWarning",
    "Verification",
    "evaluate",
    "evaluate_open_set",
    "expand_queries",
    "file_header",
    "pool",
    "rerank",
    "seal",
    "verify",
]


def __getattr__(name: str) -> Any:
    """Imports what is in `magnifier_jax.gallery` when it is used for the first time."""
    if name not in _IN_GALLERY:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module("magnifier_jax.gallery"), name)
