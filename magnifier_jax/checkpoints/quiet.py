"""Keeping the storage library's own chatter out of the way of our messages."""

import contextlib
import logging
import sys
from collections.abc import Iterator
from types import TracebackType


@contextlib.contextmanager
def quiet_storage() -> Iterator[None]:
    """Silences what orbax says while it saves and restores.

    A failed save makes it log the same traceback up to ten times, and print one "Event loop is
    closed" for every array that was still to be written. The error itself is always raised to the
    caller too, who reports it in one line.
    """
    logger = logging.getLogger("absl")
    logger.addFilter(_not_from_orbax)
    previous = sys.excepthook

    def excepthook(
        kind: type[BaseException], error: BaseException, traceback: TracebackType | None
    ) -> None:
        if not (kind is RuntimeError and str(error) == "Event loop is closed"):
            previous(kind, error, traceback)

    sys.excepthook = excepthook
    try:
        yield
    finally:
        logger.removeFilter(_not_from_orbax)
        if sys.excepthook is excepthook:
            sys.excepthook = previous


def _not_from_orbax(record: logging.LogRecord) -> bool:
    return "orbax" not in record.pathname
