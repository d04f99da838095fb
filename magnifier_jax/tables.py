"""Tables of text, for every command that prints one."""

from __future__ import annotations

import sys
import unicodedata
from collections.abc import Collection, Sequence
from typing import TextIO

from input_pipeline.console import PLAIN
from input_pipeline.errors import printable

_GAP = "  "
_PLAIN = str.maketrans(PLAIN)


def table(
    header: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    left: Collection[int] = (0,),
    rules: bool = True,
    stream: TextIO | None = None,
) -> str:
    """Lays out cells of text in columns.

    Args:
        header: One cell for each column.
        rows: As many cells each. Line breaks and escape codes in them are escaped.
        left: Columns that are aligned to the left; the others, numbers as a rule, to the right.
        rules: Whether horizontal lines stand above and below the header, and at the end.
        stream: Where it will be printed, standard output if not given; see `encodable`.

    Raises:
        ValueError: A row has another number of cells than the header.
    """
    cells = [[encodable(printable(cell), stream) for cell in row] for row in (header, *rows)]
    widths = [max(map(_width, column)) for column in zip(*cells, strict=True)]
    lines = [
        _GAP.join(
            _padded(cell, width, left=column in left)
            for column, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in cells
    ]
    if rules:
        rule = encodable("─", stream) * (sum(widths) + len(_GAP) * (len(widths) - 1))
        lines = [rule, lines[0], rule, *lines[1:], rule]
    return "\n".join(lines)


def encodable(text: str, stream: TextIO | None = None) -> str:
    """The text with what a terminal cannot show replaced: `─` by `-`, `×` by `x`, others by codes.

    Args:
        text: Any text.
        stream: Where it will be printed; standard output if not given.
    """
    encoding = getattr(sys.stdout if stream is None else stream, "encoding", None) or "utf-8"
    try:
        text.encode(encoding)
    except UnicodeEncodeError:
        return text.translate(_PLAIN).encode(encoding, "backslashreplace").decode(encoding)
    return text


def _padded(cell: str, width: int, *, left: bool) -> str:
    blanks = " " * (width - _width(cell))
    return cell + blanks if left else blanks + cell


def _width(text: str) -> int:
    """Columns that a terminal gives the text: two for wide letters, none for combining marks."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1
        for char in text
    )
