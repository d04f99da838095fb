"""What readers share once files are found: Market-1501's layout, counts, and the final checks."""

from __future__ import annotations

import dataclasses
import pathlib
import re
import warnings
from collections.abc import Callable, Collection, Mapping, Sequence

from input_pipeline.dataset import SPLITS, IncompleteDatasetError, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities.file_names import Who, camera_in_name, camera_of_folder
from input_pipeline.identities.spelling import LARGEST
from input_pipeline.identities.unknown import JUNK, UNKNOWN_CAMERA, is_junk, junk_notice
from input_pipeline.layouts import listing

_NAMED = 5  # identities in one message
FOLDERS: Mapping[str, str] = {
    "train": "bounding_box_train",
    "query": "query",
    "gallery": "bounding_box_test",
}
SEPARATE = "separate"
"""The variant of own data whose training and test number their people separately."""
_TITLES = {"train": "training", "query": "query", "gallery": "gallery"}
_LEADING = re.compile(r"(?P<identity>[^0-9]?[0-9]+)_")


@dataclasses.dataclass(frozen=True)
class Count:
    """Images and identities of a split; distractors count as one identity."""

    images: int
    identities: int

    def __str__(self) -> str:
        return f"{self.images} images of {self.identities} identities"


def count(samples: Sequence[Sample]) -> Count:
    """Counts the images and identities of a split."""
    return Count(len(samples), len({sample.identity for sample in samples}))


def checked(
    dataset: ReidDataset,
    problems: Sequence[Problem],
    *,
    title: str,
    splits: Collection[str] = SPLITS,
    published: Mapping[str, Count] | None = None,
    disjoint: bool = True,
    names: Mapping[str, int] | None = None,
    source: str = "",
    notices: Sequence[str] = (),
) -> ReidDataset:
    """The dataset without junk, if all of it can be used.

    Warns of every split that differs from the published counts.

    Args:
        dataset: What was read.
        problems: What could not be.
        title: The dataset's name in messages.
        splits: Those that are there: all, `train` alone, or `query` and `gallery`.
        published: Expected counts by split: `train`, `query`, `gallery`.
        disjoint: Whether training and test number their identities together, so that none may be
            in both.
        names: What the user calls the identities, where that is more than their numbers.
        source: What the identities are, where that is not known from the dataset's name; a notice
            says it with an example.
        notices: What else is worth knowing of the dataset.

    Raises:
        IncompleteDatasetError: There are problems, a split that is there has no images, query or
            gallery is there without the other, or an identity is in training and in query or
            gallery. The dataset is its `rest`.
    """
    if names:
        called = {number: name for name, number in names.items() if number != JUNK}
        dataset = dataclasses.replace(dataset, identity_names=called)
    told = [*_alone(splits), *(_source_notice(dataset, source) if source else ()), *notices]
    read = dataclasses.replace(dataset, notices=(*dataset.notices, *told))
    dataset = without_junk(read)
    found = list(problems)
    if not found:
        found += _empty_splits(dataset, splits, read=read, title=title)
    if disjoint:
        found += _shared_identities(dataset, own=bool(source))
    if found:
        raise IncompleteDatasetError(found, rest=dataset)
    for split, expected in (published or {}).items():
        if split in splits:
            what = f"{title}: the {split} split in {dataset.root}"
            warn_of_difference(count(getattr(dataset, split)), expected, what=what)
    return dataset


def without_junk(dataset: ReidDataset) -> ReidDataset:
    """The dataset without the images of identity −1, which a notice counts."""
    kept = {
        split: tuple(sample for sample in getattr(dataset, split) if not is_junk(sample.identity))
        for split in SPLITS
    }
    left_out = sum(len(getattr(dataset, split)) - len(kept[split]) for split in SPLITS)
    if not left_out:
        return dataset
    return dataclasses.replace(
        dataset,
        train=kept["train"],
        query=kept["query"],
        gallery=kept["gallery"],
        notices=(*dataset.notices, junk_notice(left_out)),
    )


def _alone(splits: Collection[str]) -> list[str]:
    """Says what cannot be done with a training set alone or a test set alone."""
    if "train" not in splits:
        return ["there is no training set here, only query and gallery to evaluate on"]
    if "query" not in splits:
        return ["there is no query and no gallery here, only a training set"]
    return []


def _empty_splits(
    dataset: ReidDataset, splits: Collection[str], *, read: ReidDataset, title: str
) -> list[Problem]:
    """The splits without images; `read` also has the junk, which may have been all of them."""
    if not splits:
        return [Problem(dataset.root, f"{title} has no images here, unpack the dataset again")]
    for one, other in (("query", "gallery"), ("gallery", "query")):
        if one in splits and other not in splits:
            what = f"{title} has {one} images and no {other} images, a test takes both"
            return [Problem(dataset.root, what)]
    problems = []
    for split in SPLITS:
        if split not in splits or getattr(dataset, split):
            continue
        what = f"{title} has no {_TITLES[split]} images here, unpack the dataset again"
        if junk := len(getattr(read, split)):
            what = (
                f"the {_TITLES[split]} images here ({junk:,}) all have identity −1, which means "
                "junk: name the people"
            )
        problems.append(Problem(dataset.root, what))
    return problems


