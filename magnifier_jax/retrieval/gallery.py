"""A gallery of described images that can be searched, changed, saved and exported."""

from __future__ import annotations

import dataclasses
import difflib
import functools
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from jax.typing import ArrayLike
from numpy.typing import NDArray

from input_pipeline.errors import UserError
from input_pipeline.files import open_whole
from magnifier_jax.retrieval.descriptors import Metric, check_descriptors
from magnifier_jax.retrieval.distances import Blocks
from magnifier_jax.retrieval.gallery_file import read_arrays
from magnifier_jax.retrieval.search import Searcher, SearchResult, check_parts

_FORMAT = 1
_TEXTS = ("format", "metric", "model", "notes")
_ENTRIES = (*_TEXTS, "descriptors", "names", "identities", "cameras", "parts", "visible")


@dataclasses.dataclass(frozen=True, eq=False)
class Gallery:
    """Images and their descriptors. Changing it gives a new one.

    Made by `Gallery.build`, which checks everything.

    Attributes:
      descriptors: float16 or float32 [N, D].
      names: str [N], all different; paths of the images, as a rule.
      identities: int64 or str [N], -1 where one is not known; None if none is.
      cameras: int64 [N], -1 where one is not known; None if none is.
      parts: float16 or float32 [N, P, E], an embedding of each part, or None.
      visible: bool [N, P], whether the part is seen; with `parts` only.
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
    metric: Metric
    model: str = ""
    notes: Mapping[str, Any] = dataclasses.field(default_factory=dict)

    @classmethod
    def build(
        cls,
        descriptors: ArrayLike,
        *,
        names: Sequence[str] | NDArray[np.str_],
        identities: ArrayLike | None = None,
        cameras: ArrayLike | None = None,
        parts: ArrayLike | None = None,
        visible: ArrayLike | None = None,
        metric: Metric = "euclidean",
        model: str = "",
        notes: Mapping[str, Any] | None = None,
    ) -> Gallery:
        """Checks what belongs to each image, and keeps it.

        Arrays are kept without a copy, for they can fill the memory: do not change them later.

        Args:
          descriptors: [N, D], floating.
          names: [N], all different.
          identities: [N], whole numbers or text; -1 for one that is not known.
          cameras: [N], whole numbers; -1 for one that is not known.
          parts: [N, P, E], floating.
          visible: [N, P], which goes with `parts`.
          metric: 'euclidean' or 'cosine'.
          model: Which model made the descriptors, if known.
          notes: JSON values to keep.

        Raises:
          UserError: if anything does not fit, is not finite, or a name is there twice.
        """
        checked = check_descriptors(descriptors, name="gallery")
        total = len(checked)
        texts = np.asarray(names, dtype=np.str_)
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
        return cls(
            descriptors=checked.parts[0],
            names=texts,
            identities=_labels(identities, total=total, what="identities", kinds="iuU"),
            cameras=_labels(cameras, total=total, what="cameras", kinds="iu"),
            parts=embeddings,
            visible=seen,
            metric=metric,
            model=model,
            notes=dict(notes or {}),
        )

    def __len__(self) -> int:
        """Number of images."""
        return len(self.descriptors)

    def add(self, other: Gallery) -> Gallery:
        """Both galleries, this one first.

        If their relative names start from different folders, these become part of the names.

        Raises:
          UserError: if a name is in both, or one has what the other lacks.
        """
        if self.metric != other.metric:
            raise UserError(f"a gallery for {self.metric} distance cannot take {other.metric} ones")
        if self.model != other.model:
            raise UserError(
                "the galleries were made by different models; describe one of them anew"
            )
        notes = {**other.notes, **self.notes}
        first, second = self.names, other.names
        if self.notes.get("images") != other.notes.get("images"):
            first, second = self._full_names(), other._full_names()
            notes.pop("images")
        joined: dict[str, Any] = {"names": np.concatenate([first, second])}
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
        return Gallery.build(metric=self.metric, model=self.model, notes=notes, **joined)

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

    def search(self, query: ArrayLike, *, top: int = 10) -> SearchResult:
        """The images most like each query; exact.

        The descriptors are kept on the devices between searches if they fit; `searcher` decides
        that and the memory that is used.

        Args:
          query: Descriptors [Nq, D], or one [D].
          top: How many; at most the whole gallery is returned.
        """
        return self._default_searcher.search(query, top=top)

    def search_parts(self, parts: ArrayLike, visible: ArrayLike, *, top: int = 10) -> SearchResult:
        """The images most like each query by the parts that both show.

        Distance is 1 − cosine, averaged over those parts, so that what a query hides does not
        count against an image. An image that shows none of them is infinitely far.

        Args:
          parts: Part embeddings of the queries [Nq, P, E].
          visible: Which parts each query shows [Nq, P].
          top: How many; at most the whole gallery is returned.
        """
        return self._default_searcher.search_parts(parts, visible, top=top)

    def searcher(self, *, blocks: Blocks | None = None, device_bytes: int = 2**30) -> Searcher:
        """Something that searches this gallery with a bound on memory.

        Args:
          blocks: How much is worked on at a time, and on which devices.
          device_bytes: A gallery up to this size is kept on each device between searches; a
            larger one passes through in blocks.
        """
        return Searcher(
            descriptors=self.descriptors,
            names=self.names,
            identities=self.identities,
            cameras=self.cameras,
            parts=self.parts,
            visible=self.visible,
            metric=self.metric,
            blocks=blocks or Blocks(),
            device_bytes=device_bytes,
        )

    @functools.cached_property
    def _default_searcher(self) -> Searcher:
        return self.searcher()

    def _arrays(self) -> dict[str, NDArray[Any] | None]:
        return {
            "descriptors": self.descriptors,
            "names": self.names,
            "identities": self.identities,
            "cameras": self.cameras,
            "parts": self.parts,
            "visible": self.visible,
        }

    def save(self, path: str | Path, *, dtype: Literal["float32", "float16"] = "float32") -> None:
        """Writes one `.npz` file, whole or not at all.

        Args:
          path: The file.
          dtype: Type of descriptors and part embeddings; 'float16' halves the file.

        Raises:
          UserError: if it cannot be written, or numbers are too large for the type.
        """
        if dtype not in ("float32", "float16"):
            raise UserError(f"a gallery is saved as float32 or float16, not {dtype}")
        arrays: dict[str, Any] = {
            name: value for name, value in self._arrays().items() if value is not None
        }
        for name in {"descriptors", "parts"} & set(arrays):
            with np.errstate(over="ignore"):
                arrays[name] = arrays[name].astype(dtype)
            if not np.isfinite(arrays[name]).all():
                raise UserError(f"some {name} are too large for {dtype}; save them as float32")
        target = Path(path)
        header = file_header(metric=self.metric, model=self.model, notes=self.notes)
        try:
            with open_whole(target) as file:
                np.savez(file, **header, **arrays)
        except OSError as error:
            raise _cannot_write(target, error) from error

    @classmethod
    def load(cls, path: str | Path) -> Gallery:
        """Reads what `save` wrote; arrays that galleries do not have are passed over.

        Raises:
          UserError: if the file is not there or is not a gallery.
        """
        wanted = "a gallery file that magnifier_jax.embed or Gallery.save made"
        fields = read_arrays(Path(path), only=_ENTRIES, wanted=wanted)
        texts = {name: fields.pop(name) for name in _TEXTS if name in fields}
        odd = [name for name, value in texts.items() if value.ndim]
        missing = [name for name in ("names", "descriptors") if name not in fields]
        missing += [name for name in ("format", "metric") if name not in texts]
        if missing or odd:
            what = f"has no {missing[0]}" if missing else f"has several values of {odd[0]}"
            raise UserError(f"{path} is not a gallery file, for it {what}; give {wanted}")
        if str(texts["format"]) != str(_FORMAT):
            found = f"of format {texts['format']}, not {_FORMAT}"
            raise UserError(f"{path} is a gallery file {found}; make it again")
        try:
            notes = json.loads(str(texts.get("notes", "{}")))
            if not isinstance(notes, dict):
                raise ValueError("its notes are not a JSON object")
            metric: Any = str(texts["metric"])
            model = str(texts.get("model", ""))
            return cls.build(**fields, metric=metric, model=model, notes=notes)
        except ValueError as error:
            raise UserError(f"{path} is a damaged gallery file: {error}") from error

    def export_vectors(self, folder: str | Path) -> None:
        """Writes plain arrays for FAISS or a vector database.

        `descriptors.npy` is float32 [N, D], `ids.npy` int64 [N] counts the rows, and `names.json`
        lists the image of each id. With Euclidean distance an index by L2 ranks as `search`
        does; with cosine the descriptors are written as unit vectors, for an index by inner
        product.

        Raises:
          UserError: if the folder cannot be written.
        """
        target = Path(folder)
        vectors = np.ascontiguousarray(self.descriptors, np.float32)
        if self.metric == "cosine":
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
        try:
            target.mkdir(parents=True, exist_ok=True)
            np.save(target / "descriptors.npy", vectors)
            np.save(target / "ids.npy", np.arange(len(self), dtype=np.int64))
            (target / "names.json").write_text(json.dumps(self.names.tolist(), indent=0))
        except OSError as error:
            raise _cannot_write(target, error) from error


def file_header(*, metric: Metric, model: str, notes: Mapping[str, Any]) -> dict[str, Any]:
    """The entries of a gallery file that are not one for each image; see `Gallery`."""
    return {
        "format": _FORMAT,
        "metric": metric,
        "model": model,
        "notes": json.dumps(dict(notes), ensure_ascii=False),
    }


def _labels(values: ArrayLike | None, *, total: int, what: str, kinds: str) -> NDArray[Any] | None:
    if values is None:
        return None
    labels = np.asarray(values)
    if labels.shape != (total,) or labels.dtype.kind not in kinds:
        allowed = "whole numbers or text" if "U" in kinds else "whole numbers"
        raise UserError(f"{what} must be {total} of {allowed}, one for each image")
    return labels if labels.dtype.kind == "U" else labels.astype(np.int64)


def _cannot_write(path: Path, error: OSError) -> UserError:
    return UserError(
        f"cannot write {path} ({error.strerror}); check its folder, its permissions and the disk"
    )
