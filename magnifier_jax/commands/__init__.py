"""The commands, thin over the functions of the library: `magnifier COMMAND …`."""

from __future__ import annotations

import argparse
import importlib
import sys
from collections.abc import Sequence

import magnifier_jax
from input_pipeline import console as console

# Each command, its module, and what it does. Nothing is imported before its command is called.
COMMANDS = {
    "train": ("magnifier_jax.commands.train", "train a network, or resume a run"),
    "evaluate": ("magnifier_jax.commands.evaluate", "measure a trained network on test sets"),
    "embed": ("magnifier_jax.commands.embed", "embed a folder of images into a gallery"),
    "gallery": ("magnifier_jax.commands.gallery", "look after a gallery that grows"),
    "search": ("magnifier_jax.commands.search", "find the images of a gallery most like a query"),
    "serve": ("magnifier_jax.commands.serve", "open a search page in the browser, and an API"),
    "rank": ("magnifier_jax.commands.rank", "evaluate descriptors of any model"),
    "robustness": ("magnifier_jax.commands.robustness", "hide body parts, and see what it costs"),
    "explain": ("magnifier_jax.commands.explain", "say why two images match"),
    "report": ("magnifier_jax.commands.report", "renew a run's report, or compare runs"),
    "export": ("magnifier_jax.commands.export", "write a network for another framework"),
    "prepare": ("input_pipeline.prepare", "check a dataset and make it ready for training"),
    "labels": ("input_pipeline.part_labels.commands", "make part labels, or convert a parser's"),
    "draw": ("input_pipeline.synthetic.__main__", "draw a dataset of synthetic people"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs a command and returns its exit status."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    # What precedes the command is for the parser below; what follows is for the command.
    if given and given[0] in COMMANDS:
        return run_command(given[0], given[1:])
    parser = _parser()
    options = parser.parse_args(given)
    if options.command is None:
        parser.print_help()
        return 2
    return console.run(_unknown, options)


def run_command(name: str, arguments: Sequence[str]) -> int:
    """Runs one of `COMMANDS` and returns its exit status."""
    module = importlib.import_module(COMMANDS[name][0])
    status: int = module.main(arguments)
    return status


def _unknown(options: argparse.Namespace) -> None:
    console.choose(options.command, list(COMMANDS), what="command")


def _parser() -> console.Parser:
    width = max(map(len, COMMANDS))
    lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in COMMANDS.items()]
    parser = console.Parser(
        prog="magnifier",
        usage="magnifier COMMAND [OPTIONS]",
        description="MagnifierNet: person re-identification in JAX.",
        epilog="commands:\n" + "\n".join(lines) + "\n\n`magnifier COMMAND --help` says more.",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--version", action="version", version=magnifier_jax.__version__)
    parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
    parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
    return parser
