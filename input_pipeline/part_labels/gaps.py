"""Training images without a part map: which may be, what is said of them, and what is refused."""

from __future__ import annotations

import dataclasses
import pathlib

from input_pipeline.dataset import ReidDataset, Sample
from input_pipeline.errors import DataError
from input_pipeline.images.codec import relative_name
from input_pipeline.part_labels.label_tree import read_label_tree

WITHOUT_MAP = ("listed", "keep", "drop")
"""What may be done about images without a part map, see `accept_gaps`."""


def accept_gaps(
    dataset: ReidDataset, *, without_map: str, searched: pathlib.Path | None = None
) -> ReidDataset:
    """The dataset, if its training images may be without the part maps that they lack.

    Args:
        dataset: Any reader's output.
        without_map: `listed` accepts images in which a labeler found nobody, as the record in its
            tree says; `keep` and `drop` accept all. Somebody has to have a part map in any case.
        searched: The folder that was searched; None for the tree beside the dataset.

    Returns:
        The dataset, with a notice where images have no part map.

    Raises:
        DataError: Part maps are missing, or the choice is none of these; the message says what the
            choices are.
    """
    if without_map not in WITHOUT_MAP:
        raise DataError(
            f"{without_map!r} is nothing to do about images without a part map: choose one of "
            f"{', '.join(WITHOUT_MAP)}"
        )
    missing = [sample for sample in dataset.train if sample.part_map is None]
    if not missing:
        return dataset
    unlisted = missing
    if without_map == "listed":
        listed = _listed(dataset, searched)
        unlisted = [s for s in missing if relative_name(s.path, root=dataset.root) not in listed]
    nobody = len(missing) == len(dataset.train)
    if nobody or (without_map == "listed" and unlisted):
        raise _missing(dataset, unlisted if unlisted else missing, searched=searched)
    return told(dataset, without_map=without_map)


def told(dataset: ReidDataset, *, without_map: str) -> ReidDataset:
    """The dataset with a notice that says how many training images have no part map, if any."""
    missing = [sample.path for sample in dataset.train if sample.part_map is None]
    if not missing:
        return dataset
    what = (
        "are left out"
        if without_map == "drop"
        else "are kept, unseen by the branches that need part maps"
    )
    notice = (
        f"{len(missing):,} of {len(dataset.train):,} training images have no part map and {what}; "
        f"the first is {relative_name(missing[0], root=dataset.root)}"
    )
    return dataclasses.replace(dataset, notices=(*dataset.notices, notice))


def _listed(dataset: ReidDataset, searched: pathlib.Path | None) -> frozenset[str]:
    """Names of the images in which a labeler found nobody, by the record in its tree."""
    tree = read_label_tree(searched or _tree_beside(dataset))
    return frozenset() if tree is None else tree.without_map


def _missing(
    dataset: ReidDataset, missing: list[Sample], *, searched: pathlib.Path | None
) -> DataError:
    tree = _tree_beside(dataset)
    return DataError(
        f"{len(missing)} of {len(dataset.train)} training images of {dataset.name} have no part "
        f"labels: the first is {missing[0].path.relative_to(dataset.root)}, searched "
        f"{searched or f'{tree} and segmentation'}. Set part labels to 'drawn' (made by the parser "
        f"of this package), put part maps into {tree}, make them with `magnifier labels`, accept "
        "images without them by images_without_map 'keep' or 'drop', or set part labels to 'none' "
        "(evaluation, or networks without part losses)"
    )


def _tree_beside(dataset: ReidDataset) -> pathlib.Path:
    root = dataset.root.absolute()
    return root.with_name(f"{root.name}_ps_label")
