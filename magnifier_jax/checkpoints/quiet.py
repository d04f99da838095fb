"""Keeping the storage library's own chatter out of the way of our messages."""

import contextlib
import functools
import logging
import sys
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_storage() -> Iterator[None]:
    """Silences what orbax says while it saves and restores.

    A failure makes it log the same traceback up to ten times. The error itself is always raised
    to the caller too, who reports it in one line.
    """
    _ignore_closed_loops()
    loggers = [logging.getLogger(name) for name in ("absl", "asyncio")]

    def keep(record: logging.LogRecord) -> bool:
        return "orbax" not in record.pathname and "orbax" not in record.getMessage()

    for logger in loggers:
        logger.addFilter(keep)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(keep)


@functools.cache
def _ignore_closed_loops() -> None:
    """Silences one traceback for every array that was still on its way when another failed.

    They come from threads of the storage library at any later time, so this stays in place.
    """
    previous = sys.unraisablehook

    def hook(event: "sys.UnraisableHookArgs") -> None:
        if str(event.exc_value) != "Event loop is closed":
            previous(event)

    sys.unraisablehook = hook
