"""Files that are written whole or not at all, whatever interrupts the writing."""

from __future__ import annotations

import contextlib
import os
import pathlib
from collections.abc import Iterator
from typing import BinaryIO


@contextlib.contextmanager
def open_whole(path: pathlib.Path, *, partial: pathlib.Path) -> Iterator[BinaryIO]:
    """A file to write to, which appears at `path` once all of it is safe on the disk.

    Args:
        path: The file; one that is there already stays until then.
        partial: What the file is called meanwhile, in the same folder; removed after an error.

    Raises:
        OSError: It cannot be written.
    """
    try:
        with partial.open("wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        partial.replace(path)
        _sync_folder(path.parent)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


def _sync_folder(path: pathlib.Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
