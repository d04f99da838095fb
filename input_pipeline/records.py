"""The records of prepared pictures, and what is said when they cannot be read."""

from __future__ import annotations

import dataclasses
import pathlib
from collections.abc import Sequence
from typing import Any

from input_pipeline.errors import DataError


@dataclasses.dataclass(frozen=True)
class EncodedSample:
    """A picture and its part map as stored.

    Attributes:
        image: 8-bit RGB, JPEG or PNG.
        part_map: 8-bit single-channel PNG of part classes, as large as the picture, or None.
    """

    image: bytes
    part_map: bytes | None


@dataclasses.dataclass(frozen=True, eq=False)
class Records:
    """Random access to the records in one folder.

    Attributes:
        folder: Where they are.
        source: A data source of TFDS whose records have `image` and `part_map`.
    """

    folder: pathlib.Path
    source: Any = dataclasses.field(repr=False)

    def __len__(self) -> int:
        return len(self.source)

    def read(self, positions: Sequence[int]) -> list[EncodedSample]:
        """The records at `positions`.

        Raises:
            DataError: They cannot be read; it names the folder.
        """
        try:
            records = self.source.__getitems__(list(positions))
        except Exception as error:  # whatever the reader of the file format raises
            raise damaged(self.folder, error) from error
        return [EncodedSample(record["image"], record["part_map"] or None) for record in records]


def damaged(folder: pathlib.Path, error: Exception) -> DataError:
    """The error that says that a prepared folder cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        f"the prepared pictures in {folder} are damaged or incomplete: delete this folder so that "
        f"they are made again ({reason})"
    )
