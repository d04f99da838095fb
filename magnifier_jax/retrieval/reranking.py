"""Re-ranking by k-reciprocal encoding, in memory proportional to N·k instead of N².

Zhong et al., "Re-ranking Person Re-identification with k-reciprocal Encoding", CVPR 2017. An image
is encoded by weights on its reciprocal neighbors; two images are as far apart as their weights
overlap little (Jaccard distance), mixed with their original distance.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import numpy as np
import scipy.sparse
from jax.sharding import Mesh
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.retrieval.descriptors import (
    Descriptors,
    Metric,
    Vectors,
    check_descriptors,
    join,
)
from magnifier_jax.retrieval.distances import (
    Blocks,
    Layout,
    Plan,
    RowBlock,
    precision,
    stream_rows,
)
from magnifier_jax.retrieval.neighbors import (
    Neighbors,
    SquaredTerms,
    find_neighbors,
    reciprocal_sets,
)
from magnifier_jax.retrieval.spacing import align

_OVERLAPS_AT_ONCE = 2**21
_PAIR_BYTES = 2**25


@dataclasses.dataclass(frozen=True)
class ReRanking:
    """Settings of k-reciprocal re-ranking; the defaults are those of the paper.

    Attributes:
      k1: Neighbors among which reciprocal ones are looked for; more than there are images means
        all of them. Memory grows with N·k1.
      k2: Neighbors over whose encodings an image's own is averaged; 1 for none.
      original_weight: λ, the share of the original distance, 0 to 1.
      held_bytes: Query-to-gallery distances up to this size are kept from the first pass, larger
        ones are computed a second time; on a CPU up to as much again is kept of products that are
        needed twice.
    """

    k1: int = 20
    k2: int = 6
    original_weight: float = 0.3
    held_bytes: int = 2**28

    def __post_init__(self) -> None:
        if self.held_bytes < 0:
            raise UserError(f"held_bytes must be at least 0, not {self.held_bytes}")
        if self.k1 < 1 or self.k2 < 1:
            raise UserError(f"k1 and k2 must be at least 1, not {self.k1} and {self.k2}")
        if not 0 <= self.original_weight <= 1:
            raise UserError(f"original_weight must be within 0 and 1, not {self.original_weight}")


@dataclasses.dataclass(frozen=True)
class DistanceBlock:
    """Distances of some queries to the whole gallery.

    Attributes:
      start: Index of the first query.
      values: [B, Ng], float32, or float64 where that was needed to tell descriptors apart.
    """

    start: int
    values: NDArray[np.floating]


def rerank(
    query: Vectors,
    gallery: Vectors,
    *,
    settings: ReRanking | None = None,
    metric: Metric = "euclidean",
    blocks: Blocks | None = None,
) -> Iterator[DistanceBlock]:
    """Yields re-ranked distances of one block of queries after the other.

    Args:
      query: Descriptors [Nq, D].
      gallery: Descriptors [Ng, D].
      settings: k1, k2 and λ.
      metric: Original distance: squared Euclidean, or the same between unit vectors ('cosine').
      blocks: How much is worked on at a time, and on which devices.

    Yields:
      The first query's index and the distances `values` [B, Ng] of B queries at a time, in order.

    Raises:
      UserError: for descriptors that cannot be compared.
    """
    queries = check_descriptors(query, name="query")
    candidates = check_descriptors(gallery, name="gallery")
    queries, candidates = align(queries, candidates, metric=metric)
    stream = rerank_descriptors(
        queries,
        candidates,
        settings=settings or ReRanking(),
        metric=metric,
        blocks=blocks or Blocks(),
    )
    return _within_precision(stream, queries.dtype)


def _within_precision(
    stream: Iterator[DistanceBlock], dtype: np.dtype[np.floating]
) -> Iterator[DistanceBlock]:
    """The same blocks, without changing JAX's precision for whoever reads them."""
    while True:
        with precision(dtype):
            block = next(stream, None)
        if block is None:
            return
        yield block


