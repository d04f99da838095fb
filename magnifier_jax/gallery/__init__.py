"""Galleries of embedded images: in memory and `.npz` files, or in stores that grow.

Built on `magnifier_jax.retrieval`, which compares descriptors and knows nothing of galleries.
"""

from magnifier_jax.gallery.gallery import Gallery
from magnifier_jax.gallery.npz import file_header, seal
from magnifier_jax.gallery.results import SearchResult
from magnifier_jax.gallery.searcher import Searcher

__all__ = ["Gallery", "SearchResult", "Searcher", "file_header", "seal"]
