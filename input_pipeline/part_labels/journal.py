"""What converted part maps were made of, remembered in one file beside them."""

from __future__ import annotations

import dataclasses
import json
import os
import pathlib

from input_pipeline.part_labels.limbs import CONVERSION_VERSION

JOURNAL = ".converted.json"
LOCK = ".converted.lock"


@dataclasses.dataclass(frozen=True)
class Origin:
    """What a part map was made of.

    Attributes:
        format: Name of the source's format.
        version: `CONVERSION_VERSION` of the program that made it.
        name: File name of the source.
        size: Its size in bytes.
        changed: Its time of change, in nanoseconds. An older one is another one too: archives
            and copies keep the times of the files in them.
    """

    format: str
    version: int
    name: str
    size: int
    changed: int


def origin_of(source: pathlib.Path, *, format_name: str) -> Origin:
    """The origin of a part map that is made of `source` now.

    Raises:
        OSError: The file cannot be looked at.
    """
    status = source.stat()
    return Origin(format_name, CONVERSION_VERSION, source.name, status.st_size, status.st_mtime_ns)


def read_journal(folder: pathlib.Path) -> dict[str, Origin]:
    """The origins of the part maps in `folder` by their path in it; none where nobody wrote any."""
    try:
        fields = json.loads((folder / JOURNAL).read_text(encoding="utf-8"))
        return {name: Origin(*values) for name, values in fields.items()}
    except (OSError, ValueError, TypeError, AttributeError):
        return {}  # everything is converted again


def write_journal(folder: pathlib.Path, origins: dict[str, Origin]) -> None:
    """Writes what `read_journal` reads, in one piece.

    Raises:
        OSError: The folder cannot be written.
    """
    unfinished = folder / f"{JOURNAL}.{os.getpid()}"
    fields = {name: dataclasses.astuple(origin) for name, origin in origins.items()}
    unfinished.write_text(json.dumps(fields), encoding="utf-8")
    unfinished.replace(folder / JOURNAL)
