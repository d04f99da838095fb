"""Occluded-Duke, made of DukeMTMC-reID, which its authors withdrew in 2019.

1,870 queries are byte-identical to gallery images of the same identity and camera, so results
mean something only with the camera filter on.
"""

from __future__ import annotations

import pathlib

from input_pipeline.dataset import ReidDataset
from input_pipeline.layouts import listing
from input_pipeline.layouts.protocol import FOLDERS, Count, by_pattern, read_three_folders
from input_pipeline.readers.dukemtmc import EXAMPLE, NAME, NOTICE, PEOPLE

__all__ = ["NOTICE", "PEOPLE", "read"]

TITLE = "Occluded-Duke (made of DukeMTMC, withdrawn by its authors)"
USUAL_FOLDERS = ("Occluded_Duke", "Occluded-DukeMTMC-reID", "Occluded-Duke", "occluded_duke")
PUBLISHED = {
    "train": Count(15_618, 702),
    "query": Count(2_210, 519),
    "gallery": Count(17_661, 1_110),
}


def read(root: pathlib.Path) -> ReidDataset:
    """Reads Occluded-Duke.

    Args:
        root: The dataset's folder, or the folder that holds it.

    Raises:
        DataError: The folder or its files cannot be used.
    """
    root = listing.find_root(
        root, title=TITLE, folders=USUAL_FOLDERS, contents=tuple(FOLDERS.values())
    )
    return read_three_folders(
        root,
        name="occluded_duke",
        title=TITLE,
        tell=by_pattern(NAME),
        example=EXAMPLE,
        published=PUBLISHED,
    )
