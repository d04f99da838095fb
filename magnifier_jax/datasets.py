"""The training and test sets that a configuration names, prepared and ready to be read."""

from __future__ import annotations

import dataclasses
import functools
import pathlib
import sys
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Protocol

import numpy as np

from input_pipeline.check import Checked, check_dataset
from input_pipeline.dataset import NUM_PARTS, ReidDataset, Sample
from input_pipeline.errors import DataError, UserError, combined, printable
from input_pipeline.files import default_data_dir, user_path
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.loader import Batch, decode_split
from input_pipeline.readers import (
    Reading,
    needs_root,
    read_each,
    refuse_shared_people,
    split_specs,
)
from input_pipeline.store.mixing import concatenate
from input_pipeline.store.splits import PreparedSplit, prepare
from magnifier_jax.config import Config, DataConfig
from magnifier_jax.training.manifest import Manifest, list_people, titles_of

_TESTED = ("query", "gallery")
NO_TEST_SET = "none"
"""The value of `data.test` with which nothing is evaluated."""


@dataclasses.dataclass(frozen=True, eq=False)
class TrainingSet:
    """What the network learns from.

    Attributes:
        split: The images.
        labels: Position of each image's identity in `identities`, int32 `[n]`.
        manifest: Who is in it, with what images.
        drop_unlabeled: Whether images without a part map are not learned from.
    """

    split: PreparedSplit
    labels: np.ndarray
    manifest: Manifest
    drop_unlabeled: bool = False

    @functools.cached_property
    def learned(self) -> np.ndarray:
        """Positions of the images that are learned from, int64, in ascending order."""
        if self.drop_unlabeled:
            return np.flatnonzero(self.split.labeled)
        return np.arange(len(self.split))

    @property
    def identities(self) -> tuple[str, ...]:
        """Name of each training identity, `dataset/name`, in the order of the classifiers."""
        return self.manifest.identities


@dataclasses.dataclass(frozen=True, eq=False)
class TestSet:
    """What the network is measured on.

    `by_tracklet` tells whether its protocol ranks tracklets rather than images.
    """

    name: str
    query: PreparedSplit
    gallery: PreparedSplit
    by_tracklet: bool = False


def open_training_set(config: Config, *, progress: bool = True) -> TrainingSet:
    """Reads and prepares the training sets, and joins them into one.

    Raises:
        UserError: No folder is configured.
        DataError: Datasets cannot be used, or show the same people.
    """
    return list_sets(config, test=False, progress=progress).open_training(progress=progress)


def open_test_sets(config: Config, *, progress: bool = True) -> tuple[TestSet, ...]:
    """Reads and prepares the query and gallery of every test set.

    Raises:
        UserError: No folder is configured.
        DataError: Datasets cannot be used.
    """
    return list_sets(config, train=False, progress=progress).open(progress=progress)[1]


@dataclasses.dataclass(frozen=True, eq=False)
class Listing:
    """The datasets of a configuration as their readers list them: no file has been opened yet.

    Attributes:
        config: The configuration.
        train: Spec of every training set.
        test: Spec of every test set.
        readings: What was read, by spec.
    """

    config: Config
    train: tuple[str, ...]
    test: tuple[str, ...]
    readings: Mapping[str, Reading]

    def identities(self, *, by_number: bool = False) -> tuple[str, ...]:
        """Name of each training identity, in the order of the classifiers.

        Args:
            by_number: Whether to give `dataset/number`, as checkpoints once had them, instead of
                `dataset/name`.
        """
        sets = self._training()
        return tuple(
            f"{title}/{number if by_number else dataset.name_of(number)}"
            for title, dataset in zip(
                titles_of([dataset.name for dataset in sets]), sets, strict=True
            )
            for number in sorted({sample.identity for sample in dataset.train})
        )

    def manifest(self) -> Manifest:
        """Who is in the training sets, with what images; part labels are as their readers say.

        Raises:
            DataError: A file cannot be looked at.
        """
        sets = self._training()
        return list_people(titles_of([dataset.name for dataset in sets]), sets)

    def _training(self) -> list[ReidDataset]:
        found = (self.readings[spec].dataset for spec in self.train)
        return [dataset for dataset in found if dataset is not None]

    def open_training(self, *, progress: bool = True) -> TrainingSet:
        """Prepares what is not yet prepared, and joins the training sets.

        Raises:
            DataError: Files cannot be used.
        """
        training = self.open(progress=progress)[0]
        if training is None:
            raise UserError("There is no training set to open.")
        return training

    def open(self, *, progress: bool = True) -> tuple[TrainingSet | None, tuple[TestSet, ...]]:
        """Looks at the files of all sets, and prepares what is not yet prepared.

        Raises:
            DataError: Files cannot be used; all of them are named.
        """
        checked = self._check(progress=progress)
        num_parts = max(NUM_PARTS, self.config.model.num_parts)
        opened = {
            spec: prepare(
                found.usable,
                data_dir=_prepared_folder(self.config.data),
                num_parts=num_parts,
                proven=found.proven,
                progress=progress,
            )
            for spec, found in checked.items()
        }
        training = None
        if self.train:
            datasets = [checked[spec].usable for spec in self.train]
            training = _join(self.config, datasets, [opened[spec].train for spec in self.train])
        titles = titles_of([opened[spec].name for spec in self.test])
        return training, tuple(
            TestSet(
                title,
                opened[spec].query,
                opened[spec].gallery,
                by_tracklet=opened[spec].by_tracklet,
            )
            for title, spec in zip(titles, self.test, strict=True)
        )

    def _check(self, *, progress: bool) -> dict[str, Checked]:
        found = {}
        for spec, reading in self.readings.items():
            splits = (
                *(["train"] if spec in self.train else []),
                *(_TESTED if spec in self.test else []),
            )
            found[spec] = check_dataset(
                reading,
                data_dir=_prepared_folder(self.config.data),
                part_labels=self.config.data.part_labels,
                part_label_model=self.config.data.part_label_model,
                images_without_map=self.config.data.images_without_map,
                splits=splits,
                num_parts=max(NUM_PARTS, self.config.model.num_parts),
                skip_prepared=True,
                progress=progress,
            )
        _tell(list(found.values()))
        return found


