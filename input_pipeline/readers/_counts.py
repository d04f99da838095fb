"""What every reader does at its end: it reports what is wrong, and compares with what is known."""

from __future__ import annotations

import dataclasses
import warnings
from collections.abc import Mapping, Sequence

from input_pipeline.errors import FilesError, Problem
from input_pipeline.samples import SPLITS, ReidDataset, Sample

_NAMED = 5  # identities in one message


@dataclasses.dataclass(frozen=True)
class Count:
    """Pictures and identities of a split; distractors count as one identity."""

    images: int
    identities: int

    def __str__(self) -> str:
        return f"{self.images} images of {self.identities} identities"


def count(samples: Sequence[Sample]) -> Count:
    """Counts the pictures and identities of a split."""
    return Count(len(samples), len({sample.identity for sample in samples}))


def checked(
    dataset: ReidDataset,
    problems: Sequence[Problem],
    *,
    title: str,
    published: Mapping[str, Count] | None = None,
    disjoint: bool = True,
    names: Mapping[str, int] | None = None,
) -> ReidDataset:
    """The dataset itself, if all of it can be used.

    Warns of every split that differs from the published counts.

    Args:
        dataset: What was read.
        problems: What could not be.
        title: The dataset's name in messages.
        published: Expected counts by split: `train`, `query`, `gallery`.
        disjoint: Whether training and test number their identities together, so that none may be
            in both.
        names: What the user calls the identities, for messages.

    Raises:
        FilesError: There are problems, a split is empty, or an identity is in training and in
            query or gallery. The dataset is its `rest`.
    """
    found = list(problems)
    if not found:
        found += [
            Problem(dataset.root, f"{title} has no {split} pictures here, unpack the dataset again")
            for split in SPLITS
            if not getattr(dataset, split)
        ]
    if disjoint:
        found += _shared_identities(dataset, names or {})
    if found:
        raise FilesError("", found, rest=dataset)
    for split, expected in (published or {}).items():
        what = f"{title}: the {split} split in {dataset.root}"
        warn_of_difference(count(getattr(dataset, split)), expected, what=what)
    return dataset


def warn_of_difference(found: Count, expected: Count, *, what: str) -> None:
    """Warns if a split, or whatever `what` says, is not what was published."""
    if found != expected:
        warnings.warn(
            f"{what} has {found}, published are {expected}; results are not comparable with "
            "published ones",
            stacklevel=2,
        )


def _shared_identities(dataset: ReidDataset, names: Mapping[str, int]) -> list[Problem]:
    """The problem that training identities are tested on, if they are."""
    train = {sample.identity for sample in dataset.train}
    tested = {sample.identity for sample in (*dataset.query, *dataset.gallery)}
    shared = sorted(train & tested)
    if not shared:
        return []
    called = {number: name for name, number in names.items()}
    named = ", ".join(called.get(identity, str(identity)) for identity in shared[:_NAMED])
    more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
    return [
        Problem(
            dataset.root,
            f"identities in both training and test: {named}{more}; a test needs persons that "
            "training never saw, so move each to one side",
        )
    ]
