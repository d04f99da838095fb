"""Commands of a program, of which each is a module of its own."""

from __future__ import annotations

import argparse
import dataclasses
import importlib
import sys
from collections.abc import Mapping, Sequence

from input_pipeline import console


@dataclasses.dataclass(frozen=True)
class CommandTable:
    """What stands behind the first word after a program's name, such as `magnifier embed`.

    Attributes:
        program: What is typed before a command, such as `magnifier labels`.
        description: What the program is, for its help.
        commands: By name, the module and what the command does. The module has `main(arguments)`,
            which returns the exit status, and is not imported before its command is called.
        kind: What a command is called where it is not known.
        more: Ends the help.
        version: What `--version` prints; empty where there is no such option.
    """

    program: str
    description: str
    commands: Mapping[str, tuple[str, str]]
    kind: str = "command"
    more: str = ""
    version: str = ""

    def main(self, arguments: Sequence[str] | None = None) -> int:
        """Runs a command and returns its exit status.

        Args:
            arguments: The words after the program's name, by default those of this process.
        """
        given = list(sys.argv[1:] if arguments is None else arguments)
        # What precedes the command is for the parser below; what follows is for the command.
        if given and given[0] in self.commands:
            return self.run(given[0], given[1:])
        parser = self._parser()
        options = parser.parse_args(given)
        if options.command is None:
            parser.print_help()
            return 2
        return console.run(self._refuse, options)

    def run(self, name: str, arguments: Sequence[str]) -> int:
        """Runs one of the commands and returns its exit status."""
        module = importlib.import_module(self.commands[name][0])
        status: int = module.main(arguments)
        return status

    def _refuse(self, options: argparse.Namespace) -> None:
        console.choose(options.command, list(self.commands), what=self.kind)

    def _parser(self) -> console.Parser:
        width = max(map(len, self.commands))
        lines = [f"  {name:{width}}  {summary}" for name, (_, summary) in self.commands.items()]
        parser = console.Parser(
            prog=self.program,
            usage=f"{self.program} COMMAND [OPTIONS]",
            description=self.description,
            epilog="commands:\n"
            + "\n".join(lines)
            + f"\n\n`{self.program} COMMAND --help` says more.{self.more}",
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        if self.version:
            parser.add_argument("--version", action="version", version=self.version)
        parser.add_argument("command", nargs="?", help=argparse.SUPPRESS)
        parser.add_argument("rest", nargs=argparse.REMAINDER, help=argparse.SUPPRESS)
        return parser
