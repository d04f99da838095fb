"""CUHK03 under its new protocol (CUHK03-NP), as variant `labeled` or `detected` boxes.

Three forms on disk are read: image folders, image lists, and the original MATLAB files.
"""

from __future__ import annotations

import pathlib
import re

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.layouts import cuhk03_lists, cuhk03_matlab, listing
from input_pipeline.layouts.protocol import FOLDERS, Count, by_pattern, read_three_folders

PEOPLE = "CUHK03"
VARIANTS = ("labeled", "detected")
USUAL_FOLDERS = ("cuhk03-np", "CUHK03-NP", "cuhk03-np-jpg", "cuhk03", "CUHK03")
PUBLISHED = {
    "labeled": {
        "train": Count(7_368, 767),
        "query": Count(1_400, 700),
        "gallery": Count(5_328, 700),
    },
    "detected": {
        "train": Count(7_365, 767),
        "query": Count(1_400, 700),
        "gallery": Count(5_332, 700),
    },
}
_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>[12])_.*\.(png|jpg|jpeg)", re.IGNORECASE)


def read(root: pathlib.Path, *, variant: str = "", progress: bool = True) -> ReidDataset:
    """Reads CUHK03-NP.

    The MATLAB form is unpacked into image folders beside its files once.

    Args:
        root: The dataset's folder, the folder that holds it, or one variant's folder.
        variant: `labeled` (boxes drawn by hand) or `detected`. It may be left out where `root`
            is the folder of one variant.
        progress: Whether to show a progress bar while images are unpacked.

    Raises:
        DataError: The variant, the folder or its files cannot be used.
    """
    given = root.resolve().name
    if not variant and given in VARIANTS:
        variant = given
    if variant not in VARIANTS:
        raise DataError(
            f"CUHK03 has two kinds of boxes: write cuhk03:labeled or cuhk03:detected"
            f"{f', not {variant!r}' if variant else ''}"
        )
    title = f"CUHK03-NP {variant}"
    contents = (*FOLDERS.values(), *cuhk03_lists.LISTS.values(), cuhk03_matlab.PIXELS)
    if not any((root / name).exists() for name in contents):
        root = listing.find_root(
            root,
            title=title,
            folders=USUAL_FOLDERS,
            contents=(variant, cuhk03_matlab.PROTOCOL.format(variant)),
        )
        root = _variant_folder(root, variant, progress=progress)
    elif (root / cuhk03_matlab.PIXELS).exists():
        root = _variant_folder(root, variant, progress=progress)
    elif given in VARIANTS and given != variant:
        raise DataError(
            f"{root} holds the {given} boxes of CUHK03, not the {variant} ones: write "
            f"cuhk03:{given}, or give the folder that holds both"
        )
    name = f"cuhk03_{variant}"
    if cuhk03_lists.has_lists(root):
        return cuhk03_lists.read_lists(root, name=name, title=title, published=PUBLISHED[variant])
    return read_three_folders(
        root,
        name=name,
        title=title,
        tell=by_pattern(_NAME),
        example="0001_c1_3.png",
        published=PUBLISHED[variant],
    )


def _variant_folder(root: pathlib.Path, variant: str, *, progress: bool) -> pathlib.Path:
    """The folder of one variant, unpacked from the MATLAB files where there is none yet."""
    folder = root / variant
    if not folder.is_dir():
        cuhk03_matlab.unpack(root, variant=variant, target=folder, progress=progress)
    return folder
