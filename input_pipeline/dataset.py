"""The records that every reader returns, and the body parts that part maps show."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np

from input_pipeline.errors import FilesError, Problem

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
NO_MAP = 255
"""Class of every pixel where an image has no part map, in arrays that have one for each image."""
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
            `identities.unknown.JUNK`, and such images are left out.
        camera: The dataset's own number of the camera, or `identities.unknown.UNKNOWN_CAMERA`.
        part_map: Single-channel PNG of part classes, as large as the image, or None.
        tracklet: What the consecutive images of one person under one camera have in common, or
            None where that is not known.
    """

    path: pathlib.Path
    identity: int
    camera: int
    part_map: pathlib.Path | None = None
    tracklet: str | None = None


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
        by_tracklet: Whether the dataset's protocol ranks tracklets rather than images.
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
    by_tracklet: bool = dataclasses.field(default=False, kw_only=True)

    def name_of(self, identity: int) -> str:
        """What the data calls the person with this number."""
        return self.identity_names.get(identity, str(identity))


class IncompleteDatasetError(FilesError):
    """Files of a dataset cannot be used; the others could be read.

    Attributes:
        rest: The dataset without these files, so that a scan can report the other files too.
    """

    def __init__(self, problems: Sequence[Problem], *, rest: ReidDataset) -> None:
        super().__init__("", problems)
        self.rest = rest
