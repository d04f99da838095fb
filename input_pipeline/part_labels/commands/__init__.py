"""`magnifier labels COMMAND`: one file for each way to get part labels."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

from input_pipeline import console
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    if given and given[0] in COMMANDS:
        return _run(given[0], given[1:])
    # Before there were commands, the format came first: `magnifier labels lip20 maps target`.
    if len(given) > 2 and not any(argument.startswith("-") for argument in given[:3]):
        return _run("convert", given)
    if given and not given[0].startswith("-"):
        return console.run(_unknown, argparse.Namespace(command=given[0]))
    parser = _parser()
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return 2
    return console.run(_unknown, options)


def _run(name: str, arguments: Sequence[str]) -> int:
    module = importlib.import_module(COMMANDS[name][0])
    status: int = module.main(arguments)
    return status


def _unknown(options: argparse.Namespace) -> None:
    console.choose(options.command, list(COMMANDS), what="command of `magnifier labels`")


def _parser() -> console.Parser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    parser = console.Parser(
        prog="magnifier labels",
        usage="magnifier labels COMMAND [OPTIONS]",
        description="Makes part labels, or converts those of another body parser.",
        epilog="commands:\n"
        + "\n".join(lines)
        + "\n\n`magnifier labels COMMAND --help` says more. `magnifier labels FORMAT SOURCE "
        + f"TARGET` is short for `convert`; formats: {', '.join(FORMATS)}.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    return parser
