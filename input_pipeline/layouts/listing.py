"""Finding a dataset's folder on disk, its images, its lists and its tree of part labels."""

from __future__ import annotations

import os
import pathlib
import re
import unicodedata
import warnings
from collections.abc import Mapping, Sequence

from input_pipeline.errors import DataError, FilesError, Problem, printable
from input_pipeline.identities.file_names import camera_of_folder
from input_pipeline.identities.spelling import one_spelling

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff")
# Images too, of kinds that are not read: passing them over in silence would lose people.
_OTHER_SUFFIXES = (
    *(".gif", ".heic", ".heif", ".avif", ".jfif", ".jpe", ".jp2", ".jxl", ".tga", ".ppm"),
    *(".raw", ".dng", ".cr2", ".nef", ".arw", ".eps", ".psd", ".ico", ".dds", ".pgm", ".pnm"),
)


def find_root(
    root: pathlib.Path, *, title: str, folders: Sequence[str], contents: Sequence[str]
) -> pathlib.Path:
    """The folder of a dataset: `root` itself, or a usual folder name under it.

    It is the one that holds most of the contents; of equals, the first.

    Args:
        root: Where the user points.
        title: The dataset's name in messages.
        folders: Usual names of the dataset's folder, such as `Market-1501-v15.09.15`.
        contents: What the folder holds, such as `bounding_box_train`.

    Raises:
        DataError: There is no such folder; the message lists the names that were looked for.
    """
    if not root.is_dir():
        kind = "is not a folder" if root.exists() else "does not exist"
        raise DataError(f"{root} {kind}: give the folder that holds {title}")

    def held(candidate: pathlib.Path) -> int:
        return sum((candidate / name).exists() for name in contents)

    best = max((root, *(root / name for name in folders)), key=held)
    if held(best):
        return best
    usual = ", ".join(folders)
    raise DataError(
        f"{title} is not in {root}: looked for {', '.join(contents)} in this folder"
        f"{f' and in its folders {usual}' if usual else ''}; give the folder that holds them"
    )


def list_images(
    folder: pathlib.Path,
    *,
    title: str,
    problems: list[Problem] | None = None,
    camera_folders: bool = False,
) -> list[pathlib.Path]:
    """Image files directly in a folder, in the order of their names.

    Files that are no images by name, and the hidden files that file managers leave behind, are
    passed over; a warning counts images of other kinds and images in folders below.

    Args:
        folder: The folder.
        title: The dataset's name in messages.
        problems: Gets a folder that is missing, cannot be read or holds no images; None raises.
        camera_folders: Whether folders in it that look like cameras, such as `cam1`, are read too.

    Raises:
        FilesError: There is such a problem, and no list for it.
    """
    found: list[Problem] = []
    entries = _entries(folder, title, found)
    names = [entry.name for entry in entries]
    images = [folder / name for name in names if is_image_name(name)]
    _warn_of_other_kinds([folder / name for name in names], folder)
    deeper: list[pathlib.Path] = []
    for entry in entries:
        if is_image_name(entry.name) or not _is_folder(entry, []):
            continue
        read = camera_folders and camera_of_folder(entry.name) is not None
        below_it = walk_images(folder / entry.name, title=title, problems=found if read else [])
        (images if read else deeper).extend(below_it)
    if deeper:
        warnings.warn(
            printable(
                f"{_counted(deeper)} in folders under {folder} and not read, the first is "
                f"{deeper[0].relative_to(folder)}: {title} has its images in the folder itself"
            ),
            stacklevel=2,
        )
    if not images and not found:
        found.append(
            Problem(
                folder,
                f"this folder of {title} holds no images ({', '.join(IMAGE_SUFFIXES)}), unpack "
                "the dataset again or point to another folder",
            )
        )
    _hand_over(found, problems)
    return images


def walk_images(
    folder: pathlib.Path, *, title: str, problems: list[Problem] | None = None
) -> list[pathlib.Path]:
    """Image files in a folder and everything under it, in the order of their paths.

    Symbolic links to folders are followed.

    Args:
        folder: The folder.
        title: The dataset's name in messages.
        problems: Gets each folder that is missing or cannot be read and each link that leads back
            to a folder above; None raises.

    Raises:
        FilesError: There is such a problem, and no list for it.
    """
    images: list[pathlib.Path] = []
    files: list[pathlib.Path] = []
    found: list[Problem] = []

    def visit(here: pathlib.Path, above: tuple[pathlib.Path, ...]) -> None:
        entries = _entries(here, title, found)
        real = pathlib.Path(os.path.realpath(here))
        if real in above:
            found.append(
                Problem(here, f"this symbolic link leads back to {real}, remove it: it never ends")
            )
            return
        for entry in entries:
            path = here / entry.name
            if is_image_name(entry.name):
                images.append(path)
            elif _is_folder(entry, found):
                visit(path, (*above, real))
            else:
                files.append(path)

    visit(folder, ())
    _warn_of_other_kinds(files, folder)
    _hand_over(found, problems)
    return images


def splits_to_read(root: pathlib.Path, folders: Mapping[str, str]) -> tuple[str, ...]:
    """The splits of a dataset that may be a training set alone or a test set alone.

    Args:
        root: The dataset's folder.
        folders: Name of the file or folder of each split in it.

    Returns:
        `train` where only that is there, and `query` and `gallery` where `train` is not but one
        of them is; otherwise all. Reading them finds out what is missing.
    """
    there = {split for split, name in folders.items() if os.path.lexists(root / name)}
    if there == {"train"}:
        return ("train",)
    if there and "train" not in there:
        return tuple(split for split in folders if split != "train")
    return tuple(folders)


