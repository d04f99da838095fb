"""The training and test sets that a configuration names, prepared and ready to be read."""

from __future__ import annotations

import dataclasses
import os
import pathlib
import warnings
from collections.abc import Iterable, Iterator, Sequence
from typing import Protocol

import numpy as np

from input_pipeline import store
from input_pipeline.check import Checked, check_dataset
from input_pipeline.dataset import NUM_PARTS, refuse_shared_people
from input_pipeline.errors import UserError, combined
from input_pipeline.files import cache_folder, default_data_dir
from input_pipeline.loader import Batch, decode_split
from input_pipeline.readers import Reading, parse_spec, read_each, split_specs
from input_pipeline.store import PreparedDataset, PreparedSplit
from magnifier_jax.config import Config, DataConfig

# Datasets that are drawn rather than found, so that no folder has to be named.
_DRAWN = "synthetic"
_TESTED = ("query", "gallery")


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """What the network learns from.

    Attributes:
        split: The pictures.
        labels: Position of each picture's identity in `identities`, int32 `[n]`.
        identities: Name of each training identity, `dataset/number`, in a fixed order.
    """

    split: PreparedSplit
    labels: np.ndarray
    identities: tuple[str, ...]


@dataclasses.dataclass(frozen=True, eq=False)
class TestSet:
    """What the network is measured on."""

    name: str
    query: PreparedSplit
    gallery: PreparedSplit


def open_training_set(config: Config, *, progress: bool = True) -> TrainingSet:
    """Reads and prepares the training sets, and joins them into one.

    Raises:
        UserError: No folder is configured.
        DataError: Datasets cannot be used, or show the same people.
    """
    names = split_specs(config.data.train)
    return _training_set(config, names, _open(config, names, [], progress=progress))


def open_test_sets(config: Config, *, progress: bool = True) -> tuple[TestSet, ...]:
    """Reads and prepares the query and gallery of every test set.

    Raises:
        UserError: No folder is configured.
        DataError: Datasets cannot be used.
    """
    names = split_specs(config.data.test or config.data.train)
    return _test_sets(names, _open(config, [], names, progress=progress))


def open_all_sets(
    config: Config, *, progress: bool = True
) -> tuple[TrainingSet, tuple[TestSet, ...]]:
    """Both, after looking at the files of all sets, so that everything wrong is said at once.

    Raises:
        UserError: No folder is configured.
        DataError: Datasets cannot be used, or training sets show the same people.
    """
    train = split_specs(config.data.train)
    test = split_specs(config.data.test or config.data.train)
    opened = _open(config, train, test, progress=progress)
    return _training_set(config, train, opened), _test_sets(test, opened)


def _training_set(
    config: Config, specs: Sequence[str], opened: dict[str, PreparedDataset]
) -> TrainingSet:
    names = _distinct([opened[spec].name for spec in specs])
    splits = [opened[spec].train for spec in specs]
    split = splits[0] if len(splits) == 1 else store.concatenate(splits, names)
    if config.data.part_labels != "none":
        split.require_parts(num_parts=config.model.num_parts)
    identities, labels = np.unique(split.identities, return_inverse=True)
    titles = [
        f"{name}/{identity}"
        for name, part in zip(names, splits, strict=True)
        for identity in np.unique(part.identities)
    ]
    if len(titles) != len(identities):
        raise UserError("Two training sets share identity numbers; this is an error of ours.")
    return TrainingSet(split, labels.astype(np.int32), tuple(titles))


def _test_sets(specs: Sequence[str], opened: dict[str, PreparedDataset]) -> tuple[TestSet, ...]:
    names = _distinct([opened[spec].name for spec in specs])
    return tuple(
        TestSet(name, opened[spec].query, opened[spec].gallery)
        for name, spec in zip(names, specs, strict=True)
    )


def _open(
    config: Config, train: Sequence[str], test: Sequence[str], *, progress: bool
) -> dict[str, PreparedDataset]:
    """The prepared splits of every dataset that is trained or tested on, by its spec."""
    data, num_parts = config.data, max(NUM_PARTS, config.model.num_parts)
    others = [spec for spec in test if spec not in train]
    readings = [
        reading
        for specs in (train, others)
        if specs
        for reading in _read(data, specs, progress=progress)
    ]
    known = {reading.spec: reading for reading in readings}
    refuse_shared_people([known[spec] for spec in train])
    found = {}
    for spec, reading in known.items():
        splits = (*(["train"] if spec in train else []), *(_TESTED if spec in test else []))
        found[spec] = check_dataset(
            reading,
            data_dir=_prepared_folder(data),
            part_labels=data.part_labels,
            splits=splits,
            skip_prepared=True,
            progress=progress,
        )
    _tell(list(found.values()))
    return {
        spec: store.prepare(
            checked.usable,
            data_dir=_prepared_folder(data),
            num_parts=num_parts,
            progress=progress,
        )
        for spec, checked in found.items()
    }


def _tell(found: Sequence[Checked]) -> None:
    """Raises everything that is wrong, or warns of what is worth knowing."""
    errors = [error for checked in found for error in checked.errors]
    if errors:
        raise combined(errors)
    for scan in (checked.scan for checked in found if checked.scan is not None):
        for notice in scan.notices:
            warnings.warn(f"{scan.dataset.name}: {notice}", stacklevel=2)


def _distinct(names: Sequence[str]) -> list[str]:
    """The names, numbered where several datasets have the same."""
    distinct: list[str] = []
    for name in names:
        candidate, number = name, 2
        while candidate in distinct:
            candidate, number = f"{name}_{number}", number + 1
        distinct.append(candidate)
    return distinct


def _read(data: DataConfig, specs: Sequence[str], *, progress: bool) -> tuple[Reading, ...]:
    root = pathlib.Path(os.path.expandvars(data.root)).expanduser()
    if not data.root:
        for spec in map(parse_spec, specs):
            if spec.name != _DRAWN and spec.folder is None:
                raise UserError(
                    "config.data.root is empty: name the folder that holds the datasets, as in "
                    "--config.data.root=/data"
                )
        root = cache_folder()
    return read_each(specs, root, progress=progress)


def _prepared_folder(data: DataConfig) -> pathlib.Path:
    return pathlib.Path(data.prepared).expanduser() if data.prepared else default_data_dir()


class Pictures(Protocol):
    """Decoded pictures of one split, by their positions in it."""

    def __len__(self) -> int: ...

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
    """Pictures that are decoded each time they are asked for, ahead of their use."""

    split: PreparedSplit
    image_size: tuple[int, int]
    parts: bool
    workers: int | None

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        from input_pipeline.loader import stream

        return stream(
            self.split,
            iter(ids),
            image_size=self.image_size,
            parts=self.parts,
            workers=self.workers,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Resident:
    """Pictures that were decoded once and stay in memory.

    Attributes:
        images: uint8 RGB `[n, H, W, 3]`.
        parts: uint8 part classes `[n, H, W]`, or None.
    """

    images: np.ndarray
    parts: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the pictures of each array of positions, in order."""
        for chosen in ids:
            parts = None if self.parts is None else self.parts[chosen]
            yield Batch(self.images[chosen], parts, chosen)


def open_pictures(
    split: PreparedSplit, data: DataConfig, *, parts: bool, progress: bool = True
) -> Streamed | Resident:
    """Makes a split's pictures available as `data.placement` says."""
    workers = data.workers or None
    if data.placement == "stream":
        return Streamed(split, data.image_size, parts, workers)
    decoded = decode_split(
        split, image_size=data.image_size, parts=parts, workers=workers, progress=progress
    )
    return Resident(decoded.images, decoded.parts)
