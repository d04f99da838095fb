"""MSMT17, first and second version, with its validation images in training or left out.

Whether they join training changes results, so the spec has to say it: `msmt17:trainval` or
`msmt17:train`. The version is found on disk; where both are, `msmt17:v2-trainval` chooses.
"""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping

from input_pipeline.dataset import SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities.spelling import whole_number
from input_pipeline.identities.unknown import JUNK, is_junk
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import FOLDERS, SEPARATE, Count, checked

TITLE = "MSMT17"
PEOPLE = "MSMT17"
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
# Person, image of the person, camera (1 to 15), and what does not matter here.
_NAME = re.compile(r"\d{4}_\d{3}_(?P<camera>0[1-9]|1[0-5])_.*\.(jpg|jpeg|png)", re.IGNORECASE)


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
    labels = listing.label_tree(root)
    names = _VERSIONS[version]
    problems: list[Problem] = []
    present = listing.splits_to_read(root, {split: LISTS[split][0] for split in SPLITS})
    splits = {
        split: tuple(
            sample
            for list_name in (LISTS[lists] if split in present else ())
            for sample in _read_list(root, list_name, folder, labels, problems)
        )
        for split, lists, folder in (
            ("train", train_split, names.train),
            ("query", "query", names.test),
            ("gallery", "gallery", names.test),
        )
    }
    dataset = ReidDataset(f"msmt17_{version}_{train_split}", root, *splits.values())
    return checked(
        dataset,
        problems,
        title=f"MSMT17 {version.upper()} ({train_split})",
        splits=present,
        published={
            "train": PUBLISHED[train_split],
            "query": PUBLISHED["query"],
            "gallery": PUBLISHED["gallery"],
        },
        disjoint=False,
    )


def _find(root: pathlib.Path, versions: set[str]) -> tuple[str, pathlib.Path]:
    """The version that is on disk, and its folder."""
    found: dict[str, pathlib.Path] = {}
    errors: list[DataError] = []
    for version in sorted(versions):
        names = _VERSIONS[version]
        try:
            folder = listing.find_root(
                root,
                title=f"{TITLE} {version.upper()}",
                folders=names.folders,
                contents=(names.train, names.test),
            )
        except DataError as error:
            errors.append(error)
            continue
        if any((folder / name).exists() for lists in LISTS.values() for name in lists):
            found[version] = folder
        else:  # Many a folder holds one called `test`.
            what = f"{TITLE} {version.upper()} is not in {folder}: it holds none of its lists"
            errors.append(DataError(f"{what}, such as list_train.txt"))
    if len(found) == 2:
        raise DataError(
            f"both versions of MSMT17 are in {root}: write v1- or v2- in the spec, "
            "such as msmt17:v2-trainval"
        )
    if not found:
        _refuse_three_folders(root)
        raise errors[-1] if len(errors) == 1 else DataError("; ".join(map(str, errors)))
    ((version, folder),) = found.items()
    return version, folder


def _refuse_three_folders(root: pathlib.Path) -> None:
    """Says which reader reads MSMT17 as others have laid it out anew."""
    names = dict.fromkeys(name for version in _VERSIONS.values() for name in version.folders)
    for folder in (root, *(root / name for name in names)):
        if not any((folder / FOLDERS[split]).is_dir() for split in ("train", "gallery")):
            if not (folder / "gallery").is_dir():
                continue
            named = listing.holds_images(folder / "gallery")
        else:
            named = True
        reader = "market_style" if named else "folders"
        place = "" if folder == root else f"@{folder.name}"
        raise DataError(
            f"{folder} holds MSMT17 in three folders rather than with its lists: read it as "
            f"{reader}{place}, or as {reader}:{SEPARATE}{place} if training and test both number "
            "their people from 0"
        )


def _read_list(
    root: pathlib.Path,
    list_name: str,
    folder: str,
    labels: pathlib.Path | None,
    problems: list[Problem],
) -> list[Sample]:
    """The samples of one list; a line is a path under `folder` and an identity."""
    source = root / list_name
    samples = []
    for line in listing.read_text(source, problems).splitlines():
        if not line.strip():
            continue
        listed, _, number = line.strip().rpartition(" ")
        path = listing.below(root / folder, listed.strip())
        identity = JUNK if is_junk(number) else whole_number(number)
        match = _NAME.fullmatch(path.name) if path else None
        if path is None or match is None or identity is None:
            what = "is not like 0000/0000_000_01_…jpg 0 (cameras are 01 to 15)"
            problems.append(Problem(source, f"the line {line.strip()!r} {what}"))
        elif wrong := listing.what_is_wrong(path):
            problems.append(Problem(path, f"it is listed in {list_name} and {wrong}"))
        else:
            part_map = labels and listing.find_part_map(path, root=root, labels=labels)
            samples.append(Sample(path, identity, int(match["camera"]), part_map))
    return samples
