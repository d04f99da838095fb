"""Your own data with a folder per identity: `train/PERSON/*.jpg`, `query/…` and `gallery/…`.

A person may be called anything; the same name in `query` and `gallery` is the same person. Cameras
are read from `c3` or `cam3` at the beginning of the file name or after `_` (`c3_0001.jpg`,
`door_cam3.jpg`), or from a folder such as `cam3`; images without one are of no known camera. Where
all folders look like cameras and file names tell who, as in `gallery/cam2/0002_c2_1.jpg`, the names
count.
"""

from __future__ import annotations

import pathlib

from input_pipeline.dataset import SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities.file_names import Who
from input_pipeline.identities.identification import Identified, identify
from input_pipeline.identities.spelling import LARGEST, near_spelling_notices, number_names
from input_pipeline.identities.unknown import JUNK, UNKNOWN_CAMERA
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import FOLDERS, checked, is_separate

TITLE = "Folder-per-identity data"


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads `train`, `query` and `gallery` under `root`, each with a folder per identity.

    `train` alone, or `query` and `gallery` alone, are read too. The dataset is named after its
    folder.

    Args:
        root: The dataset's folder.
        variant: `separate` if training and test give different people the same names.

    Raises:
        DataError: The folder is not such a dataset; a `FilesError` names all folders that are
            missing, images outside a person's folder, and persons in both training and test.
    """
    separate = is_separate(variant, reader="folders")
    root = listing.find_root(root, title=TITLE, folders=(), contents=(*SPLITS, *FOLDERS.values()))
    for split in ("train", "gallery"):
        if (root / FOLDERS[split]).is_dir() and not (root / split).is_dir():
            raise DataError(
                f"{root} holds {FOLDERS[split]}, as Market-1501 does: read it as market_style, or "
                "by the name of the dataset that it is"
            )
    problems: list[Problem] = []
    present = listing.splits_to_read(root, {split: split for split in SPLITS})
    paths = [
        path
        for split in present
        for path in listing.walk_images(root / split, title=TITLE, problems=problems)
    ]
    places = [path.relative_to(root).as_posix() for path in paths]
    told = identify(places, folders_are_people=True)
    numbers = number_names(_names(told))
    labels = listing.label_tree(root)
    splits: dict[str, list[Sample]] = {split: [] for split in SPLITS}
    for path, who in zip(paths, told.who, strict=True):
        what = _complaint(who, told)
        if what or who is None:
            problems.append(Problem(path, what))
            continue
        part_map = labels and listing.find_part_map(path, root=root, labels=labels)
        camera = UNKNOWN_CAMERA if who.camera is None else who.camera
        identity = JUNK if who.identity == JUNK else numbers[str(who.identity)]
        split = path.relative_to(root).parts[0]
        splits[split].append(Sample(path, identity, camera, part_map))
    dataset = ReidDataset(
        listing.name_of(root, fallback="folders"),
        root,
        *(tuple(splits[split]) for split in SPLITS),
    )
    return checked(
        dataset,
        problems,
        title=TITLE,
        splits=present,
        disjoint=not separate,
        names=numbers,
        source="the names of folders"
        if told.by_folder
        else "the numbers in file names, and folders are cameras",
        notices=near_spelling_notices(numbers) if told.by_folder else (),
    )


def _names(told: Identified) -> list[str]:
    return [
        str(who.identity)
        for who in told.who
        if who is not None and who.identity is not None and who.identity != JUNK
    ]


def _complaint(who: Who | None, told: Identified) -> str:
    """Why an image cannot be used; empty where it can."""
    if who is None or who.identity is None:
        if told.by_folder or who is None:
            return "it is not in a person's folder, move it into one"
        return "its folder looks like a camera and its name tells nobody, move it to a person"
    if max(who.camera or 0, who.identity if isinstance(who.identity, int) else 0) > LARGEST:
        return f"numbers go up to {LARGEST}, number people and cameras anew"
    return ""
