"""`magnifier export`: writes a trained network for another framework."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.files import user_path

_OPTIONS = (
    "branches",
    "layout",
    "normalise",
    "l2",
    "dimension",
    "precision",
    "batch",
    "consumer",
    "data_root",
    "classifiers",
    "force",
)
"""Options that `mj.export` has under the same names."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_export, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier export",
        description="Writes a trained network for another framework, and checks what was written.",
    )
    add = parser.add_argument
    add("--workdir", required=True, help="work directory of a training run")
    add(
        "--format",
        help="kind of export: onnx, folder, safetensors, torch, stablehlo, savedmodel, tflite",
    )
    add(
        "--output",
        required=True,
        type=pathlib.Path,
        help="file to write; a folder for savedmodel and folder",
    )
    add("--force", action="store_true", help="replace files that are there; a folder never is")
    add(
        "--for", dest="consumer", choices=["boxmot"], help="program to write it for, as it takes it"
    )
    add("--checkpoint", choices=["latest", "best"], default="latest", help="which checkpoint")
    add(
        "--branches",
        help="branches that make the descriptor, such as global,fusion; all if not given",
    )
    add("--layout", choices=["NHWC", "NCHW"], help="order of the image's axes; NHWC")
    add(
        "--normalise",
        choices=["inside", "outside"],
        help="inside takes uint8 images, outside normalized float32; inside",
    )
    add("--l2", choices=["inside", "outside"], help="inside gives unit length; inside")
    add(
        "--dimension",
        type=int,
        help="shorten descriptors to so many numbers, by principal component analysis of the "
        "training set, which must be at hand",
    )
    add(
        "--precision",
        choices=["float32", "fp16"],
        help="fp16 stores convolutions in half the bytes, in onnx, safetensors, torch and folder; "
        "float32",
    )
    add(
        "--no-classifiers",
        dest="classifiers",
        action="store_const",
        const=False,
        help="leave out what tells the training identities apart, their names, and the folders of "
        "their images: a smaller file of weights, with the same descriptors",
    )
    add("--batch", type=console.positive, help="only batch size that is taken; any, or 1 in tflite")
    add("--data-root", help="folder of the datasets, if not where it was in training")
    return parser


def _export(options: argparse.Namespace) -> None:
    from magnifier_jax.export import card_of, export_model

    given = {name: getattr(options, name) for name in _OPTIONS}
    card = export_model(
        options.workdir,
        options.output,
        format=options.format,
        checkpoint=options.checkpoint,
        say=print,
        **{name: value for name, value in given.items() if value is not None},
    )
    verified, output = card.verified, user_path(options.output)
    print(
        f"{output}: {card.output.dimension:,} numbers from {', '.join(card.output.branches)}, "
        f"step {card.step:,}\n"
        f"Largest relative difference, batches of {' and '.join(map(str, verified.batches))} in "
        f"{verified.runtime}: {verified.largest_relative_difference:.1e}\n"
        f"How to feed it: {card_of(output)}"
    )


if __name__ == "__main__":
    sys.exit(main())
