"""Fixtures for the tests of what a run writes."""

import resource
import signal

import pytest


@pytest.fixture
def file_size_limit():
    """Lets the operating system refuse to write more than a few bytes to any file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)

    def limit(size: int | None) -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft if size is None else size, hard))

    yield limit
    limit(None)
    signal.signal(signal.SIGXFSZ, handler)
