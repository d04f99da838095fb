"""CUHK03-NP as lists of pictures: `train.txt`, `test_probe.txt` and `test_gallery.txt`."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

import numpy as np

from input_pipeline.errors import Problem
from input_pipeline.identities import whole_number
from input_pipeline.readers import _folders
from input_pipeline.readers._counts import Count, checked
from input_pipeline.samples import ReidDataset, Sample

FILES: Mapping[str, str] = {
    "train": "train.txt",
    "query": "test_probe.txt",
    "gallery": "test_gallery.txt",
}
CAMERA_FILES: Mapping[str, str] = {"query": "cam_probe.npy", "gallery": "cam_gallery.npy"}
# A path may have blanks in it; it ends with a suffix.
_LINE = re.compile(r"(?P<path>.+\.\w+)\s+(?P<identity>[0-9]+)(?:\s+(?P<camera>[0-9]+))?")
_CAMERA_IN_NAME = re.compile(r"_c([0-9])[_s]")


def present(root: pathlib.Path) -> bool:
    """Whether the folder holds any of the lists."""
    return any((root / name).is_file() for name in FILES.values())


def read(
    root: pathlib.Path, *, name: str, title: str, published: Mapping[str, Count]
) -> ReidDataset:
    """Reads the three lists; a line is a picture's path under `root` and its identity.

    The camera is a third field of the line, else a number of `cam_probe.npy` or
    `cam_gallery.npy`, else `_c1` in the file's name. Training pictures may have none (camera 0).

    Raises:
        FilesError: Lists are missing, lines do not parse or listed files are missing; all of it
            at once.
    """
    problems: list[Problem] = []
    splits = {split: _read_list(root, split, problems) for split in FILES}
    return checked(ReidDataset(name, root, **splits), problems, title=title, published=published)


def _read_list(root: pathlib.Path, split: str, problems: list[Problem]) -> tuple[Sample, ...]:
    """The samples of one list."""
    source = root / FILES[split]
    lines = [line for line in _folders.read_text(source, problems).splitlines() if line.strip()]
    cameras = _camera_file(root, split, len(lines), problems)
    labels = _folders.label_tree(root)
    samples = []
    for number, line in enumerate(lines):
        match = _LINE.fullmatch(line.strip())
        identity = whole_number(match["identity"]) if match else None
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
        if wrong := _folders.what_is_wrong(path):
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
        part_map = labels and _folders.find_part_map(path, root=root, labels=labels)
        samples.append(Sample(path, identity, camera or 0, part_map))
    return tuple(samples)


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
        what = f"it has {len(cameras)} cameras for the {length} lines of {FILES[split]}, they must"
        problems.append(Problem(path, f"{what} belong together"))
        return None
    if (whole != cameras).any() or (whole < 0).any():
        problems.append(Problem(path, "cameras must be whole numbers from 0, get it again"))
        return None
    return whole


def _inside(root: pathlib.Path, listed: str) -> pathlib.Path | None:
    """The listed file under `root`; of another computer's absolute path the end is tried."""
    path = pathlib.PurePosixPath(listed.replace("\\", "/"))
    if not path.is_absolute():
        return _folders.below(root, listed)
    for start in range(1, len(path.parts)):
        candidate = root.joinpath(*path.parts[start:])
        if ".." not in path.parts and _folders.what_is_wrong(candidate) is None:
            return candidate
    return root / path.name
