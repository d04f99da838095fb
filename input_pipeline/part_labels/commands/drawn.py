"""`magnifier labels drawn`: part labels of any images, with the parser of this package."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.part_labels.commands.labeling import add_labeling_options, label_datasets


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_label, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier labels drawn",
        description="Makes part maps of a dataset's images with a small network that comes with "
        "this package and was trained on drawn people alone. What is labeled already is kept.",
    )
    parser.add_argument(
        "--weights",
        type=pathlib.Path,
        help="weights of a training of your own",
    )
    add_labeling_options(parser)
    return parser


def _label(given: argparse.Namespace) -> None:
    from input_pipeline.files import user_path
    from input_pipeline.part_labels.drawn import DrawnLabeler
    from input_pipeline.part_labels.drawn.weights import read_weights

    weights = None if given.weights is None else read_weights(user_path(given.weights))
    label_datasets(given, DrawnLabeler(weights))
