"""Keeping the storage library's own chatter out of the way of our messages."""

import contextlib
import functools
import gc
import logging
import sys
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_storage() -> Iterator[None]:
    """Silences what orbax says while it saves and restores.

    A failure makes it log the same traceback up to ten times. The error itself is always raised
    to the caller too, who reports it in one line.
    """
    _ignore_abandoned_tasks()
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


def collect_abandoned() -> None:
    """Collects the tasks that a failure left behind, which complain when they are collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()


@functools.cache
def _ignore_abandoned_tasks() -> None:
    """Silences the tracebacks of arrays that were still on their way when another one failed.

    They come from threads of the storage library at any later time, so this stays in place.
    """
    previous = sys.unraisablehook

    def hook(event: "sys.UnraisableHookArgs") -> None:
        code = getattr(event.object, "cr_code", None)
        from_orbax = code is not None and "orbax" in code.co_filename
        if not from_orbax and str(event.exc_value) != "Event loop is closed":
            previous(event)

    sys.unraisablehook = hook
