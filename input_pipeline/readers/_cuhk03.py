"""CUHK03-NP as the MATLAB files of its authors, and as lists of images."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.files import reading
from input_pipeline.identities.spelling import whole_number
from input_pipeline.identities.unknown import JUNK, UNKNOWN_CAMERA, is_junk
from input_pipeline.readers import _files
from input_pipeline.readers._splits import FOLDERS, Count, checked

PIXELS = "cuhk-03.mat"
PROTOCOL = "cuhk03_new_protocol_config_{}.mat"
_SOURCE = re.compile(r"[0-9]{1,6}(?:_[0-9]{1,6}){3}")
_INDICES = {"train": "train_idx", "query": "query_idx", "gallery": "gallery_idx"}


@dataclasses.dataclass(frozen=True)
class _Listed:
    """One image of the protocol: where its pixels are, and where its file goes."""

    split: str
    identity: int
    camera: int
    source: str

    def target(self, folder: pathlib.Path) -> pathlib.Path:
        """The file under `folder`, named as in the folders of images."""
        identity = "-1" if self.identity == JUNK else f"{self.identity:04d}"
        return folder / FOLDERS[self.split] / f"{identity}_c{self.camera}_{self.source}.png"


def unpack(
    root: pathlib.Path, *, variant: str, target: pathlib.Path, progress: bool = True
) -> None:
    """Writes the images of one variant as PNG files in three folders under `target`.

    Interrupted work is resumed in `<target>.partial`; `target` appears when it is complete.

    Args:
        root: Holds the protocol file and `cuhk-03.mat` (here or in `cuhk03_release`).
        variant: `labeled` or `detected`.
        target: The new folder.
        progress: Whether to show a progress bar.

    Raises:
        DataError: A file is missing or is not the expected MATLAB file, or the folder cannot be
            written.
    """
    listed = _protocol(root / PROTOCOL.format(variant))
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
        waiting = {image.target(partial): image for image in listed}
        waiting = {path: image for path, image in waiting.items() if not path.exists()}
        done = len(listed) - len(waiting)
        with tqdm(
            _images(pixels, list(waiting.values()), variant=variant),
            total=len(listed),
            initial=done,
            desc=f"unpacking CUHK03 {variant}",
            unit="image",
            disable=not progress,
        ) as images:
            for path, image in zip(waiting, images, strict=True):
                unfinished = path.with_suffix(".unfinished")
                image.save(unfinished, format="PNG")
                unfinished.rename(path)
        partial.rename(target)
    except OSError as error:
        raise DataError(
            f"{root} cannot be written ({error.strerror or error}), and CUHK03 is unpacked beside "
            "its MATLAB files: copy them to a folder of yours"
        ) from error


def _protocol(path: pathlib.Path) -> list[_Listed]:
    """The images of the three splits; MATLAB counts from 1."""
    import scipy.io

    if not path.is_file():
        raise DataError(f"{path} is missing: it holds the new protocol's splits")
    with reading(path, what="file of the CUHK03 new protocol", advice="get it again"):
        content = scipy.io.loadmat(str(path))
        names = [pathlib.PurePosixPath(str(np.ravel(n)[0])) for n in np.ravel(content["filelist"])]
        labels = np.ravel(content["labels"]).astype(int)
        cameras = np.ravel(content["camId"]).astype(int)
        found = []
        for split, key in _INDICES.items():
            indices = np.ravel(content[key]).astype(int)
            if indices.size and not 1 <= indices.min() <= indices.max() <= len(names):
                raise ValueError(f"{key} has numbers outside 1 to {len(names)}")
            for index in indices - 1:
                if not _SOURCE.fullmatch(names[index].stem):
                    raise ValueError(f"no image is called {str(names[index])!r}")
                if labels[index] < JUNK or cameras[index] < 0:
                    raise ValueError(f"{names[index]} has a negative identity or camera")
                found.append(
                    _Listed(split, int(labels[index]), int(cameras[index]), names[index].stem)
                )
    return found


def _images(
    pixels: pathlib.Path, listed: Sequence[_Listed], *, variant: str
) -> Iterator[Image.Image]:
    """The images of the protocol, in order, from `cuhk-03.mat`."""
    try:
        import h5py
    except ImportError as error:
        raise DataError(
            f"reading {pixels} takes the package h5py: pip install 'magnifier_jax[mat]'"
        ) from error
    again = "get it again"
    with contextlib.ExitStack() as stack:
        with reading(pixels, what="HDF5 MATLAB file", advice=again):
            file = stack.enter_context(h5py.File(pixels, "r"))
            if variant not in file:
                raise DataError(f"{pixels} has no {variant!r} images: {again}")
            grids = [file[pair][()] for pair in np.ravel(file[variant][()])]
        for each in listed:
            what = f"partner of the protocol, which lists {each.source}.png"
            with reading(pixels, what=what, advice="the two files do not match, or it is damaged"):
                image = _image(file, grids, each.source)
            yield image


def _image(file: Any, grids: Sequence[np.ndarray], source: str) -> Image.Image:
    """The image that the name `pair_person_view_index` points to (all count from 1).

    HDF5 stores MATLAB's `[rows, columns, colors]` reversed, and so the grid of images of a camera
    pair as `[index, person]`.
    """
    pair, person, _, index = (int(part) for part in source.split("_"))
    if min(pair, person, index) < 1:
        raise ValueError("it counts from 1")
    array = file[grids[pair - 1][index - 1, person - 1]][()]
    if getattr(array, "ndim", 0) != 3:
        raise ValueError("there are no pixels")
    return Image.fromarray(np.ascontiguousarray(array.transpose(2, 1, 0)))


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
    present = _files.splits_to_read(root, LISTS)
    splits = [_read_list(root, split, problems) if split in present else () for split in LISTS]
    dataset = ReidDataset(name, root, *splits)
    return checked(dataset, problems, title=title, splits=present, published=published)


def _read_list(root: pathlib.Path, split: str, problems: list[Problem]) -> tuple[Sample, ...]:
    """The samples of one list."""
    source = root / LISTS[split]
    lines = [line for line in _files.read_text(source, problems).splitlines() if line.strip()]
    cameras = _camera_file(root, split, len(lines), problems)
    labels = _files.label_tree(root)
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
        return _files.below(root, listed)
    for start in range(1, len(path.parts)):
        candidate = root.joinpath(*path.parts[start:])
        if ".." not in path.parts and _files.what_is_wrong(candidate) is None:
            return candidate
    return root / path.name
