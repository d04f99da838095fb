"""Training on several datasets at once: they have to be of different people."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

from input_pipeline.errors import DataError
from input_pipeline.readers import Reading
from input_pipeline.samples import ReidDataset


def refuse_shared_people(readings: Sequence[Reading]) -> None:
    """Refuses training sets that would teach one person as two.

    Raises:
        DataError: Two sets are known to show the same people, or share a picture file, be it by a
            link; both are named.
    """
    for one, other in itertools.combinations(readings, 2):
        both = f"the training sets {one.spec!r} and {other.spec!r}"
        if one.people and one.people == other.people:
            raise DataError(
                f"{both} show the same people of {one.people}, who would be learned as different "
                "ones: train on one of them"
            )
    if len(readings) < 2:
        return
    owners: dict[tuple[int, int], Reading] = {}
    for reading in readings:
        files = _files(reading.dataset) if reading.dataset else {}
        for file, name in files.items():
            owner = owners.setdefault(file, reading)
            if owner is not reading:
                raise DataError(
                    f"the training sets {owner.spec!r} and {reading.spec!r} share the picture "
                    f"{name}, so that people would be learned as different ones: train on one of "
                    "them, or take the pictures out of one"
                )


def _files(dataset: ReidDataset) -> dict[tuple[int, int], str]:
    """Device and number of each training picture's file, and its name in the dataset."""
    files = {}
    for sample in dataset.train:
        try:
            status = sample.path.stat()
        except OSError:  # Who looks at the files reports it.
            continue
        files[status.st_dev, status.st_ino] = str(sample.path.relative_to(dataset.root))
    return files
