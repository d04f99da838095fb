"""Stopping politely when the system asks for it."""

from __future__ import annotations

import contextlib
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax


@contextlib.contextmanager
def watch_for_stop() -> Iterator[Callable[[int], bool]]:
    """Notes SIGTERM and SIGINT instead of dying of them.

    Schedulers and preempted machines send SIGTERM some seconds before they kill; Ctrl-C sends
    SIGINT. A second Ctrl-C interrupts at once.

    Yields:
        A function of the step that says whether to save and stop. In a run of several processes
        all of them call it with the same steps and get the same answer.
    """
    stop = threading.Event()

    def note(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()

    in_main = threading.current_thread() is threading.main_thread()
    numbers = (signal.SIGTERM, signal.SIGINT) if in_main else ()
    if jax.process_count() > 1:
        # jax's own service notes SIGTERM and makes the processes agree on a step.
        from jax.experimental import multihost_utils

        yield multihost_utils.reached_preemption_sync_point
        return
    before = {number: signal.signal(number, note) for number in numbers}
    try:
        yield lambda step: stop.is_set()
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
