"""The records that every reader returns, and the body parts that part maps show."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np

from input_pipeline.errors import DataError

if TYPE_CHECKING:
    from input_pipeline.readers import Reading

PART_NAMES: tuple[str, ...] = (
    "background",
    "head",
    "torso",
    "upper arm",
    "lower arm",
    "upper leg",
    "lower leg",
    "foot",
)
NUM_PARTS = len(PART_NAMES)
BACKGROUND, HEAD, TORSO, UPPER_ARM, LOWER_ARM, UPPER_LEG, LOWER_LEG, FOOT = range(NUM_PARTS)
UPPER_BODY: tuple[int, ...] = (HEAD, TORSO, UPPER_ARM, LOWER_ARM)
LOWER_BODY: tuple[int, ...] = (UPPER_LEG, LOWER_LEG, FOOT)

PALETTE: np.ndarray = np.array(
    [
        (24, 24, 32),
        (240, 196, 64),
        (72, 136, 232),
        (232, 96, 64),
        (248, 160, 176),
        (56, 176, 112),
        (152, 216, 88),
        (160, 96, 208),
    ],
    np.uint8,
)
"""RGB color of each class where part maps are drawn, `[8, 3]`."""


@dataclasses.dataclass(frozen=True)
class Sample:
    """One image of one person.

    Attributes:
        path: The image file.
        identity: The dataset's own number of the person, 0 or more. A reader may also return
            `identities.JUNK`, and such images are left out.
        camera: The dataset's own number of the camera, or `identities.UNKNOWN_CAMERA`.
        part_map: Single-channel PNG of part classes, as large as the image, or None.
    """

    path: pathlib.Path
    identity: int
    camera: int
    part_map: pathlib.Path | None = None


SPLITS = ("train", "query", "gallery")


@dataclasses.dataclass(frozen=True)
class ReidDataset:
    """The three splits of a re-identification dataset, each in a fixed order.

    Attributes:
        name: Short name, such as `market1501`.
        root: The folder that every path lies under; stored paths are relative to it.
        train: Images of the training identities.
        query: Images to search with.
        gallery: Images to search in; distractors have identities that no query has.
        identity_names: What the data calls a person, by number. Numbers may shift when people come
            or go, names do not. A person without one is called by the number.
        notices: What was taken as identities and cameras, and what was left out; each a sentence
            without a period, worth saying to whoever uses the dataset.
    """

    name: str
    root: pathlib.Path
    train: tuple[Sample, ...]
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
    identity_names: Mapping[int, str] = dataclasses.field(
        default_factory=dict, hash=False, kw_only=True
    )
    notices: tuple[str, ...] = dataclasses.field(default=(), compare=False, kw_only=True)

    def name_of(self, identity: int) -> str:
        """What the data calls the person with this number."""
        return self.identity_names.get(identity, str(identity))


def refuse_shared_people(readings: Sequence[Reading]) -> None:
    """Refuses training sets that would teach one person as two.

    Raises:
        DataError: Two sets are known to show the same people, or share an image file, be it by a
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
                    f"the training sets {owner.spec!r} and {reading.spec!r} share the image "
                    f"{name}, so that people would be learned as different ones: train on one of "
                    "them, or take the images out of one"
                )


def _files(dataset: ReidDataset) -> dict[tuple[int, int], str]:
    """Device and number of each training image's file, and its name in the dataset."""
    files = {}
    for sample in dataset.train:
        try:
            status = sample.path.stat()
        except OSError:  # Who looks at the files reports it.
            continue
        files[status.st_dev, status.st_ino] = str(sample.path.relative_to(dataset.root))
    return files
