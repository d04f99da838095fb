"""Your own data in the form of Market-1501: three folders, and names such as `0002_c1_7.jpg`.

The name begins with the identity's number. `_c` and a camera's number follow, or are left out of
all names where cameras are unknown; anything may come after. Identity -1 is dropped.
"""

from __future__ import annotations

import pathlib
import re

from input_pipeline.dataset import ReidDataset
from input_pipeline.errors import DataError
from input_pipeline.readers import _files
from input_pipeline.readers._splits import FOLDERS, read_three_folders

TITLE = "Market-style data"
_NAME = re.compile(
    r"(?P<identity>-1|[0-9]+)(?:_c(?P<camera>[0-9]+)(?:s[0-9]+)?)?(?:[_-].*)?\.\w+", re.IGNORECASE
)


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads `bounding_box_train`, `query` and `bounding_box_test` under `root`.

    The dataset is named after its folder.

    Args:
        root: The dataset's folder.
        variant: There is none.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    if variant:
        raise DataError(f"market_style has no variant {variant!r}: leave it out")
    root = _files.find_root(root, title=TITLE, folders=(), contents=tuple(FOLDERS.values()))
    if (root / "train").is_dir() and not (root / FOLDERS["train"]).is_dir():
        raise DataError(
            f"{root} holds train instead of {FOLDERS['train']}: if it has a folder for each person,"
            " read it as folders"
        )
    return read_three_folders(
        root,
        name=_files.name_of(root, fallback="market_style"),
        title=TITLE,
        pattern=_NAME,
        example="0002_c1_7.jpg",
    )
