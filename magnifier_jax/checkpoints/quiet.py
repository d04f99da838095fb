"""Keeping the storage library's own chatter out of the way of our messages."""

import contextlib
import functools
import gc
import logging
import sys
import traceback
import warnings
from collections.abc import Iterator


@contextlib.contextmanager
def quiet_storage() -> Iterator[None]:
    """Silences what orbax says while it saves and restores.

    A failure makes it log the same traceback up to ten times. The error itself is always raised
    to the caller too, who reports it in one line.
    """
    _ignore_abandoned_tasks()
    logger = logging.getLogger("absl")
    logger.addFilter(_is_of_others)
    try:
        yield
    finally:
        logger.removeFilter(_is_of_others)


def _is_of_others(record: logging.LogRecord) -> bool:
    """Whether a message comes from elsewhere than the storage library."""
    if "orbax" in record.pathname or "orbax" in record.getMessage():
        return False
    trace = record.exc_info[2] if record.exc_info else None
    return not any("orbax" in frame.filename for frame in traceback.extract_tb(trace))


def collect_abandoned() -> None:
    """Collects the tasks that a failure left behind, which complain when they are collected."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        gc.collect()


@functools.cache
def _ignore_abandoned_tasks() -> None:
    """Silences the tracebacks of arrays that were still on their way when another one failed.

    They come from threads and tasks of the storage library at any later time, so this stays in
    place.
    """
    logging.getLogger("asyncio").addFilter(_is_of_others)
    previous = sys.unraisablehook

    def hook(event: "sys.UnraisableHookArgs") -> None:
        code = getattr(event.object, "cr_code", None)
        from_orbax = code is not None and "orbax" in code.co_filename
        if not from_orbax and str(event.exc_value) != "Event loop is closed":
            previous(event)

    sys.unraisablehook = hook
