"""Files that cannot be used, collected so that all of them are reported at once."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence

from input_pipeline.errors import DataError
from input_pipeline.samples import ReidDataset

_NAMED = 5


@dataclasses.dataclass(frozen=True, order=True)
class Problem:
    """One file that cannot be used.

    Attributes:
        path: The file.
        what: What is wrong with it, in a few words.
    """

    path: pathlib.Path
    what: str

    def __str__(self) -> str:
        return f"{self.path}: {self.what}"


class FilesError(DataError):
    """Several files cannot be used; the message names the first few of them.

    Attributes:
        problems: Every file, with what is wrong with it.
        rest: The dataset without these files where one could be read, so that a scan can go on
            and report the other files too.
    """

    def __init__(
        self, advice: str, problems: Sequence[Problem], rest: ReidDataset | None = None
    ) -> None:
        self.problems = tuple(problems)
        self.rest = rest
        first = "; ".join(str(problem) for problem in self.problems[:_NAMED])
        more = len(self.problems) - _NAMED
        tail = f"; and {more} more" if more > 0 else ""
        files = "1 file" if len(self.problems) == 1 else f"{len(self.problems)} files"
        super().__init__(f"{files} cannot be used: {first}{tail}. {advice}")
