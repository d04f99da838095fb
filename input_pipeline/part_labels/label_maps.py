"""Label maps on disk: reading PNG and NumPy ones, and writing PNG ones in one piece."""

from __future__ import annotations

import os
import pathlib
import threading

import numpy as np
from PIL import Image

from input_pipeline.errors import DataError
from input_pipeline.images.codec import read_classes
from input_pipeline.images.integrity import open_image

SUFFIXES = (".png", ".npy")
_PATCHES = 24  # of the surface, in DensePose
_LARGEST = 1000  # No format has so many classes.


def read_labels(path: pathlib.Path, *, is_iuv: bool = False) -> np.ndarray:
    """Reads a label map.

    Args:
        path: A single-channel image of class numbers (of a palette image the indices count), an
            image in the colors of Pascal VOC, in which many parsers draw, or a NumPy file of
            `[H, W]` whole numbers.
        is_iuv: Whether it has three channels of which one is the surface patch, and the others its
            coordinates, as DensePose writes them.

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
            _refuse_reordered(path, labels)
    except Exception as error:  # NumPy raises whatever the content leads it to
        raise ValueError(f"not a label map ({' '.join(str(error).split())})") from error
    if not isinstance(labels, np.ndarray):
        raise ValueError("not a label map (it holds several arrays)")
    labels = np.squeeze(labels) if labels.ndim != 2 else labels
    if labels.ndim == 3 and is_iuv:
        labels = _patches_of(labels)
    elif labels.ndim == 3 and labels.dtype == np.uint8 and labels.shape[2] in (3, 4):
        labels = _classes_of_colors(labels[..., :3])
    if labels.ndim != 2 or not labels.size:
        raise ValueError(f"a label map is [height, width], this one is {list(labels.shape)}")
    if labels.dtype.kind not in "uif" or not _are_whole(labels):
        raise ValueError(f"a label map holds whole numbers, this one holds {labels.dtype}")
    # Larger ones are no classes, and might become some by wrapping around.
    return labels.clip(-_LARGEST, _LARGEST).astype(np.int64)


def _patches_of(iuv: np.ndarray) -> np.ndarray:
    """The channel of surface patches, 0 to 24, of `[H, W, 3]` or `[3, H, W]`.

    DensePose's own tools write it as the blue channel, for OpenCV counts from there; others write
    it as the first one. The coordinates are whole numbers up to 255, or shares.
    """
    channels = iuv if iuv.shape[0] == 3 and iuv.shape[2] != 3 else np.moveaxis(iuv, 2, 0)
    if len(channels) not in (3, 4):
        raise ValueError(f"an IUV map has three channels, this one is {list(iuv.shape)}")
    first, last = channels[0], channels[2]
    for patches in (last, first):
        whole = patches.dtype.kind != "f" or bool((patches == np.round(patches)).all())
        if whole and patches.max() <= _PATCHES and (patches.any() or not channels[:3].any()):
            return patches
    raise ValueError(f"no channel has the surface patches 0 to {_PATCHES} alone: is it an IUV map?")


def _refuse_reordered(path: pathlib.Path, labels: np.ndarray) -> None:
    """Refuses a palette image whose colors are the usual ones of other classes than its numbers.

    Programs that reduce an image to the colors that it uses number them anew. In any other palette
    the numbers are the classes.
    """
    with open_image(path) as image:
        colors = image.getpalette("RGB") if image.mode == "P" else None
    if colors is None:
        return
    used = np.unique(labels)
    palette = np.array(colors, np.uint8).reshape(-1, 3)
    try:
        classes = _classes_of_colors(palette[used[None]])[0]
    except ValueError:
        return
    if (classes != used).any():
        odd = int(np.flatnonzero(classes != used)[0])
        raise ValueError(
            f"its palette has the color of class {classes[odd]} as number {used[odd]}: save the "
            "class numbers in one channel, or the colors in three"
        )


def _classes_of_colors(colors: np.ndarray) -> np.ndarray:
    """The class of each color of Pascal VOC's palette, `[H, W, 3]` to `[H, W]`.

    Raises:
        ValueError: There is another color.
    """
    numbers = colors.astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    palette = voc_palette().astype(np.int64) @ np.array([1 << 16, 1 << 8, 1])
    order = np.argsort(palette)
    places = np.searchsorted(palette[order], numbers).clip(max=len(palette) - 1)
    classes = order[places]
    if (palette[classes] != numbers).any():
        odd = colors[palette[classes] != numbers][0].tolist()
        raise ValueError(
            f"it has three channels, and {odd} is no color of the usual palette: save the class "
            "numbers, as a palette image or in one channel"
        )
    return classes


def voc_palette() -> np.ndarray:
    """The colors of 256 classes in Pascal VOC's palette, uint8 `[256, 3]`.

    Bit 3i + c of a class becomes bit 7 - i of channel c.
    """
    classes = np.arange(256)
    palette = np.zeros((256, 3), np.uint8)
    for bit in range(8):
        for channel in range(3):
            shifted = ((classes >> (3 * bit + channel)) & 1) << (7 - bit)
            palette[:, channel] |= shifted.astype(np.uint8)
    return palette


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


def find_labels(
    tree: pathlib.Path, relative: pathlib.Path, *, mark: str = ""
) -> pathlib.Path | None:
    """The label map of an image in a tree that mirrors its dataset, or None.

    Args:
        tree: Folder of label maps.
        relative: The image's path relative to its dataset's root. `a/b.jpg` has its map in
            `a/b.png`, `a/b.jpg.png`, `a/b.npy` or `a/b.jpg.npy`; the first that is there counts.
        mark: What may follow the image's name, as in `a/b_IUV.png`.
    """
    marks = ("", mark) if mark else ("",)
    for suffix in SUFFIXES:
        for name in (
            f"{base}{end}{suffix}" for end in marks for base in (relative.stem, relative.name)
        ):
            candidate = tree / relative.parent / name
            if candidate.is_file():
                return candidate
    return None
