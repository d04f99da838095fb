"""One process at a time in a folder."""

from __future__ import annotations

import contextlib
import fcntl
import pathlib
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def only_one(lock: pathlib.Path, *, doing: str) -> Iterator[None]:
    """Lets one process at a time do something; the others say that they wait, and do.

    A killed process lets go by itself.

    Args:
        lock: File to hold; created, in a folder that exists, and left there.
        doing: What is done, for the message of those that wait, such as `draws the pictures`.

    Raises:
        OSError: The file cannot be written or locked.
    """
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"waiting for another process that {doing}", file=sys.stderr, flush=True)
            fcntl.flock(file, fcntl.LOCK_EX)
        yield
