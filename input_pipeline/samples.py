"""What every dataset reader returns."""

from __future__ import annotations

import dataclasses
import pathlib


@dataclasses.dataclass(frozen=True)
class Sample:
    """One picture of one person.

    Attributes:
        path: The picture file.
        identity: The dataset's own number of the person, 0 or more.
        camera: The dataset's own number of the camera.
        part_map: Single-channel PNG of part classes, as large as the picture, or None.
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
        train: Pictures of the training identities.
        query: Pictures to search with.
        gallery: Pictures to search in; distractors have identities that no query has.
    """

    name: str
    root: pathlib.Path
    train: tuple[Sample, ...]
    query: tuple[Sample, ...]
    gallery: tuple[Sample, ...]
