"""`magnifier labels convert`: convert another parser's label maps into ours."""

from __future__ import annotations

import argparse
import pathlib
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.files import user_path
from input_pipeline.part_labels.conversion import convert_tree
from input_pipeline.part_labels.formats import FORMATS, find_format


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_convert, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier labels convert",
        description="Converts label maps of another body parser (PNG or NumPy files of class "
        "numbers, in folders that mirror the dataset's) into part maps of our eight classes.",
    )
    parser.add_argument("format", help=f"one of {', '.join(FORMATS)}")
    parser.add_argument("source", type=pathlib.Path, help="folder of the parser's label maps")
    parser.add_argument(
        "target",
        type=pathlib.Path,
        help="folder to write; <dataset folder>_ps_label is found without being named",
    )
    parser.add_argument(
        "--workers", type=console.positive, default=None, help="threads (one for every core)"
    )
    return parser


def _convert(given: argparse.Namespace) -> None:
    target = user_path(given.target)
    count = convert_tree(
        user_path(given.source),
        target,
        label_format=find_format(given.format),
        workers=given.workers,
    )
    print(f"{count:,} part maps are in {target}")