def rerank_descriptors(
    query: Descriptors,
    gallery: Descriptors,
    *,
    settings: ReRanking,
    metric: Metric,
    blocks: Blocks,
) -> Iterator[DistanceBlock]:
    """As `rerank`, of descriptors from `align`; for float64 the caller is within `precision`."""
    everyone = join(query, gallery)
    mesh = blocks.mesh()
    keeper = _QueryRows(query, gallery, settings=settings)
    plan = Plan.make(everyone, blocks=blocks, mesh=mesh, kept_bytes=settings.held_bytes)
    neighbors = find_neighbors(
        everyone,
        k=min(max(settings.k1 + 1, settings.k2), len(everyone)),
        metric=metric,
        plan=plan,
        mesh=mesh,
        look=keeper.look,
    )
    encodings = _encode(everyone, neighbors, settings=settings, metric=metric)
    overlaps = _Overlaps(encodings, queries=len(query))
    terms = SquaredTerms.of(query, metric=metric)
    weight = query.dtype.type(settings.original_weight)
    for block in keeper.rows(metric=metric, blocks=blocks, mesh=mesh):
        for start, shared in overlaps.stream(block.start, stop=block.start + len(block.values)):
            chosen = slice(start, start + len(shared))
            values = block.values[start - block.start :][: len(shared)]
            squared = terms.shift[chosen, None] + terms.scale[chosen, None] * values
            np.maximum(squared, 0, out=squared)
            squared *= (weight / neighbors.farthest[chosen])[:, None]
            # Jaccard distance of weights that sum to 1: 1 − shared / (2 − shared).
            np.divide(shared, 2 - shared, out=shared)
            squared += (1 - weight) * (1 - shared)
            yield DistanceBlock(start=start, values=squared)


class _QueryRows:
    """Distances of the queries to the gallery: kept from the first pass, or computed again."""

    def __init__(self, query: Descriptors, gallery: Descriptors, *, settings: ReRanking) -> None:
        self._query, self._gallery = query, gallery
        bytes_of_all = query.dtype.itemsize * len(query) * len(gallery)
        self._hold = bytes_of_all <= settings.held_bytes
        self._held: list[DistanceBlock] = []

    def look(self, block: RowBlock) -> None:
        queries = min(block.count, len(self._query) - block.start)
        if self._hold and queries > 0:
            first = len(self._query)
            columns = slice(first, first + len(self._gallery))
            values = np.asarray(block.values)[:queries, columns].copy()
            self._held.append(DistanceBlock(start=block.start, values=values))

    def rows(self, *, metric: Metric, blocks: Blocks, mesh: Mesh) -> Iterator[DistanceBlock]:
        if self._hold:
            yield from self._held
            return
        layout = Layout.plan(self._query, self._gallery, blocks=blocks, mesh=mesh)
        stream = stream_rows(self._query, self._gallery, metric=metric, layout=layout, mesh=mesh)
        for block in stream:
            values = np.asarray(block.values)[: block.count, : len(self._gallery)]
            yield DistanceBlock(start=block.start, values=values)


def _encode(
    everyone: Descriptors,
    neighbors: Neighbors,
    *,
    settings: ReRanking,
    metric: Metric,
) -> scipy.sparse.csr_array:
    """Weights of every image on its reciprocal neighbors: sparse [N, N]."""
    total = len(everyone)
    near = neighbors.indices[:, : settings.k1 + 1]
    # Halves are rounded to even, as the published numbers were made.
    half = min(round(settings.k1 / 2) + 1, near.shape[1])
    starts, members = reciprocal_sets(near, half=half)
    squared = _member_distances(everyone, neighbors, starts, members, metric=metric)
    rows = np.repeat(np.arange(total), np.diff(starts))
    weights = np.exp(-squared / neighbors.farthest[rows])
    # An image with more than k1 exact copies may have no reciprocal neighbor, and no weights.
    sums = np.bincount(rows, weights=weights, minlength=total).astype(everyone.dtype)
    weights /= sums[rows]
    encodings = scipy.sparse.csr_array((weights, members, starts), shape=(total, total))
    if settings.k2 == 1:
        return encodings
    near = neighbors.indices[:, : settings.k2]
    share = np.full(near.size, 1 / near.shape[1], everyone.dtype)
    ends = np.arange(0, near.size + 1, near.shape[1])
    return scipy.sparse.csr_array((share, near.reshape(-1), ends), shape=(total, total)) @ encodings


