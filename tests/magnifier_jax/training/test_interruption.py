import os
import signal

import pytest

from magnifier_jax.training.interruption import Terminated, raise_on_sigterm, watch_for_stop


def send(number):
    os.kill(os.getpid(), number)


def test_a_request_to_stop_is_noted_while_there_is_something_to_save():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    for number in (signal.SIGTERM, signal.SIGINT):
        with watch_for_stop() as should_stop:
            assert not should_stop(1)
            send(number)
            assert should_stop(2)
            with pytest.raises(KeyboardInterrupt):
                send(signal.SIGINT)
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before


def test_outside_of_that_it_ends_the_command():
    before = signal.getsignal(signal.SIGTERM)
    with raise_on_sigterm():
        with watch_for_stop():
            send(signal.SIGTERM)
        with pytest.raises(Terminated):
            send(signal.SIGTERM)
    assert signal.getsignal(signal.SIGTERM) == before
