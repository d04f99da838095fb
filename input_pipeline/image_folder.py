"""Pictures of any folder, with identity and camera where their places tell them."""

from __future__ import annotations

import dataclasses
import itertools
import pathlib
import re
from collections.abc import Sequence

from input_pipeline.dataset import SPLITS
from input_pipeline.errors import DataError
from input_pipeline.readers import _files, folders

JUNK = -1
_NAME = re.compile(r"(?P<identity>-1|\d+)_c(?P<camera>\d+)(?:s\d+)?(?:[_-].*)?\.\w+")


@dataclasses.dataclass(frozen=True)
class Who:
    """What the place of a picture tells.

    Attributes:
        identity: A number from a name such as `0002_c1s1_000451_03.jpg`, or the name of the
            folder of a person, as in `query/alice/7.jpg`.
        camera: None if it is not told.
    """

    identity: int | str
    camera: int | None


@dataclasses.dataclass(frozen=True)
class PictureFolder:
    """The pictures in a folder and everything under it, in the order of their paths.

    Attributes:
        root: The folder.
        names: Paths relative to it, with `/` between folders.
        who: Identity and camera of each picture, or None where they are not told; the identities
            are all numbers or all names of folders.
        junk: Pictures of identity -1 (bad detections in Market-1501) that were left out.
    """

    root: pathlib.Path
    names: tuple[str, ...]
    who: tuple[Who | None, ...]
    junk: int


def who_is_named(path: pathlib.PurePath) -> Who | None:
    """Identity and camera in a file name in the manner of Market-1501, or None."""
    match = _NAME.fullmatch(path.name)
    return Who(int(match["identity"]), int(match["camera"])) if match else None


def whose_folder(path: pathlib.Path) -> Who | None:
    """Whose picture this is, and its camera, if it lies in `train`, `query` or `gallery/PERSON`."""
    return _who_lies_in(path.absolute().parts[-3:-1], name=path.name)


def list_folder(root: pathlib.Path) -> PictureFolder:
    """Finds the pictures of a folder.

    Raises:
        DataError: It is missing, cannot be read, or holds no pictures.
    """
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}: give the folder that holds the pictures")
    paths = _files.walk_pictures(root, title="pictures")
    names = [path.relative_to(root).as_posix() for path in paths]
    for name in names:
        if not name.isprintable():
            raise DataError(f"{root} holds a file whose name is not UTF-8, {name!r}: rename it")
    # Person's folders count under this folder, or one folder deeper; not those that lead to it.
    here = root.absolute().name
    told = [
        _who_lies_in((here, *path.relative_to(root).parts)[:-1][:3], name=path.name)
        for path in paths
    ]
    if not any(told):
        told = [who_is_named(path) for path in paths]
    kept = [i for i, who in enumerate(told) if who is None or who.identity not in (JUNK, str(JUNK))]
    if not kept:
        suffixes = ", ".join(_files.PICTURE_SUFFIXES)
        raise DataError(f"{root} holds no pictures ({suffixes}): give another folder")
    return PictureFolder(
        root,
        names=tuple(names[i] for i in kept),
        who=tuple(told[i] for i in kept),
        junk=len(names) - len(kept),
    )


def _who_lies_in(above: Sequence[str], *, name: str) -> Who | None:
    """Identity by the folders above a picture, outermost first, and camera by its name."""
    for split, person in itertools.pairwise(above):
        if split in SPLITS:
            camera = folders.CAMERA.search(name)
            return Who(person, int(camera[1]) if camera else None)
    return None
