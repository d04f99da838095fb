"""Images of any folder, with identity and camera where their names or places tell them."""

from __future__ import annotations

import dataclasses
import pathlib

from input_pipeline.errors import DataError
from input_pipeline.identities.file_names import Who
from input_pipeline.identities.identification import identify
from input_pipeline.identities.unknown import JUNK
from input_pipeline.layouts import listing


@dataclasses.dataclass(frozen=True)
class ImageFolder:
    """The images in a folder and everything under it, in the order of their paths.

    Attributes:
        root: The folder.
        names: Paths relative to it, with `/` between folders.
        who: Identity and camera of each image, or None where neither is told; the identities are
            all numbers, from names, or all text, from folders.
        by_folder: Whether the identities are names of folders.
        junk: Number of images of identity −1 (bad detections in Market-1501) that were left out.
        notices: What was taken as identities and from what, and what is not told or left out; a
            sentence each, without a period.
    """

    root: pathlib.Path
    names: tuple[str, ...]
    who: tuple[Who | None, ...]
    by_folder: bool
    junk: int
    notices: tuple[str, ...]


def list_folder(root: pathlib.Path) -> ImageFolder:
    """Finds the images of a folder.

    Raises:
        DataError: It is missing, cannot be read, or holds no images.
    """
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}: give the folder that holds the images")
    paths = listing.walk_images(root, title="images")
    names = [path.relative_to(root).as_posix() for path in paths]
    for name in names:
        if not _is_unicode(name):
            raise DataError(f"{root} holds a file whose name is not UTF-8, {name!r}: rename it")
    told = identify(names, folder=root.absolute().name)
    kept = [i for i, who in enumerate(told.who) if who is None or who.identity != JUNK]
    if not kept:
        suffixes = ", ".join(listing.IMAGE_SUFFIXES)
        raise DataError(f"{root} holds no images ({suffixes}): give another folder")
    return ImageFolder(
        root,
        names=tuple(names[i] for i in kept),
        who=tuple(told.who[i] for i in kept),
        by_folder=told.by_folder,
        junk=len(names) - len(kept),
        notices=told.notices,
    )


def _is_unicode(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:  # surrogates, which stand for bytes that are not UTF-8
        return False
    return True
