"""The images of a gallery in memory, as searches and filters see them."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import UserError
from input_pipeline.identities.unknown import is_junk, is_unknown_camera
from magnifier_jax.gallery.results import Rows
from magnifier_jax.gallery.searcher import Searched, Searcher
from magnifier_jax.gallery.thresholds import verify_images
from magnifier_jax.gallery.where import Filter, Kind
from magnifier_jax.retrieval.descriptors import Metric, check_descriptors
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.labels import read_labels
from magnifier_jax.retrieval.measures.verification import Verification
from magnifier_jax.retrieval.search import Searchable

if TYPE_CHECKING:
    from magnifier_jax.gallery.gallery import Gallery


class MemoryImages:
    """The images of a `Gallery`.

    Attributes:
      metric: How descriptors are compared.
      notes: What the gallery notes.
    """

    def __init__(self, gallery: Gallery) -> None:
        self.metric: Metric = gallery.metric
        self.notes: Mapping[str, Any] = gallery.notes
        self._gallery = gallery

    def columns(self) -> dict[str, NDArray[np.object_]]:
        """What is known of images, by columns [N], with None for what is not."""
        gallery = self._gallery
        found = {"name": gallery.names.astype(object)}
        if gallery.identities is not None:
            labels = gallery.identities.tolist()
            found["identity"] = _objects(None if is_junk(label) else label for label in labels)
        if gallery.cameras is not None:
            cameras = gallery.cameras.tolist()
            found["camera"] = _objects(None if is_unknown_camera(one) else one for one in cameras)
        return found

    def check_filter(self, where: str) -> None:
        """Refuses a filter that cannot be read or does not fit."""
        self._passing(where)

    def searched(self, where: str | None) -> Searched:
        """What a search looks at: the images that a filter lets through."""
        only = None if where is None else self._passing(where)
        return Searched(self.default_searcher, only)

    @functools.cached_property
    def default_searcher(self) -> Searcher:
        """Searches all images; kept, as are the descriptors that it put on the devices."""
        return self.searcher(blocks=Blocks(), device_bytes=2**30)

    def searcher(self, *, blocks: Blocks, device_bytes: int) -> Searcher:
        """Searches all images; see `Gallery.searcher`."""
        gallery = self._gallery
        parts, shape = None, (0, 0)
        if gallery.parts is not None:
            flat = gallery.parts.reshape(len(gallery), -1)
            parts = Searchable(check_descriptors(flat, name="gallery part"), gallery.visible)
            shape = gallery.parts.shape[1:]
        return Searcher(
            whole=check_descriptors(gallery.descriptors, name="gallery"),
            parts=parts,
            parts_shape=shape,
            describe=self._rows,
            values_of=self._values,
            metric=self.metric,
            blocks=blocks,
            device_bytes=device_bytes,
        )

    def verify(self, *, rates: Sequence[float], most: int) -> Verification:
        """Thresholds from the gallery's own images; see `SearchableGallery.verify`."""
        gallery = self._gallery
        return verify_images(
            lambda rows: gallery.descriptors[rows],
            identities=gallery.identities,
            cameras=gallery.cameras,
            most=most,
            rates=rates,
            metric=self.metric,
        )

    def _rows(self, rows: NDArray[np.int64]) -> Rows:
        gallery = self._gallery
        return Rows(
            names=gallery.names[rows],
            identities=None if gallery.identities is None else gallery.identities[rows],
            cameras=None if gallery.cameras is None else gallery.cameras[rows],
        )

    def _passing(self, where: str) -> NDArray[np.bool_]:
        """Which images a filter lets through [N]."""
        columns = self.columns()
        kinds: dict[str, Kind] = {
            name: "text" if any(isinstance(value, str) for value in values) else "whole number"
            for name, values in columns.items()
        }
        return Filter.read(where, kinds).matches(columns)

    def _values(self, column: str) -> NDArray[Any]:
        known = self.columns()
        if column not in known:
            there = ", ".join(known)
            raise UserError(f"the gallery has no {column} to exclude by; it has {there}")
        return known[column]


def _objects(values: Iterable[Any]) -> NDArray[np.object_]:
    """Values [N] as objects, whatever they are."""
    return np.array([*values, None], object)[:-1]


def image_labels(values: ArrayLike, *, total: int, what: str, text: bool = False) -> NDArray[Any]:
    """Identities, cameras or ids of a gallery's images.

    Args:
      values: [N], as a caller gave them.
      total: Number of images, N.
      what: What they are, for messages.
      text: Whether they may be text.

    Returns:
      int64 or str [N].

    Raises:
      UserError: if they are something else, or not one for each image.
    """
    labels = read_labels(values, name=what, missing=what == "cameras")
    # Where one is missing, tables hold whole numbers as floating-point ones.
    if labels.dtype.kind == "f" and (abs(labels) < 2**53).all() and (labels % 1 == 0).all():
        labels = labels.astype(np.int64)
    if labels.shape != (total,) or labels.dtype.kind not in ("iuU" if text else "iu"):
        allowed = "whole numbers or text" if text else "whole numbers"
        raise UserError(f"{what} must be {total} of {allowed}, one for each image")
    if labels.dtype.kind == "U":
        return labels
    if labels.max() > np.iinfo(np.int64).max:
        raise UserError(
            f"{what} hold {labels.max()}, which is too large for a gallery; give them as text"
        )
    return labels.astype(np.int64)