def is_image_name(name: str) -> bool:
    """Whether a file name has an image's suffix and is not a file manager's hidden file."""
    return not name.startswith(".") and name.lower().endswith(IMAGE_SUFFIXES)


def is_camera_folder(path: pathlib.Path) -> bool:
    """Whether a path is a folder that is called after a camera."""
    return camera_of_folder(path.name) is not None and path.is_dir()


def holds_images(folder: pathlib.Path) -> bool:
    """Whether images lie directly in a folder, or in folders of cameras in it."""
    if not folder.is_dir():
        return False
    entries = list(folder.iterdir())
    cameras = [entry for entry in entries if is_camera_folder(entry)]
    inside = [entry for camera in cameras for entry in camera.iterdir()]
    return any(is_image_name(entry.name) for entry in (*entries, *inside))


def what_is_wrong(path: pathlib.Path) -> str | None:
    """Why there is no file to read at a path that a list names, or None if there is one."""
    try:
        return None if path.is_file() else "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"


def read_text(path: pathlib.Path, problems: list[Problem]) -> str:
    """A list that a dataset comes with; what cannot be read is a problem, and empty."""
    try:
        return path.read_text("utf-8-sig")
    except FileNotFoundError:
        problems.append(Problem(path, "this list is missing, unpack the dataset again"))
    except UnicodeDecodeError:
        problems.append(Problem(path, "this list is not UTF-8 text, save it so"))
    except OSError as error:
        problems.append(Problem(path, f"{error.strerror}, check its permissions"))
    return ""


def below(folder: pathlib.Path, listed: str) -> pathlib.Path | None:
    """The path that a list names under a folder, or None where it leads out of the folder."""
    path = folder / listed.replace("\\", "/")
    inside = path.is_relative_to(folder) and ".." not in path.relative_to(folder).parts
    return path if listed and inside else None


def find_part_map(
    path: pathlib.Path, *, root: pathlib.Path, labels: pathlib.Path
) -> pathlib.Path | None:
    """The PNG part map of an image in a label tree that mirrors the dataset, or None."""
    candidate = (labels / path.relative_to(root)).with_suffix(".png")
    try:
        return candidate if candidate.exists() else None
    except OSError:  # It may be there; whoever reads it finds out why it cannot be.
        return candidate


def label_tree(root: pathlib.Path) -> pathlib.Path | None:
    """The tree `<dataset root>_ps_label` beside a dataset, or None.

    A variant's folder, such as `cuhk03-np/detected`, may also have its labels in
    `cuhk03-np_ps_label/detected`.
    """
    root = plain(root)
    beside = root.with_name(f"{root.name}_ps_label")
    above = root.parent.with_name(f"{root.parent.name}_ps_label") / root.name
    return next((tree for tree in (beside, above) if tree.is_dir()), None)


def plain(path: pathlib.Path) -> pathlib.Path:
    """The absolute path, without `..`; links stay, for labels may lie beside them."""
    return pathlib.Path(os.path.realpath(path)) if ".." in path.parts else path.absolute()


def name_of(root: pathlib.Path, *, fallback: str) -> str:
    """A dataset name made of its folder's name: lower-case letters, digits and underscores.

    Latin letters lose their accents; letters of other scripts stay as they are.
    """
    letters = (_letter(char) for char in one_spelling(root.resolve().name.lower()))
    name = re.sub(r"_+", "_", "".join(letters)).strip("_")
    return name if name[:1].isalpha() else f"{fallback}_{name}".rstrip("_")


def _letter(char: str) -> str:
    base = unicodedata.normalize("NFKD", char)
    plain_letters = "".join(part for part in base if not unicodedata.combining(part))
    if plain_letters.isascii() and plain_letters.isalnum():
        return plain_letters
    # Vowel signs and other marks are letters to those who write with them.
    of_word = not char.isascii() and unicodedata.category(char)[0] in "LMN"
    return char if of_word else "_"


def _entries(folder: pathlib.Path, title: str, found: list[Problem]) -> list[os.DirEntry[str]]:
    """What is in a folder by name, without what file managers leave behind."""
    try:
        with os.scandir(folder) as scanned:
            entries = sorted(scanned, key=lambda entry: entry.name)
    except FileNotFoundError:
        what = f"this folder of {title} is missing, unpack the dataset again"
        found.append(Problem(folder, what))
        return []
    except OSError as error:
        what = f"this folder of {title} cannot be read ({error.strerror}), check its permissions"
        found.append(Problem(folder, what))
        return []
    return [e for e in entries if not e.name.startswith(".") and e.name != "__MACOSX"]


def _is_folder(entry: os.DirEntry[str], found: list[Problem]) -> bool:
    try:
        return entry.is_dir()
    except OSError as error:  # A link that leads to itself.
        found.append(Problem(pathlib.Path(entry.path), f"cannot be read ({error.strerror})"))
        return False


def _warn_of_other_kinds(files: Sequence[pathlib.Path], folder: pathlib.Path) -> None:
    others = [path for path in files if path.name.lower().endswith(_OTHER_SUFFIXES)]
    if others:
        warnings.warn(
            printable(
                f"{_counted(others)} of kinds that are not read in {folder}, the first is "
                f"{others[0].relative_to(folder)}: save them as PNG or JPEG"
            ),
            stacklevel=3,
        )


def _counted(images: Sequence[pathlib.Path]) -> str:
    return "1 image is" if len(images) == 1 else f"{len(images)} images are"


def _hand_over(found: list[Problem], problems: list[Problem] | None) -> None:
    if problems is not None:
        problems += found
    elif found:
        raise FilesError("", found)
