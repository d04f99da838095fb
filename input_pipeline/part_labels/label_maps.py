"""Label maps on disk: reading PNG and NumPy ones, and writing PNG ones in one piece."""

from __future__ import annotations

import os
import pathlib
import threading

import numpy as np
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.images import read_classes

SUFFIXES = (".png", ".npy")
_LARGEST = 1000  # No format has so many classes.


def read_labels(path: pathlib.Path) -> np.ndarray:
    """Reads a label map.

    Args:
        path: A single-channel image of class numbers (of a palette image the indices count),
            or a NumPy file of `[H, W]` whole numbers.

    Returns:
        int64 `[H, W]`.

    Raises:
        ValueError: If it is no such file; the message is the reason alone.
    """
    try:
        if path.suffix.lower() == ".npy":
            labels = np.load(path, allow_pickle=False)
        else:
            labels = read_classes(path)
    except Exception as error:  # NumPy raises whatever the content leads it to
        raise ValueError(f"not a label map ({' '.join(str(error).split())})") from error
    if not isinstance(labels, np.ndarray):
        raise ValueError("not a label map (it holds several arrays)")
    labels = np.squeeze(labels) if labels.ndim != 2 else labels
    if labels.ndim != 2 or not labels.size:
        raise ValueError(f"a label map is [height, width], this one is {list(labels.shape)}")
    if labels.dtype.kind not in "uif" or not _are_whole(labels):
        raise ValueError(f"a label map holds whole numbers, this one holds {labels.dtype}")
    # Larger ones are no classes, and might become some by wrapping around.
    return labels.clip(-_LARGEST, _LARGEST).astype(np.int64)


def _are_whole(labels: np.ndarray) -> bool:
    finite = labels.dtype.kind != "f" or bool(np.isfinite(labels).all())
    return finite and bool((labels == np.round(labels)).all())


def write_parts(parts: np.ndarray, path: pathlib.Path) -> None:
    """Writes a part map, uint8 `[H, W]`, as PNG; the file appears only when it is complete.

    Raises:
        OSError: The file cannot be written.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    # Under a name that `list_labels` passes over. Not synced to the disk one by one: whoever reads
    # a part map finds out that it is not whole.
    unfinished = path.with_name(f".{path.name}.{os.getpid()}.{threading.get_ident()}")
    try:
        Image.fromarray(parts).save(unfinished, format="PNG")
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)


def list_labels(tree: pathlib.Path) -> list[pathlib.Path]:
    """PNG and NumPy files in a folder and everything under it, in the order of their paths.

    Hidden files are passed over; symbolic links to folders are followed.

    Raises:
        DataError: A folder is missing or cannot be read, or a link leads back to a folder above.
    """
    found: list[pathlib.Path] = []

    def visit(here: pathlib.Path, above: tuple[pathlib.Path, ...]) -> None:
        try:
            real = here.resolve(strict=True)
            entries = [(entry, entry.is_dir()) for entry in sorted(here.iterdir())]
        except (OSError, RuntimeError) as error:
            reason = getattr(error, "strerror", None) or error
            raise DataError(
                f"the folder {here} of label maps cannot be read: {reason}; check its name and "
                "its permissions"
            ) from error
        if real in above:
            raise DataError(
                f"the symbolic link {here} leads back to {real}: remove the link, it never ends"
            )
        for entry, is_folder in entries:
            if entry.name.startswith(".") or entry.name == "__MACOSX":
                continue
            if is_folder:
                visit(entry, (*above, real))
            elif entry.suffix.lower() in SUFFIXES and entry.is_file():
                found.append(entry)

    visit(tree, ())
    return found


def find_labels(tree: pathlib.Path, relative: pathlib.Path) -> pathlib.Path | None:
    """The label map of an image in a tree that mirrors its dataset, or None.

    Args:
        tree: Folder of label maps.
        relative: The image's path relative to its dataset's root. `a/b.jpg` has its map in
            `a/b.png`, `a/b.jpg.png`, `a/b.npy` or `a/b.jpg.npy`; the first that is there counts.
    """
    for suffix in SUFFIXES:
        for name in (f"{relative.stem}{suffix}", f"{relative.name}{suffix}"):
            candidate = tree / relative.parent / name
            if candidate.is_file():
                return candidate
    return None