def warn_of_difference(found: Count, expected: Count, *, what: str) -> None:
    """Warns if a split, or whatever `what` says, is not what was published."""
    if found != expected:
        warnings.warn(
            f"{what} has {found}, published are {expected}; results are not comparable with "
            "published ones",
            stacklevel=2,
        )


def warn_of_tracklets(dataset: ReidDataset, published: Mapping[str, int], *, title: str) -> None:
    """Warns of every split that has other numbers of tracklets than published."""
    for split, expected in published.items():
        found = len({sample.tracklet for sample in getattr(dataset, split)} - {None})
        if found != expected:
            warnings.warn(
                f"{title}: the {split} split in {dataset.root} has {found:,} tracklets, published "
                f"are {expected:,}; results are not comparable with published ones",
                stacklevel=3,
            )


def _shared_identities(dataset: ReidDataset, *, own: bool) -> list[Problem]:
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
            f"identities in both training and test: {named}{more}; a test needs people that "
            "training never saw, so move each to one side"
            + (f", or write the variant {SEPARATE} if these are different people" if own else ""),
        )
    ]


def is_separate(variant: str, *, reader: str) -> bool:
    """Whether the variant of own data says that training and test number people separately.

    Raises:
        DataError: There is no such variant.
    """
    if variant not in ("", SEPARATE):
        raise DataError(
            f"{reader} has no variant {variant!r}: leave it out, or write {SEPARATE} if training "
            "and test call different people by the same names or numbers"
        )
    return variant == SEPARATE


def by_pattern(pattern: re.Pattern[str]) -> Callable[[str], Who | None]:
    """Tells who is on an image by a pattern of file names.

    Args:
        pattern: Has a group `identity` and perhaps one `camera`, both digits.
    """

    def tell(name: str) -> Who | None:
        match = pattern.fullmatch(name)
        if match is None:
            return None
        camera = match.groupdict().get("camera")
        return Who(int(match["identity"]), None if camera is None else int(camera))

    return tell


def read_three_folders(
    root: pathlib.Path,
    *,
    name: str,
    title: str,
    tell: Callable[[str], Who | None],
    example: str,
    folders: Mapping[str, str] = FOLDERS,
    published: Mapping[str, Count] | None = None,
    disjoint: bool = True,
    own: bool = False,
) -> ReidDataset:
    """Reads `bounding_box_train`, `query` and `bounding_box_test` under `root`.

    A training set alone, or query and bounding_box_test alone, are read too. Images of identity −1
    (bad detections) are left out and counted. Part maps come from the tree `<root>_ps_label` where
    it exists.

    Args:
        root: The dataset's folder.
        name: The dataset's short name.
        title: Its name in messages.
        tell: Who is on the image with a file name, or None where the name does not parse.
        example: A name that parses, for messages.
        folders: Folder of each split.
        published: Expected counts by split.
        disjoint: As for `checked`.
        own: Whether this is somebody's own data: cameras may be anywhere in the name or be
            folders, and a notice says what was taken as identities.

    Raises:
        IncompleteDatasetError: Folders are missing or empty, names do not parse, or an identity is
            in both training and test; all of this at once.
    """
    labels = listing.label_tree(root)
    present = listing.splits_to_read(root, folders)
    splits: dict[str, tuple[Sample, ...]] = dict.fromkeys(SPLITS, ())
    problems: list[Problem] = []
    for split in present:
        samples = []
        for path in listing.list_images(
            root / folders[split], title=title, problems=problems, camera_folders=own
        ):
            who = tell(path.name)
            number = _LEADING.match(path.name)
            if number is not None and is_junk(number["identity"]):
                who = Who(JUNK)
            if who is None or not isinstance(who.identity, int):
                what = f"its name is not like {example}, rename or remove it"
                problems.append(Problem(path, what))
                continue
            camera = _camera(who, path, own=own)
            if max(who.identity, camera) > LARGEST:
                problems.append(Problem(path, f"numbers go up to {LARGEST}, number people anew"))
                continue
            part_map = labels and listing.find_part_map(path, root=root, labels=labels)
            samples.append(Sample(path, who.identity, camera, part_map, who.tracklet))
        splits[split] = tuple(samples)
    dataset = ReidDataset(name, root, *splits.values())
    return checked(
        dataset,
        problems,
        title=title,
        splits=present,
        published=published,
        disjoint=disjoint,
        source="the numbers that file names begin with" if own else "",
    )


def _source_notice(dataset: ReidDataset, source: str) -> list[str]:
    """Says what was taken as identities, with the first image as an example."""
    samples = (*dataset.query, *dataset.gallery, *dataset.train)
    first = next((sample for sample in samples if not is_junk(sample.identity)), None)
    if first is None:
        return []
    camera = "" if first.camera == UNKNOWN_CAMERA else f", camera {first.camera}"
    name = dataset.name_of(first.identity)
    path = first.path.relative_to(dataset.root).as_posix()
    return [f"identities are {source}, such as {name}{camera} for {path}"]


def _camera(who: Who, path: pathlib.Path, *, own: bool) -> int:
    """The camera by the image's name, else by its folder where the data is somebody's own."""
    found = [who.camera]
    if own:
        found += [camera_in_name(path.name), camera_of_folder(path.parent.name)]
    return next((camera for camera in found if camera is not None), UNKNOWN_CAMERA)
