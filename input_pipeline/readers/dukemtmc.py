"""DukeMTMC-reID, which its authors withdrew in 2019: think before you use or publish on it."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping, Sequence

from input_pipeline.dataset import ReidDataset
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import FOLDERS, Count, by_pattern, read_three_folders

TITLE = "DukeMTMC-reID (withdrawn by its authors)"
PEOPLE = "DukeMTMC"
NOTICE = (
    "DukeMTMC was withdrawn by its authors in 2019, because the people in it were filmed without "
    "their consent: prefer another dataset"
)
USUAL_FOLDERS = ("DukeMTMC-reID", "dukemtmc-reid", "dukemtmcreid", "DukeMTMC", "dukemtmc")
PUBLISHED = {
    "train": Count(16_522, 702),
    "query": Count(2_228, 702),
    "gallery": Count(17_661, 1_110),
}
_NAME = re.compile(r"(?P<identity>\d{4})_c(?P<camera>[1-8])_f\d{7}\.(jpg|jpeg|png)", re.IGNORECASE)


def read(root: pathlib.Path) -> ReidDataset:
    """Reads DukeMTMC-reID (withdrawn by its authors).

    Args:
        root: The dataset's folder, or the folder that holds it.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    return read_duke(
        root, name="dukemtmc", title=TITLE, usual_folders=USUAL_FOLDERS, published=PUBLISHED
    )


def read_duke(
    root: pathlib.Path,
    *,
    name: str,
    title: str,
    usual_folders: Sequence[str],
    published: Mapping[str, Count],
) -> ReidDataset:
    """Reads a dataset whose images are those of DukeMTMC-reID.

    Args:
        root: The dataset's folder, or the folder that holds it.
        name: The dataset's short name.
        title: Its name in messages.
        usual_folders: Usual names of its folder.
        published: Expected counts by split.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    root = listing.find_root(
        root, title=title, folders=usual_folders, contents=tuple(FOLDERS.values())
    )
    return read_three_folders(
        root,
        name=name,
        title=title,
        tell=by_pattern(_NAME),
        example="0001_c2_f0046182.jpg",
        published=published,
    )