def list_sets(
    config: Config, *, train: bool = True, test: bool = True, progress: bool = True
) -> Listing:
    """Reads which images there are, and refuses what cannot work before files are looked at.

    Args:
        config: The configuration.
        train: Whether the training sets are wanted.
        test: Whether the test sets are wanted.
        progress: Whether to show progress bars where something is drawn or unpacked first.

    Raises:
        UserError: No folder is configured.
        DataError: There are no images or too few people to train on or to test with, or training
            sets show the same people.
    """
    train_specs = split_specs(config.data.train) if train else []
    test_specs = specs_to_test(config) if test else []
    others = [spec for spec in test_specs if spec not in train_specs]
    readings = {
        reading.spec: reading
        for specs in (train_specs, others)
        if specs
        for reading in _read(config.data, specs, progress=progress)
    }
    listing = Listing(config, tuple(train_specs), tuple(test_specs), readings)
    _refuse_what_cannot_work(listing)
    return listing


def specs_to_test(config: Config) -> list[str]:
    """The spec of every test set; none where `data.test` is `none`."""
    if config.data.test.strip().lower() == NO_TEST_SET:
        return []
    return split_specs(config.data.test or config.data.train)


def _refuse_what_cannot_work(listing: Listing) -> None:
    config, readings = listing.config, listing.readings
    unread = [reading.error for reading in readings.values() if reading.dataset is None]
    if unread:
        raise combined([error for error in unread if error is not None])
    errors = [*_missing_splits(listing)]
    if errors:
        raise combined(errors)
    refuse_shared_people([readings[spec] for spec in listing.train])
    people, needed = len(listing.identities()), config.data.identities_per_batch
    whole = all(readings[spec].error is None for spec in listing.train)
    if listing.train and whole and people < needed:
        raise DataError(
            f"a batch needs {needed} identities but the training set has {people}: lower "
            "config.data.identities_per_batch or add people"
        )
    for spec in listing.test:
        dataset = readings[spec].dataset
        if dataset is not None and readings[spec].error is None:
            _refuse_without_matches(dataset, camera_filter=config.evaluate.camera_filter)


def _missing_splits(listing: Listing) -> Iterator[DataError]:
    """What lacks the images that it is to be used for."""
    for spec, reading in listing.readings.items():
        dataset = reading.dataset
        if dataset is None or reading.error is not None:
            continue
        if spec in listing.train and not dataset.train:
            yield DataError(f"{dataset.name} in {dataset.root} has no training images")
        missing = [
            split for split in _TESTED if spec in listing.test and not getattr(dataset, split)
        ]
        if missing:
            advice = "evaluate on another dataset"
            if spec in listing.train:
                advice = (
                    "name a test set with config.data.test, or train without evaluation by "
                    f"config.data.test={NO_TEST_SET}"
                )
            what = " and no ".join(missing)
            yield DataError(f"{dataset.name} in {dataset.root} has no {what} images: {advice}")


