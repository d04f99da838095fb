"""The layout of Market-1501 and its followers: three folders of names that say who and where."""

from __future__ import annotations

import pathlib
import re
from collections.abc import Mapping

from input_pipeline.errors import Problem
from input_pipeline.identities import LARGEST
from input_pipeline.readers import _folders
from input_pipeline.readers._counts import Count, checked
from input_pipeline.samples import ReidDataset, Sample

FOLDERS: Mapping[str, str] = {
    "train": "bounding_box_train",
    "query": "query",
    "gallery": "bounding_box_test",
}
JUNK = -1


def read_three_folders(
    root: pathlib.Path,
    *,
    name: str,
    title: str,
    pattern: re.Pattern[str],
    example: str,
    published: Mapping[str, Count] | None = None,
) -> ReidDataset:
    """Reads `bounding_box_train`, `query` and `bounding_box_test` under `root`.

    Pictures of identity -1 (bad detections) are dropped. Part maps come from the tree
    `<root>_ps_label` where it exists.

    Args:
        root: The dataset's folder.
        name: The dataset's short name.
        title: Its name in messages.
        pattern: Matches a file name and has the groups `identity` and `camera`; a camera that
            does not take part in the match is camera 0, for all pictures or for none.
        example: A name that matches, for messages.
        published: Expected counts by split.

    Raises:
        FilesError: Folders are missing or empty, names do not parse, or an identity is in both
            training and test; all of this at once.
    """
    labels = _folders.label_tree(root)
    splits: dict[str, tuple[Sample, ...]] = {}
    problems: list[Problem] = []
    without_camera: list[pathlib.Path] = []
    for split, folder in FOLDERS.items():
        samples = []
        for path in _folders.list_pictures(root / folder, title=title, problems=problems):
            match = pattern.fullmatch(path.name)
            if match is None:
                problems.append(
                    Problem(path, f"its name is not like {example}, rename or remove it")
                )
                continue
            identity, camera = int(match["identity"]), int(match["camera"] or 0)
            if identity == JUNK:
                continue
            if max(identity, camera) > LARGEST:
                problems.append(Problem(path, f"numbers go up to {LARGEST}, number people anew"))
                continue
            part_map = labels and _folders.find_part_map(path, root=root, labels=labels)
            if match["camera"] is None:
                without_camera.append(path)
            samples.append(Sample(path, identity, camera, part_map))
        splits[split] = tuple(samples)
    if len(without_camera) < sum(len(samples) for samples in splits.values()):
        problems += [
            Problem(path, "its name has no camera, the others have") for path in without_camera
        ]
    dataset = ReidDataset(name, root, **splits)
    return checked(dataset, problems, title=title, published=published)
