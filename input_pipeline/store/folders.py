"""The folders of prepared splits: their names, their seals, and what is said where one fails."""

from __future__ import annotations

import pathlib
import re
import shutil
import sys
import unicodedata
from collections.abc import Sequence

from input_pipeline.errors import DataError
from input_pipeline.files import checksum, read_json, write_json

_SEAL = "checksums.json"


def folder_name(dataset: str) -> str:
    """The name of a dataset as that of its folder among the prepared ones.

    Letters of all scripts stay, with their vowel signs: names that differ stay different.
    """
    kept = (c if c in "._+-" or unicodedata.category(c)[0] in "LMN" else "/" for c in dataset)
    return re.sub("/+", "-", "".join(kept))


def tell_other_versions(folder: pathlib.Path, split: str, current: Sequence[pathlib.Path]) -> None:
    """Says which folders hold the split as it was prepared from other files, and their size.

    They stay: another run, with other part labels or on another copy of the dataset, may be reading
    them at this moment.
    """
    others = sorted(set(folder.glob(f"{split}-" + "[0-9a-f]" * 16)) - set(current))
    size = sum(
        path.stat().st_size for other in others for path in other.rglob("*") if path.is_file()
    )
    if size:
        print(
            f"note: {split} was prepared from other files or part labels before, "
            f"{size / 1e9:.1f} GB; delete what no run uses: {' '.join(map(str, others))}",
            file=sys.stderr,
        )


def remove_leftovers(folder: pathlib.Path) -> None:
    """Removes what a killed process was writing."""
    (folder / _SEAL).unlink(missing_ok=True)
    for leftover in folder.glob("*/incomplete.*"):
        shutil.rmtree(leftover)


def seal(folder: pathlib.Path) -> None:
    """Notes sizes and checksums of what was written, for `check_seal`.

    Records are many and carry checksums of their own, so that their size is enough.
    """
    sealed = {}
    for path in sorted(folder.glob("*/*/*")):
        size = path.stat().st_size
        crc = checksum(path.read_bytes()) if path.suffix == ".json" else None
        sealed[path.relative_to(folder).as_posix()] = [size, crc]
    write_json(folder / _SEAL, {"files": sealed}, checksum=True)


def check_seal(folder: pathlib.Path) -> None:
    """Refuses files that are not what was written; older folders have no seal.

    Raises:
        ValueError: A file is missing or differs.
    """
    if not (folder / _SEAL).exists():
        return
    for name, (size, crc) in read_json(folder / _SEAL, what="seal", checksum=True)["files"].items():
        path = folder / name
        if path.stat().st_size != size or (crc is not None and checksum(path.read_bytes()) != crc):
            raise ValueError(f"{name} is not as it was written")


def damaged(folder: pathlib.Path, error: Exception) -> DataError:
    """The error that says that a prepared folder cannot be read."""
    reason = (str(error).splitlines() or [type(error).__name__])[0]
    return DataError(
        f"the prepared images in {folder} are damaged or incomplete: delete this folder so that "
        f"they are made again ({reason})"
    )


def cause_of(error: OSError | RuntimeError) -> str:
    """What the system said, without the story around it."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    told = re.search(r"failed: ([^;:]+);", str(error))
    return told[1] if told else " ".join(str(error).split())[:200]
