"""`magnifier adapt`: fits a network to other cameras by their images alone, without labels."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.errors import UserError, printable
from input_pipeline.files import user_path


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_adapt, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier adapt",
        description="Fits a network to cameras that it was not trained on: the statistics of its "
        "batch norms become those of the images of a folder. No labels are needed, and nothing is "
        "trained. Galleries have to be embedded again with what is written.",
    )
    add = parser.add_argument
    add(
        "--workdir",
        required=True,
        metavar="PATH",
        help="work directory of a training run, a file of weights that `magnifier export` wrote, "
        "or drawn, the network that comes with the package",
    )
    add(
        "--images",
        type=pathlib.Path,
        required=True,
        metavar="DIR",
        help="folder of crops of many people, with everything under it: those of your gallery",
    )
    add(
        "--output",
        type=pathlib.Path,
        required=True,
        metavar="FILE.safetensors",
        help="weights to write, which every command takes as --workdir",
    )
    add("--force", action="store_true", help="replace the file if it is there")
    add(
        "--checkpoint",
        choices=["latest", "best"],
        default="latest",
        help="which checkpoint of the run: latest (default), or best by mAP",
    )
    add(
        "--most",
        type=console.positive,
        default=4096,
        help="of more images than this, so many are drawn (4096)",
    )
    add("--batch-size", type=console.positive, default=64, help="images at a time (64)")
    add("--skip-bad", action="store_true", help="leave out files that cannot be read")
    return parser


def _adapt(options: argparse.Namespace) -> None:
    from input_pipeline.files import check_output
    from input_pipeline.images.folder import list_folder
    from magnifier_jax.embedding.loading import load
    from magnifier_jax.export import export_model

    output = user_path(options.output)
    if output.suffix != ".safetensors":
        raise UserError(f"{output} is no place for weights: end its name in .safetensors.")
    check_output(output, force=options.force)
    folder = list_folder(user_path(options.images))
    model = load(options.workdir, checkpoint=options.checkpoint).adapt(
        [folder.root / name for name in folder.names],
        batch_size=options.batch_size,
        most=options.most,
        skip_bad=options.skip_bad,
        progress=True,
        say=lambda text: print(printable(text), flush=True),
    )
    export_model(model, output, format="safetensors", force=options.force)
    print(printable(f"{output}: use it as --workdir, and embed galleries again with it"))


if __name__ == "__main__":
    sys.exit(main())
