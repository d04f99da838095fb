"""CUHK03-NP as the MATLAB files of its authors, and as lists of images."""

from __future__ import annotations

import dataclasses
import pathlib
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities import whole_number
from input_pipeline.readers import _files
from input_pipeline.readers._splits import FOLDERS, Count, checked

PIXELS = "cuhk-03.mat"
PROTOCOL = "cuhk03_new_protocol_config_{}.mat"
_INDICES = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}


@dataclasses.dataclass(frozen=True)
class _Picture:
    """One picture of the protocol: where its pixels are, and where its file goes."""

    split: str
    identity: int
    camera: int
    source: str

    def target(self, folder: pathlib.Path) -> pathlib.Path:
        """The file under `folder`, named as in the picture folders."""
        stem = pathlib.PurePosixPath(self.source).stem
        return folder / FOLDERS[self.split] / f"{self.identity:04d}_c{self.camera}_{stem}.png"


def unpack(
    root: pathlib.Path, *, variant: str, target: pathlib.Path, progress: bool = True
) -> None:
    """Writes the pictures of one variant as PNG files in three folders under `target`.

    The work goes on in `<target>.partial` where it was interrupted; `target` appears when it is
    complete.

    Args:
        root: Holds the protocol file and `cuhk-03.mat` (here or in `cuhk03_release`).
        variant: `labeled` or `detected`.
        target: The new folder.
        progress: Whether to show a progress bar.

    Raises:
        DataError: A file is missing or is not the expected MATLAB file, or the folder cannot be
            written.
    """
    pictures = _protocol(root / PROTOCOL.format(variant))
    pixels = next(
        (path for path in (root / PIXELS, root / "cuhk03_release" / PIXELS) if path.is_file()),
        None,
    )
    if pixels is None:
        raise DataError(f"{PIXELS} is not in {root}: put it beside {PROTOCOL.format(variant)}")
    partial = target.with_name(f"{target.name}.partial")
    try:
        for folder in FOLDERS.values():
            (partial / folder).mkdir(parents=True, exist_ok=True)
        _write(pixels, pictures, variant=variant, folder=partial, progress=progress)
        partial.rename(target)
    except OSError as error:
        if error.errno is None:  # from the HDF5 library
            raise DataError(f"{pixels} is damaged ({error}): get it again") from error
        raise DataError(
            f"{root} cannot be written ({error.strerror}), and CUHK03 is unpacked beside its "
            "MATLAB files: copy them to a folder of yours"
        ) from error


def _protocol(path: pathlib.Path) -> list[_Picture]:
    """The pictures of the three splits; MATLAB counts from 1."""
    import scipy.io

    if not path.is_file():
        raise DataError(f"{path} is missing: it holds the new protocol's splits")
    try:
        content = scipy.io.loadmat(str(path))
        names = [str(np.ravel(entry)[0]) for entry in np.ravel(content["filelist"])]
        labels = np.ravel(content["labels"]).astype(int)
        cameras = np.ravel(content["camId"]).astype(int)
        return [
            _Picture(split, int(labels[index]), int(cameras[index]), names[index])
            for split, key in _INDICES.items()
            for index in np.ravel(content[key]).astype(int) - 1
        ]
    except PermissionError:
        raise  # the file may well be whole
    except Exception as error:  # SciPy raises whatever the content leads it to
        raise DataError(
            f"{path} is not a file of the CUHK03 new protocol ({error or type(error).__name__}): "
            "get it again"
        ) from error


def _write(
    pixels: pathlib.Path,
    pictures: list[_Picture],
    *,
    variant: str,
    folder: pathlib.Path,
    progress: bool,
) -> None:
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"reading {pixels} takes the package h5py: pip install 'magnifier_jax[mat]'"
        ) from error
    try:
        file = h5py.File(pixels, "r")
    except OSError as error:
        raise DataError(f"{pixels} is not an HDF5 MATLAB file: get it again") from error
    with file:
        if variant not in file:
            raise DataError(f"{pixels} has no {variant!r} pictures: get it again")
        pairs = np.ravel(file[variant][()])
        grids = [file[pair][()] for pair in pairs]
        title = f"unpacking CUHK03 {variant}"
        for picture in tqdm(pictures, desc=title, unit="image", disable=not progress):
            path = picture.target(folder)
            if path.exists():
                continue
            image = _image(file, grids, picture.source, pixels)
            unfinished = path.with_suffix(".unfinished")
            image.save(unfinished, format="PNG")
            unfinished.rename(path)


def _image(file: Any, grids: list[np.ndarray], source: str, pixels: pathlib.Path) -> Image.Image:
    """The picture that the name `pair_person_view_index.png` points to (all count from 1).

    HDF5 stores MATLAB's `[rows, columns, colours]` reversed, and so the grid of pictures of a
    camera pair as `[index, person]`.
    """
    try:
        pair, person, _, index = (
            int(part) for part in pathlib.PurePosixPath(source).stem.split("_")
        )
        array = file[grids[pair - 1][index - 1, person - 1]][()]
    except (ValueError, IndexError, KeyError) as error:
        raise DataError(f"{pixels} has no picture {source}: the two files do not match") from error
    if array.ndim != 3:
        raise DataError(f"{pixels} has no pixels for {source}: the two files do not match")
    return Image.fromarray(np.ascontiguousarray(array.transpose(2, 1, 0)))


LISTS: Mapping[str, str] = {
    "train": "train.txt",
    "query": "test_probe.txt",
    "gallery": "test_gallery.txt",
}
CAMERA_FILES: Mapping[str, str] = {"query": "cam_probe.npy", "gallery": "cam_gallery.npy"}
# A path may have blanks in it; it ends with a suffix.
_LINE = re.compile(r"(?P<path>.+\.\w+)\s+(?P<identity>[0-9]+)(?:\s+(?P<camera>[0-9]+))?")
_CAMERA_IN_NAME = re.compile(r"_c([0-9])[_s]")


def has_lists(root: pathlib.Path) -> bool:
    """Whether the folder holds any of the lists."""
    return any((root / name).is_file() for name in LISTS.values())


def read_lists(
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
    splits = {split: _read_list(root, split, problems) for split in LISTS}
    return checked(
        ReidDataset(name, root, *splits.values()), problems, title=title, published=published
    )


def _read_list(root: pathlib.Path, split: str, problems: list[Problem]) -> tuple[Sample, ...]:
    """The samples of one list."""
    source = root / LISTS[split]
    lines = [line for line in _files.read_text(source, problems).splitlines() if line.strip()]
    cameras = _camera_file(root, split, len(lines), problems)
    labels = _files.label_tree(root)
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
        if wrong := _files.what_is_wrong(path):
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
        part_map = labels and _files.find_part_map(path, root=root, labels=labels)
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
        what = f"it has {len(cameras)} cameras for the {length} lines of {LISTS[split]}, they must"
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
        return _files.below(root, listed)
    for start in range(1, len(path.parts)):
        candidate = root.joinpath(*path.parts[start:])
        if ".." not in path.parts and _files.what_is_wrong(candidate) is None:
            return candidate
    return root / path.name
