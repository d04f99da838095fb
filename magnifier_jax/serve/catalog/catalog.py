"""What a search page asks of a gallery: what it holds, and the images nearest to a query."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, Literal, Protocol

import numpy as np
from numpy.typing import NDArray

from magnifier_jax.retrieval.descriptors import Metric
from magnifier_jax.serve.catalog.entries import Entries, Entry, Filters

By = Literal["image", "parts"]


@dataclasses.dataclass(frozen=True)
class Match:
    """An entry, how far it is from the query, and how many images it stands for."""

    entry: Entry
    distance: float
    images: int = 1


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


def stacked(images: Sequence[Vectors]) -> Vectors:
    """Of several images, with parts if all have them."""
    parts = [one.parts for one in images if one.parts is not None]
    visible = [one.visible for one in images if one.visible is not None]
    whole = len(parts) == len(visible) == len(images)
    return Vectors(
        np.concatenate([one.descriptors for one in images]),
        np.concatenate(parts) if whole else None,
        np.concatenate(visible) if whole else None,
    )


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

    @property
    def has_tracklets(self) -> bool:
        """Whether it seems to know tracklets; found out without reading its vectors."""
        ...

    @property
    def tracklets(self) -> Tracklets | None:
        """Its tracklets, to be searched rather than its images; None if none is known."""
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


class Tracklets(Protocol):
    """The tracklets of a gallery, each an entry that is named after its first image."""

    def __len__(self) -> int:
        """Number of tracklets, and of images that belong to none."""
        ...

    def vectors(self, numbers: Sequence[str]) -> Vectors:
        """What is compared, of the tracklets of images of these ids.

        Raises:
            UserError: There is no such image.
        """
        ...

    def nearest(
        self, vectors: Vectors, filters: Filters, *, by: By, top: int
    ) -> list[tuple[Match, ...]]:
        """As `Catalog.nearest`. A tracklet passes if its first image does.

        The whole tracklet of an image that the filters leave out is left out.
        """
        ...
