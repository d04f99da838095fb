"""The command `python -m input_pipeline.synthetic`."""

from __future__ import annotations

import argparse
import pathlib
import sys

from input_pipeline.errors import DataError
from input_pipeline.synthetic.generate import generate
from input_pipeline.synthetic.settings import PRESETS


def main() -> int:
    """Renders a preset; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m input_pipeline.synthetic", description=__doc__)
    parser.add_argument("--preset", choices=sorted(PRESETS), default="quickstart")
    parser.add_argument("--root", type=pathlib.Path, required=True, help="dataset folder to make")
    parser.add_argument("--workers", type=int, help="processes; as many as cores by default")
    parser.add_argument("--contact-sheet", type=pathlib.Path, help="picture of samples to write")
    arguments = parser.parse_args()
    try:
        root = generate(arguments.root, PRESETS[arguments.preset], workers=arguments.workers)
        if arguments.contact_sheet is not None:
            from input_pipeline.synthetic.sheet import contact_sheet

            contact_sheet(root, arguments.contact_sheet)
    except DataError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    return 0


if __name__ == "__main__":
    sys.exit(main())
