"""How every command starts, warns, fails and ends: options, exit statuses, and one line for errors.

The statuses are 0, 2 for what its user can mend, and 130 where it was interrupted.
"""

from __future__ import annotations

import argparse
import codecs
import contextlib
import difflib
import logging
import os
import sys
import warnings
from collections.abc import Callable, Sequence
from typing import Any, NoReturn, TextIO

from input_pipeline.errors import MagnifierError, UserError, printable

PLAIN = {
    "─": "-",
    "–": "-",
    "—": "-",
    "−": "-",
    "×": "x",
    "→": "->",
    "…": "...",
    "·": "*",
    "±": "+-",
    "≤": "<=",
    "≥": ">=",
}
"""What stands for a character on a terminal that cannot show it."""

_OUT_OF_MEMORY = "RESOURCE_EXHAUSTED"


class Parser(argparse.ArgumentParser):
    """Options in kebab-case, and mistakes in one line.

    The spelling with underscores of earlier versions is still understood.
    """

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Parses as `argparse` does, after respelling options; help may be printed anywhere."""
        prepare_terminal()
        given = sys.argv[1:] if args is None else list(args)
        return super().parse_known_args(
            [self._respelled(argument) for argument in given], namespace
        )

    def _respelled(self, argument: str) -> str:
        name, equals, value = argument.partition("=")
        if not name.startswith("--") or "_" not in name:
            return argument
        kebab = name.replace("_", "-")
        known = kebab in self._option_string_actions and name not in self._option_string_actions
        return f"{kebab}{equals}{value}" if known else argument

    def error(self, message: str) -> NoReturn:
        """Says what is wrong in one line, and ends with status 2."""
        print(
            f"error: {printable(message)}; `{self.prog} --help` lists the options", file=sys.stderr
        )
        sys.exit(2)


def run(command: Callable[[argparse.Namespace], None], options: argparse.Namespace) -> int:
    """Runs a command.

    A mistake of its user is one line on stderr, and so is each warning. Nothing is said where the
    reader of a pipe has gone, as in `| head -1`.

    Args:
        command: Does the work, and prints.
        options: What it was asked for.

    Returns:
        The exit status.
    """
    prepare_terminal()
    logging.basicConfig(format="%(levelname)s: %(message)s", level=logging.WARNING)
    try:
        with warnings.catch_warnings():
            _show_warnings()
            command(options)
        sys.stdout.flush()
    except BrokenPipeError:
        _close_quietly(sys.stdout)
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130
    except Exception as error:
        message = explain(error)
        if message is None:
            raise
        print(f"error: {message}", file=sys.stderr)
        return 2
    return 0


def explain(error: Exception) -> str | None:
    """What to tell a person about an error, or None where it is a bug and needs its traceback."""
    if isinstance(error, MagnifierError):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        return printable(": ".join(map(str, filter(None, (error.filename, error.strerror)))))
    if isinstance(error, MemoryError) or _OUT_OF_MEMORY in str(error)[:1000]:
        first = (str(error) or "there is not enough memory").splitlines()[0]
        return printable(f"{first}: give it less to hold at a time, such as a smaller --batch-size")
    return None


def prepare_terminal() -> None:
    """Lets text with any character be printed, whatever the terminal's encoding."""
    codecs.register_error("plain", _plain)
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="plain")


def positive(text: str) -> int:
    """An argument that is a whole number from 1 on."""
    try:
        number = int(text)
    except ValueError:
        number = 0
    if number < 1:
        raise argparse.ArgumentTypeError(f"{text} is not a whole number from 1 on")
    return number


def choose(name: str, known: Sequence[str], *, what: str) -> str:
    """The name, if it is known.

    Raises:
        UserError: It is not; the message says which one may be meant.
    """
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, n=1)
    hint = f", did you mean {near[0]}?" if near else f": there are {', '.join(known)}."
    raise UserError(f"There is no {what} {name!r}{hint}")


def _plain(error: UnicodeError) -> tuple[str, int]:
    """A handler of encoding errors: plain characters for known ones, codes for others."""
    if not isinstance(error, UnicodeEncodeError):
        raise error
    text = error.object[error.start : error.end]
    coded = "".join(PLAIN.get(c) or c.encode("ascii", "backslashreplace").decode() for c in text)
    return coded, error.end


def _show_warnings() -> None:
    """Shows each warning of this project once, in one line; until `catch_warnings` ends."""
    said = set()

    def show(message: Warning | str, *_: object, **__: object) -> None:
        text = printable(str(message))
        if text not in said:
            said.add(text)
            print(f"warning: {text}", file=sys.stderr)

    warnings.showwarning = show
    warnings.filterwarnings("always", category=UserWarning)


def _close_quietly(stream: TextIO) -> None:
    """Lets the interpreter's last flush go nowhere."""
    with contextlib.suppress(OSError, ValueError):  # It may be no file of the operating system.
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
