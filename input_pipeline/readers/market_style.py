"""Your own data in the form of Market-1501: three folders, and names such as `0002_c1_7.jpg`.

The name begins with the identity's number. A camera follows as `_c1` or `_cam1`, or is the name of
a folder such as `query/cam1`; images without one are of no known camera. Identity −1 is left out.
"""

from __future__ import annotations

import pathlib
from collections.abc import Mapping

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.identities.file_names import Who, who_is_named
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import FOLDERS, is_separate, read_three_folders

TITLE = "Market-style data"
_SHORT_FOLDERS: Mapping[str, str] = {"train": "train", "query": "query", "gallery": "gallery"}


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads `bounding_box_train`, `query` and `bounding_box_test` under `root`.

    The first may also be called `train` and the last `gallery`. A training set alone or a test set
    alone is read too. The dataset is named after its folder.

    Args:
        root: The dataset's folder.
        variant: `separate` if training and test give different people the same numbers.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    separate = is_separate(variant, reader="market_style")
    contents = tuple(dict.fromkeys((*FOLDERS.values(), *_SHORT_FOLDERS.values())))
    root = listing.find_root(root, title=TITLE, folders=(), contents=contents)
    folders = _folders(root)
    for split in ("train", "gallery"):
        folder = root / _SHORT_FOLDERS[split]
        if (
            folder.is_dir()
            and not listing.holds_images(folder)
            and not (root / FOLDERS[split]).is_dir()
        ):
            raise DataError(
                f"{root} holds {split} instead of {FOLDERS[split]}: if it has a folder for each "
                "person, read it as folders"
            )
    return read_three_folders(
        root,
        name=listing.name_of(root, fallback="market_style"),
        title=TITLE,
        tell=_tell,
        example="0002_c1_7.jpg",
        folders=folders,
        disjoint=not separate,
        own=True,
    )


def _tell(name: str) -> Who | None:
    return who_is_named(name, camera_required=False)


def _folders(root: pathlib.Path) -> Mapping[str, str]:
    """What the folders are called here."""
    return {
        split: short
        if not (root / FOLDERS[split]).exists() and listing.holds_images(root / short)
        else FOLDERS[split]
        for split, short in _SHORT_FOLDERS.items()
    }
