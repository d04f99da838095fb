"""MSMT17, first and second version, with its validation pictures in training or left out.

Whether they join training changes results, so the spec has to say it: `msmt17:trainval` or
`msmt17:train`. The version is found on disk; where both are, `msmt17:v2-trainval` chooses.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping

from input_pipeline.errors import DataError
from input_pipeline.problems import FilesError, Problem
from input_pipeline.readers import _folders
from input_pipeline.readers._counts import Count, check_counts
from input_pipeline.samples import ReidDataset, Sample

TITLE = "MSMT17"
LISTS: Mapping[str, tuple[str, ...]] = {
    "train": ("list_train.txt",),
    "trainval": ("list_train.txt", "list_val.txt"),
    "query": ("list_query.txt",),
    "gallery": ("list_gallery.txt",),
}
PUBLISHED = {
    "train": Count(30_248, 1_041),
    "trainval": Count(32_621, 1_041),
    "query": Count(11_659, 3_060),
    "gallery": Count(82_161, 3_060),
}
# Person, picture of the person, camera, and what does not matter here.
_NAME = re.compile(r"\d{4}_\d{3}_(?P<camera>\d{2})_.*\.(jpg|jpeg|png)", re.IGNORECASE)


@dataclasses.dataclass(frozen=True)
class _Version:
    """Folder names of one version; each folder goes by the first name that exists."""

    folders: tuple[str, ...]
    train: str
    test: str


_VERSIONS: Mapping[str, _Version] = {
    "v1": _Version(("MSMT17_V1", "MSMT17", "msmt17"), "train", "test"),
    "v2": _Version(("MSMT17_V2", "MSMT17", "msmt17"), "mask_train_v2", "mask_test_v2"),
}


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads MSMT17; training and test identities both count from 0 and are different persons.

    Args:
        root: The dataset's folder, or the folder that holds it.
        variant: `trainval` or `train`, and perhaps `v1` or `v2`, joined by a hyphen.

    Raises:
        DataError: The variant does not say whether `val` joins training, both versions are there,
            or the folder or its files cannot be used.
    """
    words = set(variant.split("-")) if variant else set()
    training = words & {"train", "trainval"}
    versions = words & set(_VERSIONS)
    if len(training) != 1 or len(versions) > 1 or words - training - versions:
        raise DataError(
            "MSMT17 has a validation split, and whether training takes it changes results: write "
            "msmt17:trainval (as most papers do) or msmt17:train; v1- or v2- before it chooses "
            "the version"
        )
    (train_split,) = training
    version, root = _find(root, versions or set(_VERSIONS))
    labels = _folders.label_tree(root)
    names = _VERSIONS[version]
    problems: list[Problem] = []
    splits = {
        split: tuple(
            sample
            for list_name in LISTS[lists]
            for sample in _read_list(root, list_name, folder, labels, problems)
        )
        for split, lists, folder in (
            ("train", train_split, names.train),
            ("query", "query", names.test),
            ("gallery", "gallery", names.test),
        )
    }
    dataset = ReidDataset(f"msmt17_{version}_{train_split}", root, **splits)
    if problems:
        raise FilesError("Unpack the dataset again", problems, rest=dataset)
    published = {**PUBLISHED, "train": PUBLISHED[train_split]}
    check_counts(dataset, published, title=f"MSMT17 {version.upper()} ({train_split})")
    return dataset


def _find(root: pathlib.Path, versions: set[str]) -> tuple[str, pathlib.Path]:
    """The version that is on disk, and its folder."""
    found: dict[str, pathlib.Path] = {}
    errors: list[DataError] = []
    for version in sorted(versions):
        names = _VERSIONS[version]
        try:
            found[version] = _folders.find_root(
                root,
                title=f"{TITLE} {version.upper()}",
                folders=names.folders,
                contents=(names.train, names.test),
            )
        except DataError as error:
            errors.append(error)
    if len(found) == 2:
        raise DataError(
            f"both versions of MSMT17 are in {root}: write v1- or v2- in the spec, "
            "such as msmt17:v2-trainval"
        )
    if not found:
        raise errors[-1] if len(errors) == 1 else DataError("; ".join(map(str, errors)))
    ((version, folder),) = found.items()
    return version, folder


def _read_list(
    root: pathlib.Path,
    list_name: str,
    folder: str,
    labels: pathlib.Path | None,
    problems: list[Problem],
) -> list[Sample]:
    """The samples of one list; a line is a path under `folder` and an identity."""
    source = root / list_name
    if not source.is_file():
        raise DataError(f"the list {source} of MSMT17 is missing: unpack the dataset again")
    samples = []
    for line in source.read_text("utf-8").splitlines():
        if not line.strip():
            continue
        listed, _, identity = line.strip().rpartition(" ")
        path = root / folder / listed
        match = _NAME.fullmatch(path.name)
        if match is None or not identity.isdigit():
            problems.append(
                Problem(source, f"{line.strip()!r} is not like 0000/0000_000_01_…jpg 0")
            )
        elif not path.is_file():
            problems.append(Problem(path, f"listed in {list_name} and missing"))
        else:
            part_map = labels and _folders.find_part_map(path, root=root, labels=labels)
            samples.append(Sample(path, int(identity), int(match["camera"]), part_map))
    return samples
