"""Stopping politely when the system asks for it."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable, Iterator
from types import FrameType

import jax


class Terminated(KeyboardInterrupt):
    """SIGTERM came while there was nothing to save."""


@contextlib.contextmanager
def raise_on_sigterm() -> Iterator[None]:
    """Ends the block with `Terminated` when SIGTERM comes, so that it can clean up.

    In a run of several processes jax notes SIGTERM, and training stops by it at its first step.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        raise Terminated

    with _handling({} if jax.process_count() > 1 else {signal.SIGTERM: stop}):
        yield


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
    several = jax.process_count() > 1

    def note(number: int, frame: FrameType | None) -> None:
        if stop.is_set() and number == signal.SIGINT:
            raise KeyboardInterrupt
        stop.set()
        if several:
            os.kill(os.getpid(), signal.SIGTERM)

    if several:
        # jax's own service notes SIGTERM and makes the processes agree on a step.
        from jax.experimental import multihost_utils

        with _handling({signal.SIGINT: note}):
            yield multihost_utils.reached_preemption_sync_point
        return
    with _handling({signal.SIGTERM: note, signal.SIGINT: note}):
        yield lambda step: stop.is_set()


@contextlib.contextmanager
def _handling(handlers: dict[signal.Signals, Callable[..., None]]) -> Iterator[None]:
    """Handles signals otherwise in a block; only the main thread may."""
    if threading.current_thread() is not threading.main_thread():
        handlers = {}
    before = {number: signal.signal(number, handler) for number, handler in handlers.items()}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
