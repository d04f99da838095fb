"""`magnifier labels pose`: part labels of any images, with a small pose network."""

from __future__ import annotations

import argparse
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.part_labels.commands.labeling import add_labeling_options, label_datasets
from input_pipeline.part_labels.pose import PoseLabeler, find_pose_model


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_label, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier labels pose",
        description="Makes part maps of a dataset's images from the key points and the mask that "
        "BlazePose's landmark network sees. Nothing is downloaded. What is labeled already is "
        "kept.",
    )
    parser.add_argument(
        "--model",
        default="",
        help="the network: a .tflite file, or a .task, .whl, .zip or .tgz that holds one; without "
        "it, how to get one is said",
    )
    add_labeling_options(parser)
    return parser


def _label(given: argparse.Namespace) -> None:
    label_datasets(given, PoseLabeler(find_pose_model(given.model)))
