"""`magnifier labels key-points`: part labels from key points that another estimator wrote."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.errors import DataError
from input_pipeline.files import user_path
from input_pipeline.part_labels.commands.labeling import add_labeling_options, label_datasets
from input_pipeline.part_labels.pose.key_point_files import read_key_points
from input_pipeline.part_labels.pose.key_point_labeler import KeyPointLabeler


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_label, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier labels key-points",
        description="Makes part maps of a dataset's images from key points: COCO's 17 in one JSON "
        "file (annotations or results), or OpenPose's 18 or 25 in one for each image.",
    )
    parser.add_argument("source", type=pathlib.Path, help="the JSON file, or the folder of them")
    parser.add_argument(
        "--masks",
        type=pathlib.Path,
        help="folder of the people's masks, which mirrors the dataset's; without it, outlines in "
        "the JSON file count, or the parts' usual thickness",
    )
    add_labeling_options(parser)
    return parser


def _label(given: argparse.Namespace) -> None:
    masks = None if given.masks is None else user_path(given.masks)
    if masks is not None and not masks.is_dir():
        raise DataError(f"{masks} is not a folder of masks")
    source = user_path(given.source)
    if not source.exists():
        raise DataError(f"there is no file or folder {source}")
    label_datasets(given, KeyPointLabeler(read_key_points(source), masks=masks))
