"""Ranking, re-ranking and search with descriptors from any model.

Everything is exact, runs on all devices, and never holds the full distance matrix.
"""

from magnifier_jax.retrieval.descriptors import CollapsedDescriptorsWarning, RetrievalWarning
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.expansion import QueryExpansion, expand_queries
from magnifier_jax.retrieval.gallery import Gallery
from magnifier_jax.retrieval.gallery_file import file_header, seal
from magnifier_jax.retrieval.labels import SelfMatchWarning, SpellingWarning
from magnifier_jax.retrieval.metrics import Evaluation
from magnifier_jax.retrieval.ranking import SingleShot, evaluate
from magnifier_jax.retrieval.reranking import DistanceBlock, ReRanking, rerank
from magnifier_jax.retrieval.search import Searcher, SearchResult
from magnifier_jax.retrieval.verification import OperatingPoint, Verification, verify

__all__ = [
    "Blocks",
    "CollapsedDescriptorsWarning",
    "DistanceBlock",
    "Evaluation",
    "Gallery",
    "OperatingPoint",
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
    "expand_queries",
    "file_header",
    "rerank",
    "seal",
    "verify",
]
