"""A dataset as it is going to be used: its part labels chosen, and every file looked at."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Collection

from input_pipeline.dataset import SPLITS, ReidDataset
from input_pipeline.errors import DataError, FilesError
from input_pipeline.part_labels import choose_part_labels, without_part_maps
from input_pipeline.prepared import is_prepared
from input_pipeline.readers import Reading
from input_pipeline.scan import Scan, scan_once


@dataclasses.dataclass(frozen=True)
class Examined:
    """What is known of a dataset before it is prepared.

    Attributes:
        dataset: The dataset as it is to be prepared; None where nothing could be read.
        scan: What is in its files; None where they were not looked at.
        errors: Everything that is wrong with it.
    """

    dataset: ReidDataset | None
    scan: Scan | None
    errors: tuple[DataError, ...]

    @property
    def usable(self) -> ReidDataset:
        """The dataset, once it is known that there are no errors."""
        if self.dataset is None or self.errors:
            raise ValueError("a dataset with errors is used")
        return self.dataset


def examine(
    reading: Reading,
    *,
    data_dir: pathlib.Path,
    part_labels: str = "required",
    splits: Collection[str] = SPLITS,
    skip_prepared: bool = False,
    progress: bool = True,
) -> Examined:
    """Chooses the part labels of the training pictures, and looks at every file.

    Query and gallery have no part maps afterwards: nobody learns from them.

    Args:
        reading: What came of reading the dataset.
        data_dir: Folder of prepared datasets.
        part_labels: As for `choose_part_labels`.
        splits: What is going to be used; the other splits are left out.
        skip_prepared: Whether files need no look once they have been prepared.
        progress: Whether to show progress bars.
    """
    errors = [reading.error] if reading.error else []
    if reading.dataset is None:
        return Examined(None, None, tuple(errors))
    read = reading.dataset
    dataset = dataclasses.replace(
        read,
        train=read.train if "train" in splits else (),
        query=read.query if "query" in splits else (),
        gallery=read.gallery if "gallery" in splits else (),
    )
    train = dataclasses.replace(dataset, query=(), gallery=())
    try:
        if dataset.train:
            train = choose_part_labels(train, part_labels, data_dir=data_dir, progress=progress)
    except DataError as error:  # Labels that are missing do not keep pictures from being looked at.
        errors.append(error)
    except OSError as error:
        what = f"{error.filename or data_dir} cannot be used: {error.strerror or error}"
        errors.append(DataError(f"{what}; check its rights or choose another data_dir"))
    dataset = dataclasses.replace(without_part_maps(dataset), train=train.train)
    if skip_prepared and not errors and is_prepared(dataset, data_dir=data_dir):
        return Examined(dataset, None, ())
    try:
        scan = scan_once(dataset, data_dir=data_dir, progress=progress)
    except DataError as error:
        return Examined(dataset, None, (*errors, error))
    if scan.problems:
        errors.append(FilesError("", scan.problems))
    return Examined(dataset, scan, tuple(errors))
