"""What a search page asks of a gallery: what it holds, and the images nearest to a query."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from magnifier_jax.gallery import Gallery
from magnifier_jax.retrieval.descriptors import Metric
from magnifier_jax.serve.catalog.entries import Entries, Entry, Filters

By = Literal["image", "parts"]
_FIRST, _GROWTH = 64, 4  # rows looked at, so that few sizes are compiled


@dataclasses.dataclass(frozen=True)
class Match:
    """An entry and how far it is from the query."""

    entry: Entry
    distance: float


@dataclasses.dataclass(frozen=True, eq=False)
class Vectors:
    """What is compared, of n images.

    Attributes:
        descriptors: float32 `[n, D]`.
        parts: Part embeddings `[n, P, E]`, or None.
        visible: Which parts each shows, bool `[n, P]`, with `parts` only.
    """

    descriptors: NDArray[np.floating]
    parts: NDArray[np.floating] | None = None
    visible: NDArray[np.bool_] | None = None


class Catalog(Protocol):
    """A gallery as the page sees it."""

    model: str
    """Which network made the descriptors."""
    metric: Metric
    notes: Mapping[str, Any]
    """What else the gallery notes; see `Gallery.notes`."""
    width: int
    """Numbers in a descriptor."""
    parts: int
    """Body parts with an embedding, the background among them; 0 is none."""

    @property
    def entries(self) -> Entries:
        """What is known of its images now."""
        ...

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """What is compared, of entries of these rows."""
        ...

    def nearest(
        self, vectors: Vectors, filters: Filters, *, by: By, top: int
    ) -> list[tuple[Match, ...]]:
        """The entries most like each of n queries, nearest first.

        Args:
            vectors: The queries.
            filters: What is searched; their `name` does not count.
            by: Whether whole images or the parts that both show are compared.
            top: Matches of each query, at most. Entries without a part in common are none.

        Raises:
            UserError: The gallery or a query has no parts to compare.
        """
        ...


class MemoryCatalog:
    """A gallery in memory, as of a `.npz` file."""

    def __init__(self, gallery: Gallery) -> None:
        self.gallery = gallery
        self.model: str = gallery.model
        self.metric: Metric = gallery.metric
        self.notes: Mapping[str, Any] = gallery.notes
        self.width = int(gallery.descriptors.shape[1])
        self.parts = 0 if gallery.parts is None else int(gallery.parts.shape[1])
        self.entries = Entries(
            gallery.names.tolist(),
            identities=None if gallery.identities is None else gallery.identities.tolist(),
            cameras=None if gallery.cameras is None else gallery.cameras.tolist(),
        )

    def vectors(self, rows: Sequence[int]) -> Vectors:
        """As `Catalog.vectors`."""
        parts, visible = self.gallery.parts, self.gallery.visible
        return Vectors(
            np.asarray(self.gallery.descriptors[rows], np.float32),
            None if parts is None else np.asarray(parts[rows], np.float32),
            None if visible is None else visible[rows],
        )

    def nearest(
        self, vectors: Vectors, filters: Filters, *, by: By, top: int
    ) -> list[tuple[Match, ...]]:
        """As `Catalog.nearest`."""
        count = len(self.entries)
        passing = self.entries.passing(dataclasses.replace(filters, name=""))
        wanted = min(top, int(np.count_nonzero(passing)))
        if not wanted:
            return [()] * len(vectors.descriptors)
        looked = _FIRST
        while looked < 2 * wanted:
            looked *= _GROWTH
        while True:
            # Rows that do not pass take places too, so more are looked at until enough pass.
            looked = min(looked, count)
            if by == "image":
                found = self.gallery.search(vectors.descriptors, top=looked)
            elif vectors.parts is None:
                raise UserError("The query has no part embeddings: search by the whole image.")
            else:
                found = self.gallery.search_parts(vectors.parts, vectors.visible, top=looked)
            kept = passing[found.indices]
            if looked == count or int(kept.sum(axis=1).min()) >= wanted:
                break
            looked *= _GROWTH
        return [
            self._matches(found.indices[i][kept[i]], found.distances[i][kept[i]], wanted)
            for i in range(len(found.indices))
        ]

    def _matches(
        self, rows: NDArray[Any], distances: NDArray[Any], wanted: int
    ) -> tuple[Match, ...]:
        return tuple(
            Match(self.entries.entry(row), distance)
            for row, distance in zip(rows[:wanted].tolist(), distances.tolist(), strict=False)
            if np.isfinite(distance)
        )
