"""CUHK03-NP as MATLAB files: the new protocol's lists over the pixels of `cuhk-03.mat`."""

from __future__ import annotations

import dataclasses
import pathlib
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline.errors import DataError
from input_pipeline.readers._three_folders import FOLDERS

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
