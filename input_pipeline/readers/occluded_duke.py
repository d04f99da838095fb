"""Occluded-Duke, made of DukeMTMC-reID, which its authors withdrew in 2019.

1,870 queries are byte-identical to gallery images of the same identity and camera, so results
mean something only with the camera filter on.
"""

from __future__ import annotations

import pathlib

from input_pipeline.dataset import ReidDataset
from input_pipeline.layouts.protocol import Count
from input_pipeline.readers.dukemtmc import NOTICE, PEOPLE, read_duke

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
    return read_duke(
        root, name="occluded_duke", title=TITLE, usual_folders=USUAL_FOLDERS, published=PUBLISHED
    )
