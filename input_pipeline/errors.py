"""Every error that a user can fix, and the files that such errors name."""

from __future__ import annotations

import dataclasses
import pathlib
import unicodedata
from collections.abc import Sequence

_NAMED = 5


class MagnifierError(ValueError):
    """Root of the errors of this project; the message names the cause and says what to do.

    A message is one line without control characters, whatever a file or its name held. Where a
    list has to follow, it is given apart.
    """

    def __init__(self, message: str, *, details: Sequence[str] = ()) -> None:
        """Makes the message printable; each of `details` follows it on a line of its own."""
        lines = [printable(message), *(f"  {printable(detail)}" for detail in details)]
        super().__init__("\n".join(lines))


class UserError(MagnifierError):
    """Something asked for cannot be done."""


class DataError(MagnifierError):
    """Data that cannot be used; the message names the file or folder."""


def printable(text: str) -> str:
    """The text on one line, with line breaks, escape codes and other control characters escaped.

    Names and fields from files pass through here before they reach a terminal.
    """
    if text.isprintable():
        return text
    return "".join(
        char if char.isprintable() or unicodedata.category(char) == "Zs" else _escaped(char)
        for char in text
    )


def in_short(texts: Sequence[str], *, most: int = _NAMED) -> str:
    """The first `most` of the texts, and how many more there are."""
    more = f"; and {len(texts) - most} more" if len(texts) > most else ""
    return "; ".join(texts[:most]) + more


def reason_of(error: Exception) -> str:
    """What an error of somebody else's code says, in one line."""
    return " ".join(str(error).split()) or type(error).__name__


def _escaped(char: str) -> str:
    return char.encode("unicode_escape", "surrogatepass").decode("ascii")


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """One file or folder that cannot be used.

    Attributes:
        path: The file or folder.
        what: What is wrong with it, in a few words.
    """

    path: pathlib.Path
    what: str

    def __str__(self) -> str:
        return printable(f"{self.path}: {self.what}")


class FilesError(DataError):
    """Files cannot be used; the message names the first few of them.

    Attributes:
        problems: Every file, with what is wrong with it.
    """

    def __init__(self, advice: str, problems: Sequence[Problem]) -> None:
        self.problems = tuple(problems)
        named = in_short([str(problem) for problem in self.problems])
        count = len(self.problems)
        head = "" if count == 1 else f"{count} files cannot be used: "
        super().__init__(f"{head}{named}" + (f". {advice}" if advice else ""))


def problems_of(errors: Sequence[DataError]) -> list[Problem]:
    """The files that the errors name, each once, in the order of their paths."""
    named = (error.problems for error in errors if isinstance(error, FilesError))
    return sorted({problem for problems in named for problem in problems})


def combined(errors: Sequence[DataError]) -> DataError:
    """One error that says what all of them say, in one line; every file once."""
    problems = problems_of(errors)
    others = list(dict.fromkeys(str(e) for e in errors if not isinstance(e, FilesError)))
    if not others:
        return FilesError("", problems)
    if problems:
        others.append(str(FilesError("", problems)))
    return DataError("; ".join(others))
