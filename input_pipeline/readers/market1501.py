"""Market-1501, and its 500,000 distractors as the variant `500k`."""

from __future__ import annotations

import dataclasses
import pathlib
import re

from input_pipeline.dataset import IncompleteDatasetError, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities.unknown import UNKNOWN_CAMERA
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import (
    FOLDERS,
    Count,
    by_pattern,
    count,
    read_three_folders,
    warn_of_difference,
)

TITLE = "Market-1501"
PEOPLE = "Market-1501"
USUAL_FOLDERS = ("Market-1501-v15.09.15", "market1501", "Market-1501", "Market1501")
DISTRACTORS = "images"
DISTRACTOR_IDENTITY = 0
# The gallery is what is left once identity -1 is dropped; its distractors (0000) are one identity.
PUBLISHED = {
    "train": Count(12_936, 751),
    "query": Count(3_368, 750),
    "gallery": Count(15_913, 751),
}
PUBLISHED_DISTRACTORS = Count(500_000, 1)
_NAME = re.compile(
    r"(?P<identity>\d{4})_c(?P<camera>[1-6])s[1-6]_\d{6}_\d{2}\.(jpg|jpeg|png)", re.IGNORECASE
)


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads Market-1501.

    Args:
        root: The dataset's folder, or the folder that holds it.
        variant: `500k` adds the distractors of the folder `images` to the gallery.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    if variant not in ("", "500k"):
        raise DataError(f"{TITLE} has no variant {variant!r}: leave it out or write 500k")
    root = listing.find_root(
        root, title=TITLE, folders=USUAL_FOLDERS, contents=tuple(FOLDERS.values())
    )
    problems: list[Problem] = []
    try:
        dataset = read_three_folders(
            root,
            name="market1501",
            title=TITLE,
            tell=by_pattern(_NAME),
            example="0002_c1s1_000451_03.jpg",
            published=PUBLISHED,
        )
    except IncompleteDatasetError as error:
        if not variant:
            raise
        dataset, problems = error.rest, list(error.problems)
    if not variant:
        return dataset
    distractors = _distractors(root, problems)
    dataset = dataclasses.replace(
        dataset, name="market1501_500k", gallery=dataset.gallery + distractors
    )
    if problems:
        raise IncompleteDatasetError(problems, rest=dataset)
    return dataset


def _distractors(root: pathlib.Path, problems: list[Problem]) -> tuple[Sample, ...]:
    """The images of the folder `images`, none of a queried person, whatever their names say."""
    title, folder = f"{TITLE} 500k", root / DISTRACTORS
    samples = []
    for path in listing.list_images(folder, title=title, problems=problems):
        match = _NAME.fullmatch(path.name)
        camera = int(match["camera"]) if match else UNKNOWN_CAMERA
        samples.append(Sample(path, DISTRACTOR_IDENTITY, camera))
    if samples:
        what = f"{title}: the folder {folder}"
        warn_of_difference(count(samples), PUBLISHED_DISTRACTORS, what=what)
    return tuple(samples)
