"""Ranking, re-ranking and search with descriptors from any model.

Everything is exact, runs on all devices, and never holds the full distance matrix.
"""

from magnifier_jax.retrieval.descriptors import CollapsedDescriptorsWarning
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.evaluate import evaluate
from magnifier_jax.retrieval.metrics import Evaluation

__all__ = ["Blocks", "CollapsedDescriptorsWarning", "Evaluation", "evaluate"]
