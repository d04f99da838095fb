"""What readers share once files are found: Market-1501's layout, counts, and the final checks."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Mapping, Sequence

from input_pipeline.dataset import SPLITS, ReidDataset, Sample
from input_pipeline.errors import FilesError, Problem
from input_pipeline.identities import LARGEST
from input_pipeline.readers import _files

_NAMED = 5  # identities in one message
FOLDERS: Mapping[str, str] = {
    "train": "bounding_box_train",
    "query": "query",
    "gallery": "bounding_box_test",
}
JUNK = -1


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
        names: What the user calls the identities, where that is more than their numbers.

    Raises:
        FilesError: There are problems, a split is empty, or an identity is in training and in
            query or gallery. The dataset is its `rest`.
    """
    if names:
        called = {number: name for name, number in names.items()}
        dataset = dataclasses.replace(dataset, identity_names=called)
    found = list(problems)
    if not found:
        found += [
            Problem(dataset.root, f"{title} has no {split} pictures here, unpack the dataset again")
            for split in SPLITS
            if not getattr(dataset, split)
        ]
    if disjoint:
        found += _shared_identities(dataset)
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


def _shared_identities(dataset: ReidDataset) -> list[Problem]:
    """The problem that training identities are tested on, if they are."""
    train = {sample.identity for sample in dataset.train}
    tested = {sample.identity for sample in (*dataset.query, *dataset.gallery)}
    shared = sorted(train & tested)
    if not shared:
        return []
    named = ", ".join(dataset.name_of(identity) for identity in shared[:_NAMED])
    more = f" and {len(shared) - _NAMED} more" if len(shared) > _NAMED else ""
    return [
        Problem(
            dataset.root,
            f"identities in both training and test: {named}{more}; a test needs persons that "
            "training never saw, so move each to one side",
        )
    ]


def read_three_folders(
    root: pathlib.Path,
    *,
    name: str,
    title: str,
    pattern: re.Pattern[str],
    example: str,
    published: Mapping[str, Count] | None = None,
) -> ReidDataset:
    """Reads `bounding_box_train`, `query` and `bounding_box_test` under `root`.

    Pictures of identity -1 (bad detections) are dropped. Part maps come from the tree
    `<root>_ps_label` where it exists.

    Args:
        root: The dataset's folder.
        name: The dataset's short name.
        title: Its name in messages.
        pattern: Matches a file name and has the groups `identity` and `camera`; a camera that
            does not take part in the match is camera 0, for all pictures or for none.
        example: A name that matches, for messages.
        published: Expected counts by split.

    Raises:
        FilesError: Folders are missing or empty, names do not parse, or an identity is in both
            training and test; all of this at once.
    """
    labels = _files.label_tree(root)
    splits: dict[str, tuple[Sample, ...]] = {}
    problems: list[Problem] = []
    without_camera: list[pathlib.Path] = []
    for split, folder in FOLDERS.items():
        samples = []
        for path in _files.list_pictures(root / folder, title=title, problems=problems):
            match = pattern.fullmatch(path.name)
            if match is None:
                problems.append(
                    Problem(path, f"its name is not like {example}, rename or remove it")
                )
                continue
            identity, camera = int(match["identity"]), int(match["camera"] or 0)
            if identity == JUNK:
                continue
            if max(identity, camera) > LARGEST:
                problems.append(Problem(path, f"numbers go up to {LARGEST}, number people anew"))
                continue
            part_map = labels and _files.find_part_map(path, root=root, labels=labels)
            if match["camera"] is None:
                without_camera.append(path)
            samples.append(Sample(path, identity, camera, part_map))
        splits[split] = tuple(samples)
    if len(without_camera) < sum(len(samples) for samples in splits.values()):
        problems += [
            Problem(path, "its name has no camera, the others have") for path in without_camera
        ]
    dataset = ReidDataset(name, root, *splits.values())
    return checked(dataset, problems, title=title, published=published)
