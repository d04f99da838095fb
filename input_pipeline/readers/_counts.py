"""Comparing what was read with what the dataset's authors published."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping

from input_pipeline.errors import DataError
from input_pipeline.samples import ReidDataset, Sample


@dataclasses.dataclass(frozen=True)
class Count:
    """Pictures and identities of a split; distractors count as one identity."""

    images: int
    identities: int

    def __str__(self) -> str:
        return f"{self.images} images of {self.identities} identities"


def count(samples: tuple[Sample, ...]) -> Count:
    """Counts the pictures and identities of a split."""
    return Count(len(samples), len({sample.identity for sample in samples}))


def check_counts(dataset: ReidDataset, published: Mapping[str, Count], *, title: str) -> None:
    """Warns of every split that differs from the published counts.

    Args:
        dataset: What was read.
        published: Expected counts by split name: `train`, `query`, `gallery`.
        title: The dataset's name in messages.

    Raises:
        DataError: A split is empty.
    """
    for split in ("train", "query", "gallery"):
        found = count(getattr(dataset, split))
        if not found.images:
            raise DataError(
                f"{title} in {dataset.root} has no {split} pictures: unpack the dataset again"
            )
        expected = published.get(split)
        if expected is not None and found != expected:
            warnings.warn(
                f"{title}: the {split} split in {dataset.root} has {found}, published are "
                f"{expected}; results are not comparable with published ones",
                stacklevel=2,
            )


def refuse_shared_identities(
    dataset: ReidDataset, *, names: Mapping[str, int] | None = None
) -> None:
    """Refuses a dataset whose training identities are tested on.

    Args:
        dataset: What was read.
        names: What the user calls the identities, for the message.

    Raises:
        DataError: An identity is in the training split and in query or gallery.
    """
    train = {sample.identity for sample in dataset.train}
    tested = {sample.identity for sample in (*dataset.query, *dataset.gallery)}
    shared = sorted(train & tested)
    if shared:
        called = {number: name for name, number in (names or {}).items()}
        named = ", ".join(called.get(identity, str(identity)) for identity in shared[:5])
        more = f" and {len(shared) - 5} more" if len(shared) > 5 else ""
        raise DataError(
            f"{dataset.name} in {dataset.root} has identities in both training and test: {named}"
            f"{more}; a test needs persons that training never saw, so move each to one side"
        )
