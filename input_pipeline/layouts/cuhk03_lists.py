"""CUHK03-NP as lists of images."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

import numpy as np

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import Problem
from input_pipeline.identities.spelling import whole_number
from input_pipeline.identities.unknown import JUNK, UNKNOWN_CAMERA, is_junk
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import Count, checked

LISTS: Mapping[str, str] = {
    "train": "train.txt",
    "query": "test_probe.txt",
    "gallery": "test_gallery.txt",
}
CAMERA_FILES: Mapping[str, str] = {"query": "cam_probe.npy", "gallery": "cam_gallery.npy"}
# A path may have blanks in it; it ends with a suffix.
_LINE = re.compile(
    r"(?P<path>.+\.\w+)\s+(?P<identity>[-−]?[0-9]+(?:\.0+)?)"
    r"(?:\s+(?P<camera>-1|[0-9]{1,9}))?"
)
_CAMERA_IN_NAME = re.compile(r"_c([0-9])[_s]")


def has_lists(root: pathlib.Path) -> bool:
    """Whether the folder holds any of the lists."""
    return any((root / name).is_file() for name in LISTS.values())


def read_lists(
    root: pathlib.Path, *, name: str, title: str, published: Mapping[str, Count]
) -> ReidDataset:
    """Reads the three lists; a line is an image's path under `root` and its identity.

    The camera is a third field of the line, else a number of `cam_probe.npy` or
    `cam_gallery.npy`, else `_c1` in the file's name. Training images may have none.

    Raises:
        FilesError: Lists are missing, lines do not parse or listed files are missing; all of it
            at once.
    """
    problems: list[Problem] = []
    present = listing.splits_to_read(root, LISTS)
    splits = [_read_list(root, split, problems) if split in present else () for split in LISTS]
    dataset = ReidDataset(name, root, *splits)
    return checked(dataset, problems, title=title, splits=present, published=published)


def _read_list(root: pathlib.Path, split: str, problems: list[Problem]) -> tuple[Sample, ...]:
    """The samples of one list."""
    source = root / LISTS[split]
    lines = [line for line in listing.read_text(source, problems).splitlines() if line.strip()]
    cameras = _camera_file(root, split, len(lines), problems)
    labels = listing.label_tree(root)
    samples = []
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line.strip())
        identity = _identity(match["identity"]) if match else None
        if match is None or identity is None:
            what = f"entry {number + 1} reads {line!r}"
            problems.append(
                Problem(source, f"{what}, a line is a path, an identity, perhaps a camera")
            )
            continue
        path = _inside(root, match["path"])
        if path is None:
            problems.append(
                Problem(source, f"entry {number + 1} leads out of this folder: {line!r}")
            )
            continue
        if wrong := listing.what_is_wrong(path):
            problems.append(Problem(path, f"it is listed in {source.name} and {wrong}"))
            continue
        in_name = _CAMERA_IN_NAME.search(path.name)
        camera = next(
            (
                int(found)
                for found in (
                    match["camera"],
                    None if cameras is None else cameras[number],
                    in_name and in_name[1],
                )
                if found is not None
            ),
            None,
        )
        if camera is None and split != "train":
            what = f"entry {number + 1} does not say which camera took {match['path']}, put"
            problems.append(
                Problem(source, f"{what} {CAMERA_FILES[split]} beside it or a third field there")
            )
            continue
        part_map = labels and listing.find_part_map(path, root=root, labels=labels)
        samples.append(
            Sample(path, identity, UNKNOWN_CAMERA if camera is None else camera, part_map)
        )
    return tuple(samples)


def _identity(text: str) -> int | None:
    return JUNK if is_junk(text) else whole_number(text)


def _camera_file(
    root: pathlib.Path, split: str, length: int, problems: list[Problem]
) -> np.ndarray | None:
    """The camera of each line, `[length]`, or None where there is no usable file of them."""
    path = root / CAMERA_FILES[split] if split in CAMERA_FILES else None
    if path is None or not path.exists():
        return None
    try:
        cameras = np.load(path).reshape(-1)
        whole = cameras.astype(np.int64)
    except Exception as error:  # NumPy raises whatever the content leads it to
        what = f"it is not a NumPy file of cameras ({error}), get it again"
        problems.append(Problem(path, what))
        return None
    if len(cameras) != length:
        what = f"it has {len(cameras)} cameras for the {length} lines of {LISTS[split]}, they must"
        problems.append(Problem(path, f"{what} belong together"))
        return None
    if (whole != cameras).any() or (whole < UNKNOWN_CAMERA).any():
        problems.append(Problem(path, "cameras must be whole numbers, get it again"))
        return None
    return whole


def _inside(root: pathlib.Path, listed: str) -> pathlib.Path | None:
    """The listed file under `root`; of another computer's absolute path the end is tried."""
    path = pathlib.PurePosixPath(listed.replace("\\", "/"))
    if not path.is_absolute():
        return listing.below(root, listed)
    for start in range(1, len(path.parts)):
        candidate = root.joinpath(*path.parts[start:])
        if ".." not in path.parts and listing.what_is_wrong(candidate) is None:
            return candidate
    return root / path.name
