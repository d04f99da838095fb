"""`magnifier draw`: draws a dataset of synthetic people."""

from __future__ import annotations

import argparse
import pathlib
import sys
from collections.abc import Sequence

from input_pipeline import console
from input_pipeline.files import check_output, claim_output, user_path
from input_pipeline.synthetic.generate import generate
from input_pipeline.synthetic.settings import PRESETS, settings_of


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs the command and returns its exit status."""
    return console.run(_draw, _parser().parse_args(arguments))


def _parser() -> console.Parser:
    parser = console.Parser(
        prog="magnifier draw",
        description="Draws a dataset of synthetic people, with exact part labels.",
    )
    add = parser.add_argument
    add(
        "--preset",
        default="quickstart",
        help=f"{', '.join(sorted(PRESETS))}; changed by settings, as in worlds:seed=1:cameras=12",
    )
    add("--root", type=pathlib.Path, required=True, help="dataset folder to make")
    add("--workers", type=console.positive, help="processes; as many as cores by default")
    add("--contact-sheet", type=pathlib.Path, help="image of samples to write")
    add("--force", action="store_true", help="replace that image if it is there")
    return parser


def _draw(given: argparse.Namespace) -> None:
    settings = settings_of(given.preset)
    sheet = None if given.contact_sheet is None else user_path(given.contact_sheet)
    if sheet is not None:
        check_output(sheet, force=given.force)
    root = generate(user_path(given.root), settings, workers=given.workers)
    if sheet is not None:
        from input_pipeline.synthetic.sheet import contact_sheet

        images = root.rglob("*") if sheet.exists() else ()
        with claim_output(sheet, force=given.force, sources=images):
            contact_sheet(root, sheet)


if __name__ == "__main__":
    sys.exit(main())
