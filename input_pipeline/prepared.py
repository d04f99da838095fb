"""Prepared datasets: every picture of a split in a few files, with random access by number."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import hashlib
import os
import pathlib
import re
import shutil
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.samples import ReidDataset, Sample

_MAX_INT32 = np.iinfo(np.int32).max


@dataclasses.dataclass(frozen=True)
class EncodedSample:
    """A picture and its part map as stored.

    Attributes:
        image: 8-bit RGB, JPEG or PNG.
        part_map: 8-bit single-channel PNG of part classes, as large as the picture, or None.
    """

    image: bytes
    part_map: bytes | None


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedSplit:
    """One split, ready to be read by picture number. Safe to read from many threads.

    Attributes:
        identities: int32 `[n]`.
        cameras: int32 `[n]`.
        names: Path of every picture relative to the root of its dataset, `[n]`.
        labelled: Whether each picture has a part map, bool `[n]`.
        sources: Record sources that hold the pictures one after the other.
    """

    identities: np.ndarray
    cameras: np.ndarray
    names: tuple[str, ...]
    labelled: np.ndarray
    sources: tuple[Any, ...] = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.names)

    def read(self, ids: Sequence[int] | np.ndarray) -> list[EncodedSample]:
        """The encoded pictures and part maps of `ids` (positions in the split, any order)."""
        wanted = np.asarray(ids, np.int64)
        if wanted.size and (wanted.min() < 0 or wanted.max() >= len(self)):
            raise IndexError(f"ids must be 0 to {len(self) - 1}, got {wanted.min()}…{wanted.max()}")
        ends = np.cumsum([len(source) for source in self.sources])
        owners = np.searchsorted(ends, wanted, side="right")
        found: list[EncodedSample | None] = [None] * len(wanted)
        for owner in np.unique(owners):
            source = self.sources[owner]
            places = np.flatnonzero(owners == owner)
            local = wanted[places] - (ends[owner] - len(source))
            for place, record in zip(places, source.__getitems__(local.tolist()), strict=True):
                found[place] = EncodedSample(record["image"], record["part_map"] or None)
        return [sample for sample in found if sample is not None]

    def require_parts(self) -> None:
        """Raises a DataError unless every picture has a part map."""
        missing = np.flatnonzero(~self.labelled)
        if len(missing):
            raise DataError(
                f"{len(missing)} of {len(self)} pictures have no part map (the first is "
                f"{self.names[missing[0]]}): add part labels or train without the part branches"
            )


@dataclasses.dataclass(frozen=True, eq=False)
class PreparedDataset:
    """The prepared splits of a dataset; one without pictures has length 0."""

    name: str
    train: PreparedSplit
    query: PreparedSplit
    gallery: PreparedSplit


def is_prepared(dataset: ReidDataset, *, data_dir: str | os.PathLike[str]) -> bool:
    """Whether `prepare` would only open what is prepared already."""
    from input_pipeline.builder import ReidSplit

    try:
        return all(
            ReidSplit(data_dir=_split_folder(dataset, split, data_dir=data_dir)).exists
            for split in ("train", "query", "gallery")
            if getattr(dataset, split)
        )
    except (DataError, OSError):  # Something is not there or cannot be read.
        return False


def prepare(
    dataset: ReidDataset, *, data_dir: str | os.PathLike[str], progress: bool = True
) -> PreparedDataset:
    """Prepares what is not yet prepared, and opens the dataset.

    A split is written again only when a source file's name, size, time of change, identity or
    camera differs from what was prepared. An interrupted call continues with the first split that
    is not finished. Several processes may call this at once: one works, the others wait for it.

    Args:
        dataset: Any reader's output.
        data_dir: Folder of all prepared datasets, created when missing.
        progress: Whether to show progress bars.

    Returns:
        The dataset, its pictures in the order of the reader.

    Raises:
        DataError: If pictures or part maps are unusable, or `data_dir` cannot be written.
    """
    splits = {
        split: _prepare_split(
            samples,
            root=dataset.root,
            folder=_split_folder(dataset, split, data_dir=data_dir),
            name=f"{dataset.name} {split}",
            progress=progress,
        )
        for split, samples in (
            ("train", dataset.train),
            ("query", dataset.query),
            ("gallery", dataset.gallery),
        )
    }
    return PreparedDataset(dataset.name, **splits)


def concatenate(splits: Sequence[PreparedSplit], names: Sequence[str]) -> PreparedSplit:
    """Joins splits of several datasets into one, as a mixed training or test set.

    Identities and cameras of different splits never coincide afterwards: each split's are shifted
    past those of the splits before it. Picture names get the dataset's name as first folder.

    Args:
        splits: One or more splits.
        names: A name for each.

    Returns:
        One split; the pictures of `splits[0]` come first.
    """
    if not splits or len(splits) != len(names):
        raise ValueError(f"got {len(splits)} splits and {len(names)} names")
    return PreparedSplit(
        identities=_shifted([split.identities for split in splits]),
        cameras=_shifted([split.cameras for split in splits]),
        names=tuple(
            f"{name}/{picture}"
            for split, name in zip(splits, names, strict=True)
            for picture in split.names
        ),
        labelled=np.concatenate([split.labelled for split in splits]),
        sources=tuple(source for split in splits for source in split.sources),
    )


def _prepare_split(
    samples: Sequence[Sample],
    *,
    root: pathlib.Path,
    folder: pathlib.Path,
    name: str,
    progress: bool,
) -> PreparedSplit:
    if not samples:
        none = np.zeros(0, np.int32)
        return PreparedSplit(none, none, (), none.astype(bool), ())

    from input_pipeline.builder import ReidSplit

    builder = ReidSplit(data_dir=folder, name=name, root=root, samples=samples, progress=progress)
    if not builder.exists:
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with only_one(folder):
                if not builder.exists:
                    _remove_leftovers(folder)
                    builder.write()
        except OSError as error:
            raise DataError(
                f"cannot write the prepared dataset to {folder}: {error.strerror or error}; "
                "choose another data_dir or free some space"
            ) from error
        builder = ReidSplit(data_dir=folder)
    metadata = builder.info.metadata
    return PreparedSplit(
        identities=np.asarray(metadata["identities"], np.int32),
        cameras=np.asarray(metadata["cameras"], np.int32),
        names=tuple(metadata["names"]),
        labelled=np.asarray(metadata["labelled"], bool),
        sources=(builder.records(),),
    )


def _split_folder(
    dataset: ReidDataset, split: str, *, data_dir: str | os.PathLike[str]
) -> pathlib.Path:
    """Where this version of a split is prepared."""
    folder = pathlib.Path(data_dir).expanduser() / re.sub(r"[^\w.+-]+", "-", dataset.name)
    return folder / f"{split}-{_fingerprint(getattr(dataset, split), root=dataset.root)}"


def _fingerprint(samples: Sequence[Sample], *, root: pathlib.Path) -> str:
    """A short digest of everything that decides what a prepared split holds."""
    digest = hashlib.sha256()
    for sample in samples:
        if not 0 <= sample.identity <= _MAX_INT32 or not 0 <= sample.camera <= _MAX_INT32:
            raise DataError(
                f"{sample.path} has identity {sample.identity} and camera {sample.camera}: "
                f"both must be 0 to {_MAX_INT32}"
            )
        digest.update(f"{sample.identity} {sample.camera}\n".encode())
        for path in (sample.path, sample.part_map):
            digest.update(_state(path, root=root) if path is not None else b"-\n")
    return digest.hexdigest()[:16]


def _state(path: pathlib.Path, *, root: pathlib.Path) -> bytes:
    try:
        status = path.stat()
    except OSError as error:
        raise DataError(f"{path} cannot be read: {error.strerror}") from error
    name = os.path.relpath(path, root)
    return f"{name} {status.st_size} {status.st_mtime_ns}\n".encode("utf-8", "surrogateescape")


@contextlib.contextmanager
def only_one(folder: pathlib.Path) -> Iterator[None]:
    """Lets one process at a time work in `folder`; a killed process lets go by itself."""
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what a killed process was writing; nobody else writes while we hold the lock."""
    for leftover in folder.glob("*/incomplete.*"):
        shutil.rmtree(leftover)


def _shifted(arrays: Sequence[np.ndarray]) -> np.ndarray:
    shifted, offset = [], 0
    for values in arrays:
        shifted.append(values.astype(np.int64) + offset)
        if len(values):
            offset += int(values.max()) + 1
    joined = np.concatenate(shifted)
    if offset > _MAX_INT32:
        raise DataError("identity or camera numbers are too large to join these datasets")
    return joined.astype(np.int32)
