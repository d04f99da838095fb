"""A gallery of embedded images that can be searched, changed, saved and exported."""

from __future__ import annotations

import dataclasses
import difflib
import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from input_pipeline.errors import DataError, UserError
from input_pipeline.files import claim_output, open_whole, user_path, writing
from magnifier_jax.gallery.memory import MemoryImages, image_labels
from magnifier_jax.gallery.npz import file_header, read_gallery, write_arrays, write_plain
from magnifier_jax.gallery.results import SearchResult
from magnifier_jax.gallery.searcher import SearchableGallery, Searcher
from magnifier_jax.gallery.thresholds import (
    with_thresholds,
)
from magnifier_jax.retrieval.descriptors import (
    Embedded,
    Metric,
    Vectors,
    check_descriptors,
    check_parts,
    unit_rows,
)
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.measures.verification import Verification

if TYPE_CHECKING:
    from magnifier_jax.gallery.store import GalleryStore


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery(SearchableGallery):
    """Images and their descriptors. Changing it gives a new one.

    Made by `Gallery.build`, which checks everything.

    Attributes:
      descriptors: float16 or float32 [N, D].
      names: str [N], all different; paths of the images, as a rule.
      identities: int64 or str [N], -1 where one is not known; None if none is.
      cameras: int64 [N], -1 where one is not known; None if none is.
      parts: float16 or float32 [N, P, E], an embedding of each part, or None.
      visible: bool [N, P], whether the part is seen; with `parts` only.
      ids: int64 [N], all different: numbers for an index outside, such as one of FAISS. An image
        keeps its number when others are added or removed.
      next_id: The number that the next image will get; never one that was given before.
      metric: How descriptors are compared.
      model: Which model made the descriptors, as any text that is the same for the same model;
        empty if it is not known. Galleries of different models cannot be joined.
      notes: What else is worth keeping, as JSON values. `images`, if it is there, is the folder
        that relative names start from.
    """

    descriptors: NDArray[np.floating]
    names: NDArray[np.str_]
    identities: NDArray[np.int64] | NDArray[np.str_] | None
    cameras: NDArray[np.int64] | None
    parts: NDArray[np.floating] | None
    visible: NDArray[np.bool_] | None
    ids: NDArray[np.int64]
    next_id: int
    metric: Metric
    model: str = ""
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    def __repr__(self) -> str:
        """Shapes instead of numbers."""
        shapes = [
            f"{name} {list(array.shape)}"
            for name in ("descriptors", "parts", "identities", "cameras")
            if (array := getattr(self, name)) is not None
        ]
        return f"Gallery({', '.join(shapes)}, metric={self.metric!r})"

    @classmethod
    def build(
        cls,
        found: Vectors,
        *,
        names: Sequence[str] | NDArray[np.str_],
        identities: ArrayLike | None = None,
        cameras: ArrayLike | None = None,
        parts: ArrayLike | None = None,
        visible: ArrayLike | None = None,
        ids: ArrayLike | None = None,
        next_id: int | None = None,
        metric: Metric = "euclidean",
        model: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> Gallery:
        """Checks what belongs to each image, and keeps it.

        Descriptors and parts are kept without a copy, for they can fill the memory: do not change
        them later. All else is copied.

        Args:
          found: Descriptors [N, D], floating, or embeddings that have them.
          names: [N], all different.
          identities: [N], whole numbers or text; -1 for one that is not known. Text is kept in one
            Unicode spelling.
          cameras: [N], whole numbers; -1 or None for one that is not known.
          parts: [N, P, E], floating; those of the embeddings if not given.
          visible: [N, P], which goes with `parts`.
          ids: int64 [N], all different; counted from 0 if not given.
          next_id: Above all ids; the one after the largest if not given.
          metric: 'euclidean' or 'cosine'.
          model: Which model made the descriptors, if known.
          notes: JSON values to keep.

        Raises:
          UserError: if anything does not fit, is not finite, or a name is there twice.
        """
        checked = check_descriptors(found, name="gallery")
        total = len(checked)
        if parts is None and visible is None:
            parts, visible = getattr(found, "parts", None), getattr(found, "visible", None)
        texts = np.array(names, dtype=np.str_)
        if texts.shape != (total,):
            raise UserError(f"a gallery of {total} descriptors needs {total} names")
        unique, counts = np.unique(texts, return_counts=True)
        if len(unique) < total:
            raise UserError(f"the name {str(unique[counts > 1][0])!r} is in the gallery twice")
        if (parts is None) != (visible is None):
            raise UserError("part embeddings and visible parts must be given together")
        if metric not in ("euclidean", "cosine"):
            raise UserError(f"unknown metric {metric!r}; choose 'euclidean' or 'cosine'")
        embeddings, seen = None, None
        if parts is not None and visible is not None:
            embeddings, seen = check_parts(parts, visible, total=total, name="gallery")
        numbers = image_labels(np.arange(total) if ids is None else ids, total=total, what="ids")
        after = int(numbers.max()) + 1 if next_id is None else int(next_id)
        if len(np.unique(numbers)) < total or numbers.min() < 0:
            raise UserError(f"ids must be {total} different whole numbers, not below 0")
        if after <= numbers.max():
            raise UserError(f"next_id must be above all ids, not {after}")
        return cls(
            descriptors=checked.parts[0],
            names=texts,
            identities=None
            if identities is None
            else image_labels(identities, total=total, what="identities", text=True),
            cameras=None if cameras is None else image_labels(cameras, total=total, what="cameras"),
            parts=embeddings,
            visible=seen,
            ids=numbers,
            next_id=after,
            metric=metric,
            model=model,
            notes=dict(notes or {}),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.descriptors)

    def add(self, other: Gallery) -> Gallery:
        """Both galleries, this one first.

        The other's images get new ids. If their relative names start from different folders, these
        become part of the names.

        Raises:
          UserError: if a name is in both, or one has what the other lacks.
        """
        if self.metric != other.metric:
            raise UserError(f"a gallery for {self.metric} distance cannot take {other.metric} ones")
        if self.model != other.model:
            raise UserError(
                "the galleries were made by different models; embed the images of one again"
            )
        notes = {**other.notes, **self.notes}
        first, second = self.names, other.names
        if self.notes.get("images") != other.notes.get("images"):
            first, second = self._full_names(), other._full_names()
            notes.pop("images")
        joined: dict[str, Any] = {
            "names": np.concatenate([first, second]),
            "ids": np.concatenate([self.ids, self.next_id + np.arange(len(other))]),
            "next_id": self.next_id + len(other),
        }
        for field in ("descriptors", "identities", "cameras", "parts", "visible"):
            mine, theirs = getattr(self, field), getattr(other, field)
            if (mine is None) != (theirs is None):
                raise UserError(f"only one of the two galleries has {field}; they cannot be joined")
            if mine is None:
                continue
            if (mine.dtype.kind == "U") != (theirs.dtype.kind == "U"):
                raise UserError(
                    f"the {field} of one gallery are text and those of the other are numbers; "
                    "they cannot be joined"
                )
            if mine.shape[1:] != theirs.shape[1:]:
                raise UserError(
                    f"{field} have shape {list(mine.shape)} and {list(theirs.shape)}; "
                    "both galleries must come from the same model"
                )
            joined[field] = np.concatenate([mine, theirs])
        return Gallery.build(
            joined.pop("descriptors"), metric=self.metric, model=self.model, notes=notes, **joined
        )

    def _full_names(self) -> NDArray[np.str_]:
        """Names that do not depend on the folder in the notes."""
        folder = self.notes.get("images")
        if folder is None:
            return self.names
        return np.array([str(Path(folder) / name) for name in self.names.tolist()], np.str_)

    def remove(self, names: Sequence[str]) -> Gallery:
        """The gallery without the images of these names.

        Raises:
          UserError: if a name is not there, or nothing would be left.
        """
        unknown = np.setdiff1d(np.asarray(names, dtype=np.str_), self.names)
        if len(unknown):
            near = difflib.get_close_matches(str(unknown[0]), self.names.tolist(), n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise UserError(f"{str(unknown[0])!r} is not in the gallery{hint}")
        kept = np.flatnonzero(~np.isin(self.names, names))
        if not len(kept):
            raise UserError("removing these images would leave the gallery empty")
        fields: dict[str, Any] = {
            name: None if value is None else value[kept] for name, value in self._arrays().items()
        }
        return dataclasses.replace(self, **fields)

    @classmethod
    def open(cls, place: str | Path, **settings: Any) -> GalleryStore:
        """A gallery on disk or in object storage that grows; see `GalleryStore.open`.

        Raises:
          UserError: if Lance is not installed, or there is no such gallery.
        """
        return _stores().open(place, **settings)

    @classmethod
    def stores(cls, place: str | Path, **settings: Any) -> list[GalleryStore]:
        """Everything in a gallery that grows, apart for each network; see `GalleryStore.open`.

        Raises:
          UserError: if Lance is not installed, or the place cannot be a gallery.
        """
        return _stores().every(place, **settings)

    def known(self, column: str) -> dict[str, Any]:
        """What a column says of each image, by its name; empty if there is no such column.

        Args:
          column: `name`, `identity` or `camera`.
        """
        values = self._images().columns().get(column)
        return {} if values is None else dict(zip(self.names.tolist(), values, strict=True))

    def search_parts(
        self,
        parts: ArrayLike | Embedded,
        visible: ArrayLike | None = None,
        *,
        top: int = 10,
        exclude: Mapping[str, ArrayLike] | None = None,
        max_distance: float | None = None,
    ) -> SearchResult:
        """The images most like each query by the parts that both show.

        Distance is 1 − cosine, averaged over those parts, so that what a query hides does not
        count against an image. An image that shows none of them is infinitely far.

        Args:
          parts: Part embeddings of the queries [Nq, P, E], or embeddings that have them.
          visible: Which parts each query shows [Nq, P]; those of the embeddings if not given.
          top: Number of matches k for each query; at most the whole gallery.
          exclude: As for `search`.
          max_distance: As for `search`.

        Returns:
          Indices, distances and names [Nq, k], nearest first; identities and cameras where known.

        Raises:
          UserError: if the gallery or the query has no part embeddings, or they do not fit.
        """
        return self._images().default_searcher.search_parts(
            parts, visible, top=top, exclude=exclude, max_distance=max_distance
        )

    def with_thresholds(self, found: Verification) -> Gallery:
        """The gallery with the thresholds of a verification, for `search(fpr=…)`."""
        return dataclasses.replace(self, notes=with_thresholds(self.notes, found))

    def searcher(self, *, blocks: Blocks | None = None, device_bytes: int = 2**30) -> Searcher:
        """Something that searches this gallery with a bound on memory.

        Args:
          blocks: How much is worked on at a time, and on which devices.
          device_bytes: A gallery up to this size is kept on each device between searches; a
            larger one passes through in blocks.
        """
        return self._images().searcher(blocks=blocks or Blocks(), device_bytes=device_bytes)

    def _images(self) -> MemoryImages:
        return self._searched_images

    @functools.cached_property
    def _searched_images(self) -> MemoryImages:
        return MemoryImages(self)

    def _arrays(self) -> dict[str, NDArray[Any] | None]:
        return {
            "descriptors": self.descriptors,
            "names": self.names,
            "identities": self.identities,
            "cameras": self.cameras,
            "parts": self.parts,
            "visible": self.visible,
            "ids": self.ids,
        }

    def save(self, path: str | Path, *, dtype: Literal["float32", "float16"] = "float32") -> None:
        """Writes one `.npz` file with a checksum, whole or not at all; an old one is replaced.

        Args:
          path: The file; missing folders above it are made.
          dtype: Type of descriptors and part embeddings; 'float16' halves the file.

        Raises:
          UserError: if it cannot be written, another process is writing it, or numbers are too
            large for the type.
        """
        if dtype not in ("float32", "float16"):
            raise UserError(f"a gallery is saved as float32 or float16, not {dtype}")
        arrays: dict[str, Any] = {
            name: value for name, value in self._arrays().items() if value is not None
        }
        for name in {"descriptors", "parts"} & set(arrays):
            with np.errstate(over="ignore"):
                arrays[name] = arrays[name].astype(dtype, copy=False)
            if not np.isfinite(arrays[name]).all():
                raise UserError(f"some {name} are too large for {dtype}; save them as float32")
        if self.next_id == len(self):
            del arrays["ids"]  # They count the rows, as in files of before.
        else:
            arrays["next_id"] = self.next_id
        header = file_header(metric=self.metric, model=self.model, notes=self.notes)
        with (
            claim_output(path, force=True) as target,
            writing(target),
            open_whole(target) as file,
        ):
            write_arrays(file, {**header, **arrays})

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Reads what `save` wrote; arrays that galleries do not have are passed over.

        Raises:
          UserError: if the file is not there.
          DataError: if it is damaged or is not a gallery.
        """
        fields = read_gallery(user_path(path))
        try:
            return cls.build(fields.pop("descriptors"), **fields)
        except (ValueError, TypeError, OverflowError) as error:
            raise DataError(f"{path} is a damaged gallery file: {error}") from error

    def export_vectors(self, folder: str | Path) -> None:
        """Writes plain arrays for FAISS or a vector database.

        `descriptors.npy` is float32 [N, D], `ids.npy` int64 [N] holds the images' ids, and
        `names.json` lists the image of each id: null where an image was removed, for ids stay as
        they were. With Euclidean distance an index by L2 ranks as `search` does; with cosine the
        descriptors are written as unit vectors, for an index by inner product.

        Raises:
          UserError: if the folder cannot be written, another process is writing it, or the ids
            are too far apart for such a list.
        """
        write_plain(
            folder,
            unit_rows if self.metric == "cosine" else lambda rows: rows,
            descriptors=self.descriptors,
            names=self.names,
            ids=self.ids,
            next_id=self.next_id,
        )


def _stores() -> type[GalleryStore]:
    """What opens galleries that grow, for those who have installed what they need."""
    try:
        from magnifier_jax.gallery.store import GalleryStore
    except ImportError as error:
        raise UserError(
            "Galleries that grow need Lance: install it with "
            "`python -m pip install 'magnifier_jax[gallery]'`."
        ) from error
    return GalleryStore
