"""What the commands that label a dataset have in common: their options, and what they do."""

from __future__ import annotations

import argparse
import contextlib
import pathlib
from collections.abc import Sequence

from input_pipeline import console, readers
from input_pipeline.dataset import SPLITS, ReidDataset
from input_pipeline.errors import DataError, FilesError, Problem, combined, printable
from input_pipeline.files import claim_output, user_path
from input_pipeline.images.codec import relative_name
from input_pipeline.part_labels.label_tree import LabelTree, write_labels
from input_pipeline.part_labels.labelers import PartLabeler
from input_pipeline.part_labels.quality import quality_of, quality_text, write_worst
from input_pipeline.readers import Reading


def add_labeling_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that `label_datasets` reads."""
    add = parser.add_argument
    add(
        "--dataset",
        required=True,
        help="name[:variant][@folder], several joined by commas; names: "
        + ", ".join(readers.available()),
    )
    add(
        "--root",
        type=pathlib.Path,
        help="the dataset's folder, or the folder that holds it (here; drawn people: the user's "
        "cache folder)",
    )
    add(
        "--output",
        type=pathlib.Path,
        help="folder of part maps to write, of one dataset; <dataset folder>_ps_label, where "
        "training finds them, if it is not given",
    )
    add(
        "--splits",
        default="train",
        help=f"which images: of {', '.join(SPLITS)}, joined by commas (train: others are not "
        "learned from)",
    )
    add("--allow-outside", action="store_true", help="let a CSV file name images anywhere")
    add("--workers", type=console.positive, help="processes; as many as cores by default")
    add("--sheet", type=pathlib.Path, help="JPEG or PNG to write: the worst part maps first")
    add("--sheet-images", type=console.positive, default=48, help="images on the sheet (48)")
    add("--force", action="store_true", help="replace part maps or a sheet that are there")


def label_datasets(given: argparse.Namespace, labeler: PartLabeler) -> None:
    """Labels the datasets that a command was asked for, and says how good the labels are.

    Raises:
        DataError: Datasets cannot be read, the maps cannot be written, or images cannot be used;
            the other images are labeled first.
        UserError: The sheet cannot be written.
    """
    readings = readers.read_each(given.dataset, given.root, allow_outside=given.allow_outside)
    _refuse_unread(readings)
    datasets = [reading.dataset for reading in readings if reading.dataset is not None]
    if len(datasets) > 1 and (given.output is not None or given.sheet is not None):
        raise DataError("--output and --sheet are for one dataset: label them one after the other")
    splits = _splits(given.splits)
    problems: list[Problem] = []
    for dataset in datasets:
        tree = _label(dataset, labeler, given, splits=splits)
        problems.extend(tree.problems)
    if problems:
        raise FilesError("All other images are labeled; replace or remove these", problems)


def _refuse_unread(readings: Sequence[Reading]) -> None:
    errors = [reading.error for reading in readings if reading.error is not None]
    if errors:
        raise combined(errors)


def _splits(text: str) -> list[str]:
    return [
        console.choose(name.strip(), SPLITS, what="split") for name in text.split(",") if name
    ] or ["train"]


def _label(
    dataset: ReidDataset,
    labeler: PartLabeler,
    given: argparse.Namespace,
    *,
    splits: Sequence[str],
) -> LabelTree:
    samples = [sample for split in splits for sample in getattr(dataset, split)]
    if not samples:
        raise DataError(f"{dataset.name} in {dataset.root} has no {' or '.join(splits)} images")
    root = dataset.root.absolute()
    output = user_path(given.output or root.with_name(f"{root.name}_ps_label"))
    images = {relative_name(sample.path, root=dataset.root): sample.path for sample in samples}
    with contextlib.ExitStack() as stack:
        sheet = None
        if given.sheet is not None:  # before the long work
            claim = claim_output(given.sheet, force=given.force, sources=images.values())
            sheet = stack.enter_context(claim)
        tree = write_labels(
            samples,
            labeler,
            root=dataset.root,
            output=output,
            processes=given.workers,
            force=given.force,
        )
        print(printable(f"{dataset.name}: part maps are in {output}"))
        print(quality_text(quality_of(tree, list(images))))
        if sheet is not None:
            write_worst(tree, images, sheet, count=given.sheet_images)
            print(printable(f"Look at the worst part maps in {sheet}"))
    return tree