def _refuse_without_matches(dataset: ReidDataset, *, camera_filter: bool) -> None:
    """Refuses a test set in which no query has anything to be found.

    Raises:
        DataError: There is no match for any query.
    """
    cameras: dict[int, set[int]] = {}
    for sample in dataset.gallery:
        cameras.setdefault(sample.identity, set()).add(sample.camera)
    both = [sample for sample in dataset.query if sample.identity in cameras]
    if not both:
        raise DataError(
            f"{dataset.name} in {dataset.root}: query and gallery show different people, so that "
            "nothing can be found: check the names of the people"
        )

    def found(sample: Sample) -> bool:
        others = cameras[sample.identity] - {sample.camera}
        return bool(others) or sample.camera == UNKNOWN_CAMERA

    if camera_filter and not any(found(sample) for sample in both):
        raise DataError(
            f"{dataset.name} in {dataset.root}: no query has a match from another camera, and "
            "matches from its own are ignored: set config.evaluate.camera_filter=False"
        )


def _join(
    config: Config, datasets: Sequence[ReidDataset], splits: Sequence[PreparedSplit]
) -> TrainingSet:
    """Joins prepared training sets into one."""
    titles = titles_of([dataset.name for dataset in datasets])
    split = splits[0] if len(splits) == 1 else concatenate(splits, titles)
    with_parts = config.data.part_labels != "none"
    if with_parts:
        split.require_parts(num_parts=config.model.num_parts, gaps=True)
    identities, labels = np.unique(split.identities, return_inverse=True)
    manifest = list_people(titles, datasets, [split.checksums for split in splits])
    if len(manifest.identities) != len(identities):
        raise UserError("Two training sets share identity numbers; this is a bug.")
    drop = with_parts and config.data.images_without_map == "drop"
    return TrainingSet(split, labels.astype(np.int32), manifest, drop_unlabeled=drop)


def _tell(found: Sequence[Checked]) -> None:
    """Raises everything that is wrong, or warns of what is worth knowing."""
    errors = [error for checked in found for error in checked.errors]
    if errors:
        raise combined(errors)
    for checked in found:
        for notice in checked.usable.notices:
            print(f"note: {checked.usable.name}: {printable(notice)}", file=sys.stderr)
    for scan in (checked.scan for checked in found if checked.scan is not None):
        for notice in scan.notices:
            warnings.warn(f"{scan.dataset.name}: {notice}", stacklevel=2)


def _read(data: DataConfig, specs: Sequence[str], *, progress: bool) -> tuple[Reading, ...]:
    if not data.root and any(map(needs_root, specs)):
        raise UserError(
            "config.data.root is empty: name the folder that holds the datasets, as in "
            "--config.data.root=/data"
        )
    root = user_path(data.root) if data.root else None
    return read_each(specs, root, progress=progress, allow_outside=data.allow_outside)


def _prepared_folder(data: DataConfig) -> pathlib.Path:
    return user_path(data.prepared) if data.prepared else default_data_dir()


class ImageSource(Protocol):
    """Decoded images of one split, by their positions in it."""

    def __len__(self) -> int: ...

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the images of each array of positions, in order."""
        ...


@dataclasses.dataclass(frozen=True, eq=False)
class Streamed:
    """Images that are decoded each time they are asked for, ahead of their use."""

    split: PreparedSplit
    image_size: tuple[int, int]
    parts: bool
    workers: int | None

    def __len__(self) -> int:
        return len(self.split)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the images of each array of positions, in order."""
        from input_pipeline.loader import stream

        return stream(
            self.split,
            iter(ids),
            image_size=self.image_size,
            parts=self.parts,
            gaps=True,
            workers=self.workers,
        )


@dataclasses.dataclass(frozen=True, eq=False)
class Resident:
    """Images that were decoded once and stay in memory.

    Attributes:
        images: uint8 RGB `[n, H, W, 3]`.
        parts: uint8 part classes `[n, H, W]`, or None.
    """

    images: np.ndarray
    parts: np.ndarray | None

    def __len__(self) -> int:
        return len(self.images)

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Batch]:
        """Yields the images of each array of positions, in order."""
        for chosen in ids:
            parts = None if self.parts is None else self.parts[chosen]
            yield Batch(self.images[chosen], parts, chosen)


def open_images(
    split: PreparedSplit, data: DataConfig, *, parts: bool, progress: bool = True
) -> Streamed | Resident:
    """Makes a split's images available as `data.placement` says."""
    workers = data.workers or None
    if data.placement == "stream":
        return Streamed(split, data.image_size, parts, workers)
    decoded = decode_split(
        split,
        image_size=data.image_size,
        parts=parts,
        gaps=True,
        workers=workers,
        progress=progress,
    )
    return Resident(decoded.images, decoded.parts)
