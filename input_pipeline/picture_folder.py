"""Pictures of any folder, with identity and camera where the file names tell them."""

from __future__ import annotations

import dataclasses
import pathlib
import re

import numpy as np

from input_pipeline.decode import decode_image
from input_pipeline.encode import check_size, encode_picture
from input_pipeline.errors import DataError
from input_pipeline.readers import _folders

JUNK = -1
_NAME = re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)(?:s\d+)?(?:[_-].*)?\.\w+")


@dataclasses.dataclass(frozen=True)
class Who:
    """What a name such as `0002_c1s1_000451_03.jpg` tells."""

    identity: int
    camera: int


@dataclasses.dataclass(frozen=True)
class PictureFolder:
    """The pictures in a folder and everything under it, in the order of their paths.

    Attributes:
        root: The folder.
        names: Paths relative to it, with `/` between folders.
        who: Identity and camera of each picture; None unless every name tells them.
        unnamed: Names that do not tell them.
        junk: Pictures of identity -1 (bad detections in Market-1501) that were left out.
    """

    root: pathlib.Path
    names: tuple[str, ...]
    who: tuple[Who, ...] | None
    unnamed: tuple[str, ...]
    junk: int


def who_is_on(name: str) -> Who | None:
    """Identity and camera in a file name in the manner of Market-1501, or None."""
    match = _NAME.fullmatch(pathlib.PurePath(name).name)
    return Who(int(match["identity"]), int(match["camera"])) if match else None


def list_folder(root: pathlib.Path) -> PictureFolder:
    """Finds the pictures of a folder.

    Raises:
        DataError: It is missing, cannot be read, or holds no pictures.
    """
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}: give the folder that holds the pictures")
    paths = _folders.walk_pictures(root, title="pictures")
    names = [path.relative_to(root).as_posix() for path in paths]
    for name in names:
        if not name.isprintable():
            raise DataError(f"{root} holds a file whose name is not UTF-8, {name!r}: rename it")
    told = [who_is_on(name) for name in names]
    unnamed = tuple(name for name, who in zip(names, told, strict=True) if who is None)
    junk = 0
    if not unnamed:
        kept = [i for i, who in enumerate(told) if who and who.identity != JUNK]
        junk = len(names) - len(kept)
        names, told = [names[i] for i in kept], [told[i] for i in kept]
    if not names:
        suffixes = ", ".join(_folders.PICTURE_SUFFIXES)
        raise DataError(f"{root} holds no pictures ({suffixes}): give another folder")
    who = None if unnamed else tuple(found for found in told if found is not None)
    return PictureFolder(root, tuple(names), who, unnamed, junk)


def read_picture(path: pathlib.Path, *, image_size: tuple[int, int]) -> np.ndarray:
    """Reads any picture as the training's loaders would.

    Args:
        path: A picture in any format that Pillow reads; EXIF rotation is applied.
        image_size: Height and width of the result, in pixels.

    Returns:
        uint8 RGB `[H, W, 3]`.

    Raises:
        ValueError: It is not a whole picture or too small; the message is the reason alone.
    """
    data, size = encode_picture(path)
    check_size(size)
    return decode_image(data, image_size=image_size)
