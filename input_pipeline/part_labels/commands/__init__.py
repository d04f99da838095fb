"""`magnifier labels COMMAND`: one file for each way to get part labels."""

from __future__ import annotations

import sys
from collections.abc import Sequence

from input_pipeline.command_table import CommandTable
from input_pipeline.part_labels.formats import FORMATS

# Each command, its module, and what it does. Nothing is imported before its command is called.
COMMANDS = {
    "drawn": (
        "input_pipeline.part_labels.commands.drawn",
        "make part labels of any images, with the parser of this package",
    ),
    "pose": (
        "input_pipeline.part_labels.commands.pose",
        "make part labels of any images, with a small pose network",
    ),
    "key-points": (
        "input_pipeline.part_labels.commands.key_points",
        "make them from key points that another pose estimator wrote",
    ),
    "convert": (
        "input_pipeline.part_labels.commands.convert",
        "convert label maps of another body parser",
    ),
}

_TABLE = CommandTable(
    program="magnifier labels",
    description="Makes part labels, or converts those of another body parser.",
    commands=COMMANDS,
    kind="command of `magnifier labels`",
    more=" `magnifier labels FORMAT SOURCE TARGET` is short for `convert`; formats: "
    f"{', '.join(FORMATS)}.",
)


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # Before there were commands, the format came first: `magnifier labels lip20 maps target`.
    formatted = len(given) > 2 and not any(argument.startswith("-") for argument in given[:3])
    if formatted and given[0] not in COMMANDS:
        return _TABLE.run("convert", given)
    return _TABLE.main(given)
