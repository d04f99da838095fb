"""CUHK03-NP as the MATLAB files of its authors, unpacked into images."""

from __future__ import annotations

import contextlib
import dataclasses
import pathlib
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from PIL import Image
from tqdm import tqdm

from input_pipeline.errors import DataError
from input_pipeline.files import reading
from input_pipeline.identities.unknown import JUNK
from input_pipeline.layouts.protocol import FOLDERS

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
