"""Finding a dataset's folder on disk, its pictures and its tree of part labels."""

from __future__ import annotations

import os
import pathlib
import re
import unicodedata
from collections.abc import Sequence

from input_pipeline.errors import DataError

PICTURE_SUFFIXES = (".jpg", ".jpeg", ".png")


def find_root(
    root: pathlib.Path, *, title: str, folders: Sequence[str], contents: Sequence[str]
) -> pathlib.Path:
    """The folder of a dataset: `root` itself, or the first usual folder name under it.

    Args:
        root: Where the user points.
        title: The dataset's name in messages.
        folders: Usual names of the dataset's folder, such as `Market-1501-v15.09.15`.
        contents: What the folder holds, such as `bounding_box_train`; one of them makes it the
            dataset's folder.

    Raises:
        DataError: There is no such folder; the message lists the names that were looked for.
    """
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}: give the folder that holds {title}")
    for candidate in (root, *(root / name for name in folders)):
        if any((candidate / name).exists() for name in contents):
            return candidate
    usual = ", ".join(folders)
    raise DataError(
        f"{title} is not in {root}: looked for {', '.join(contents)} in this folder"
        f"{f' and in its folders {usual}' if usual else ''}; give the folder that holds them"
    )


def list_pictures(folder: pathlib.Path, *, title: str) -> list[pathlib.Path]:
    """Picture files directly in a folder, in the order of their names.

    Files that are no pictures by name, and the hidden files that file managers leave behind, are
    passed over.

    Raises:
        DataError: The folder is missing, cannot be read, or holds no pictures.
    """
    try:
        names = [entry.name for entry in os.scandir(folder)]
    except OSError as error:
        raise _unreadable(folder, error, title) from error
    pictures = sorted(name for name in names if is_picture_name(name))
    if not pictures:
        raise DataError(
            f"{folder} of {title} holds no pictures ({', '.join(PICTURE_SUFFIXES)}): "
            "unpack the dataset again or point to another folder"
        )
    return [folder / name for name in pictures]


def walk_pictures(folder: pathlib.Path, *, title: str) -> list[pathlib.Path]:
    """Picture files in a folder and everything under it, in the order of their paths.

    Symbolic links to folders are followed.

    Raises:
        DataError: A folder is missing or cannot be read, or a link leads back to a folder above.
    """
    found: list[pathlib.Path] = []

    def visit(here: pathlib.Path, above: tuple[pathlib.Path, ...]) -> None:
        try:
            real = here.resolve(strict=True)
            entries = sorted(os.scandir(here), key=lambda entry: entry.name)
        except (OSError, RuntimeError) as error:
            raise _unreadable(here, error, title) from error
        if real in above:
            raise DataError(
                f"the symbolic link {here} leads back to {real}: remove the link, it never ends"
            )
        for entry in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if is_picture_name(entry.name):
                found.append(here / entry.name)
            elif _is_folder(entry, title=title):
                visit(here / entry.name, (*above, real))

    visit(folder, ())
    return found


def is_picture_name(name: str) -> bool:
    """Whether a file name has a picture's suffix and is not a file manager's hidden file."""
    return not name.startswith(".") and name.lower().endswith(PICTURE_SUFFIXES)


def find_part_map(
    path: pathlib.Path, *, root: pathlib.Path, labels: pathlib.Path
) -> pathlib.Path | None:
    """The PNG part map of a picture in a label tree that mirrors the dataset, or None."""
    candidate = (labels / path.relative_to(root)).with_suffix(".png")
    return candidate if candidate.exists() else None


def label_tree(root: pathlib.Path) -> pathlib.Path | None:
    """The tree `<dataset root>_ps_label` beside a dataset, or None.

    A variant's folder, such as `cuhk03-np/detected`, may also have its labels in
    `cuhk03-np_ps_label/detected`.
    """
    root = root.absolute()
    beside = root.with_name(f"{root.name}_ps_label")
    above = root.parent.with_name(f"{root.parent.name}_ps_label") / root.name
    return next((tree for tree in (beside, above) if tree.is_dir()), None)


def _is_folder(entry: os.DirEntry[str], *, title: str) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # A link that leads to itself.
        raise _unreadable(pathlib.Path(entry.path), error, title) from error


def _unreadable(folder: pathlib.Path, error: Exception, title: str) -> DataError:
    if isinstance(error, FileNotFoundError):
        return DataError(f"the folder {folder} of {title} is missing: unpack the dataset again")
    reason = getattr(error, "strerror", None) or str(error)
    return DataError(f"the folder {folder} of {title} cannot be read: {reason}; check its rights")


def name_of(root: pathlib.Path, *, fallback: str) -> str:
    """A dataset name made of its folder's name: lower-case letters, digits and underscores."""
    plain = unicodedata.normalize("NFKD", root.resolve().name.lower())
    plain = "".join(letter for letter in plain if not unicodedata.combining(letter))
    name = re.sub(r"[^a-z0-9]+", "_", plain).strip("_")
    return name if name[:1].isalpha() else f"{fallback}_{name}".rstrip("_")
