"""CUHK03-NP as lists of pictures: `train.txt`, `test_probe.txt` and `test_gallery.txt`."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

import numpy as np

from input_pipeline.errors import DataError
from input_pipeline.problems import FilesError, Problem
from input_pipeline.readers import _folders
from input_pipeline.samples import ReidDataset, Sample

FILES: Mapping[str, str] = {
    "train": "train.txt",
    "query": "test_probe.txt",
    "gallery": "test_gallery.txt",
}
CAMERA_FILES: Mapping[str, str] = {"query": "cam_probe.npy", "gallery": "cam_gallery.npy"}
_CAMERA_IN_NAME = re.compile(r"_c(\d)[_s]")


def present(root: pathlib.Path) -> bool:
    """Whether the folder holds any of the lists."""
    return any((root / name).is_file() for name in FILES.values())


def read(root: pathlib.Path, *, name: str, title: str) -> ReidDataset:
    """Reads the three lists; a line is a picture's path under `root` and its identity.

    The camera is a third field of the line, else a number of `cam_probe.npy` or
    `cam_gallery.npy`, else `_c1` in the file's name. Training pictures may have none (camera 0).

    Raises:
        DataError: A list is missing or a line does not parse; a `FilesError` names every listed
            file that is missing.
    """
    labels = _folders.label_tree(root)
    problems: list[Problem] = []
    splits: dict[str, tuple[Sample, ...]] = {}
    for split, file_name in FILES.items():
        lines = _lines(root / file_name, title=title)
        cameras = _camera_file(root, split, len(lines))
        samples = []
        for number, line in enumerate(lines):
            fields = line.split()
            path = _inside(root, fields[0])
            if len(fields) not in (2, 3) or not all(field.isdigit() for field in fields[1:]):
                raise DataError(
                    f"{root / file_name}, entry {number + 1} reads {line!r}: "
                    "a line is a path, an identity and perhaps a camera"
                )
            if not path.is_file():
                problems.append(Problem(path, f"listed in {file_name} and missing"))
                continue
            camera = int(fields[2]) if len(fields) == 3 else None
            if camera is None and cameras is not None:
                camera = int(cameras[number])
            if camera is None:
                match = _CAMERA_IN_NAME.search(path.name)
                camera = int(match[1]) if match else None
            if camera is None and split != "train":
                raise DataError(
                    f"{root / file_name} does not say which camera took {fields[0]}: "
                    f"put {CAMERA_FILES[split]} beside it or a third field in each line"
                )
            part_map = labels and _folders.find_part_map(path, root=root, labels=labels)
            samples.append(Sample(path, int(fields[1]), camera or 0, part_map))
        splits[split] = tuple(samples)
    dataset = ReidDataset(name, root, **splits)
    if problems:
        raise FilesError("Unpack the pictures beside the lists", problems, rest=dataset)
    return dataset


def _lines(path: pathlib.Path, *, title: str) -> list[str]:
    if not path.is_file():
        raise DataError(f"the list {path} of {title} is missing: put it beside the others")
    return [line for line in path.read_text("utf-8").splitlines() if line.strip()]


def _camera_file(root: pathlib.Path, split: str, length: int) -> np.ndarray | None:
    path = root / CAMERA_FILES[split] if split in CAMERA_FILES else None
    if path is None or not path.is_file():
        return None
    cameras = np.load(path).reshape(-1)
    if len(cameras) != length:
        raise DataError(
            f"{path} has {len(cameras)} cameras for the {length} lines of {FILES[split]}: "
            "they must belong together"
        )
    return cameras


def _inside(root: pathlib.Path, listed: str) -> pathlib.Path:
    """The listed file under `root`; of another computer's absolute path the end is tried."""
    path = pathlib.PurePosixPath(listed.replace("\\", "/"))
    if not path.is_absolute():
        return root / path
    for start in range(1, len(path.parts)):
        candidate = root.joinpath(*path.parts[start:])
        if candidate.is_file():
            return candidate
    return root / path.name
