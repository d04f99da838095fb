"""Your own data with a folder per identity: `train/PERSON/*.jpg`, `query/…` and `gallery/…`.

A person may be called anything; the same name in `query` and `gallery` is the same person. Cameras
are read from `c3` at the beginning of the file name or after `_` (`c3_0001.jpg`, `door_c3.jpg`), or
are unknown for all.
"""

from __future__ import annotations

import pathlib
import re

from input_pipeline.dataset import SPLITS, ReidDataset, Sample
from input_pipeline.errors import DataError, Problem
from input_pipeline.identities import number_names, one_spelling
from input_pipeline.readers import _files
from input_pipeline.readers._splits import FOLDERS, checked

TITLE = "A folder per identity"
# Not after a hyphen, and no more than three digits: random names are full of `-c123-`.
CAMERA = re.compile(r"(?:^|_)c([0-9]{1,3})(?=[_.-]|s[0-9])", re.IGNORECASE)


def read(root: pathlib.Path, *, variant: str = "") -> ReidDataset:
    """Reads `train`, `query` and `gallery` under `root`, each with a folder per identity.

    The dataset is named after its folder.

    Args:
        root: The dataset's folder.
        variant: There is none.

    Raises:
        DataError: The folder is not such a dataset; a `FilesError` names all folders that are
            missing, pictures outside a person's folder or without a camera, and persons in both
            training and test.
    """
    if variant:
        raise DataError(f"folders has no variant {variant!r}: leave it out")
    root = _files.find_root(root, title=TITLE, folders=(), contents=SPLITS)
    if (root / FOLDERS["train"]).is_dir() and not (root / "train").is_dir():
        raise DataError(
            f"{root} holds {FOLDERS['train']}, as Market-1501 does: read it as market_style, or by "
            "the name of the dataset that it is"
        )
    problems: list[Problem] = []
    pictures = {
        split: _files.walk_pictures(root / split, title=TITLE, problems=problems)
        for split in SPLITS
    }
    persons = {
        path: one_spelling(path.relative_to(root / split).parts[0])
        if path.parent != root / split
        else None
        for split, paths in pictures.items()
        for path in paths
    }
    cameras = {path: CAMERA.search(path.name) for path in persons}
    problems += [
        Problem(path, "it is not in a person's folder, move it into one")
        for path, person in persons.items()
        if person is None
    ]
    without = [path for path, camera in cameras.items() if camera is None]
    if len(without) < len(cameras):
        problems += [Problem(path, "its name has no camera, the others have") for path in without]
    numbers = number_names(person for person in persons.values() if person is not None)
    labels = _files.label_tree(root)

    def sample(path: pathlib.Path, person: str) -> Sample:
        camera = cameras[path]
        part_map = labels and _files.find_part_map(path, root=root, labels=labels)
        return Sample(path, numbers[person], int(camera[1]) if camera else 0, part_map)

    dataset = ReidDataset(
        _files.name_of(root, fallback="folders"),
        root,
        *(
            tuple(
                sample(path, person)
                for path in pictures[split]
                if (person := persons[path]) is not None
            )
            for split in SPLITS
        ),
    )
    return checked(dataset, problems, title=TITLE, names=numbers)