def _member_distances(
    everyone: Descriptors,
    neighbors: Neighbors,
    starts: NDArray[np.int64],
    members: NDArray[np.int32],
    *,
    metric: Metric,
) -> NDArray[np.floating]:
    """Squared distance from each image to each of its members [M]."""
    total = len(everyone)
    rows = np.repeat(np.arange(total), np.diff(starts))
    squared = np.full(len(members), np.nan, everyone.dtype)
    order = np.argsort(neighbors.indices, axis=1)
    listed = np.take_along_axis(neighbors.indices, order, axis=1)
    keys = (np.arange(total)[:, None] * total + listed).reshape(-1)
    distances = np.take_along_axis(neighbors.squared, order, axis=1).reshape(-1)
    for wanted in (rows * total + members, members * np.int64(total) + rows):
        place = np.minimum(np.searchsorted(keys, wanted), len(keys) - 1)
        known = keys[place] == wanted
        squared[known] = distances[place[known]]
    missing = np.flatnonzero(np.isnan(squared))
    squared[missing] = _pair_distances(everyone, rows[missing], members[missing], metric=metric)
    return squared


def _pair_distances(
    everyone: Descriptors,
    first: NDArray[np.integer],
    second: NDArray[np.integer],
    *,
    metric: Metric,
) -> NDArray[np.floating]:
    """Squared distances of single pairs of images [n]."""
    product = np.empty(len(first), everyone.dtype)
    step = max(1, _PAIR_BYTES // (8 * everyone.width))
    for start in range(0, len(first), step):
        chosen = slice(start, start + step)
        one, other = everyone.take(first[chosen]), everyone.take(second[chosen])
        np.einsum("nd,nd->n", one, other, out=product[chosen])
    terms = SquaredTerms.of(everyone, metric=metric)
    if metric == "euclidean":
        row = everyone.squared_norms[second] - 2 * product
    else:
        row = -product * terms.scale[second] / 2
    return np.maximum(terms.shift[first] + terms.scale[first] * row, 0)


class _Overlaps:
    """How much the encodings of queries share with those of the gallery."""

    def __init__(self, encodings: scipy.sparse.csr_array, *, queries: int) -> None:
        self._query = encodings[:queries]
        # For each neighbor, the gallery images that have a weight on it.
        self._holders = encodings[queries:].T.tocsr()
        self._gallery = encodings.shape[0] - queries
        counts = np.diff(self._holders.indptr)[self._query.indices]
        self._before = np.concatenate([[0], np.cumsum(counts, dtype=np.int64)])

    def stream(self, start: int, *, stop: int) -> Iterator[tuple[int, NDArray[np.floating]]]:
        """Yields (first query, Σ min of weights [B, Ng]) for queries `start : stop`."""
        work = self._before[self._query.indptr]
        while start < stop:
            end = int(np.searchsorted(work, work[start] + _OVERLAPS_AT_ONCE, side="right")) - 1
            end = min(max(end, start + 1), stop)
            yield start, self._shared(start, end)
            start = end

    def _shared(self, start: int, end: int) -> NDArray[np.floating]:
        query, holders = self._query, self._holders
        entries = slice(query.indptr[start], query.indptr[end])
        columns = query.indices[entries]
        first = holders.indptr[columns]
        counts = holders.indptr[columns + 1] - first
        before = self._before[query.indptr[start] : query.indptr[end]] - self._before[entries.start]
        places = np.arange(counts.sum()) + np.repeat(first - before, counts)
        shared = np.minimum(holders.data[places], np.repeat(query.data[entries], counts))
        ends = self._before[query.indptr[start : end + 1]] - self._before[entries.start]
        # Entries of the same gallery image are added up as the array is made dense.
        return scipy.sparse.csr_array(
            (shared, holders.indices[places], ends), shape=(end - start, self._gallery)
        ).toarray()
