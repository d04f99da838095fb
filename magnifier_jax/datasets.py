"""The training and test sets that a configuration names, prepared and ready to be read."""

from __future__ import annotations

import dataclasses
import os
import pathlib

import numpy as np

from input_pipeline import prepared
from input_pipeline.locations import default_data_dir
from input_pipeline.part_labels import choose_part_labels
from input_pipeline.prepared import PreparedDataset, PreparedSplit
from input_pipeline.readers import parse_spec, read_datasets
from input_pipeline.samples import ReidDataset
from magnifier_jax.config import Config, DataConfig
from magnifier_jax.devices import cache_folder
from magnifier_jax.errors import UserError

# Datasets that are drawn rather than found, so that no folder has to be named.
_DRAWN = "synthetic"


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
        DataError: A dataset cannot be used.
    """
    datasets = [
        choose_part_labels(
            dataclasses.replace(dataset, query=(), gallery=()),
            config.data.part_labels,
            data_dir=_prepared_folder(config.data),
            progress=progress,
        )
        for dataset in _read(config.data, config.data.train, progress=progress)
    ]
    opened = [_prepare(dataset, config.data, progress=progress) for dataset in datasets]
    names = [dataset.name for dataset in opened]
    splits = [dataset.train for dataset in opened]
    split = splits[0] if len(splits) == 1 else prepared.concatenate(splits, names)
    if config.data.part_labels != "none":
        split.require_parts()
    identities, labels = np.unique(split.identities, return_inverse=True)
    titles = [
        f"{name}/{identity}"
        for name, part in zip(names, splits, strict=True)
        for identity in np.unique(part.identities)
    ]
    if len(titles) != len(identities):
        raise UserError("Two training sets share identity numbers; this is an error of ours.")
    return TrainingSet(split, labels.astype(np.int32), tuple(titles))


def open_test_sets(config: Config, *, progress: bool = True) -> tuple[TestSet, ...]:
    """Reads and prepares the query and gallery of every test set.

    Raises:
        UserError: No folder is configured.
        DataError: A dataset cannot be used.
    """
    found = []
    for dataset in _read(config.data, config.data.test or config.data.train, progress=progress):
        only_test = dataclasses.replace(dataset, train=())
        opened = _prepare(only_test, config.data, progress=progress)
        found.append(TestSet(dataset.name, opened.query, opened.gallery))
    return tuple(found)


def _read(data: DataConfig, specs: str, *, progress: bool) -> tuple[ReidDataset, ...]:
    root = pathlib.Path(os.path.expandvars(data.root)).expanduser()
    if not data.root:
        for spec in (parse_spec(text) for text in specs.split(",") if text.strip()):
            if spec.name != _DRAWN and spec.folder is None:
                raise UserError(
                    "config.data.root is empty: name the folder that holds the datasets, as in "
                    "--config.data.root=/data"
                )
        root = cache_folder()
    return read_datasets(specs, root)


def _prepare(dataset: ReidDataset, data: DataConfig, *, progress: bool) -> PreparedDataset:
    return prepared.prepare(dataset, data_dir=_prepared_folder(data), progress=progress)


def _prepared_folder(data: DataConfig) -> pathlib.Path:
    return pathlib.Path(data.prepared).expanduser() if data.prepared else default_data_dir()
