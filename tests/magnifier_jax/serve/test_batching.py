import asyncio
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from magnifier_jax.serve.batching import Batcher, BusyError, ClosedError


class Slow:
    """Doubles numbers once it is let, and notes the batches."""

    def __init__(self):
        self.go = threading.Event()
        self.batches = []

    def __call__(self, items):
        self.batches.append(list(items))
        assert self.go.wait(10)
        if "bad" in items:
            raise ArithmeticError("bad")
        return [2 * item for item in items]


def run(test, **settings):
    """Runs an async test with a batcher of one thread."""
    slow = Slow()

    async def body():
        with ThreadPoolExecutor(1) as executor:
            batcher = Batcher(slow, executor=executor, most=4, **settings)
            batcher.start()
            try:
                await test(batcher, slow)
            finally:
                slow.go.set()
                await batcher.close()

    asyncio.run(body())


async def started(slow, batches=1):
    while len(slow.batches) < batches:
        await asyncio.sleep(0.001)


def test_what_waits_is_answered_together_and_each_gets_its_own():
    async def test(batcher, slow):
        first = asyncio.create_task(batcher(0))
        await started(slow)
        rest = [asyncio.create_task(batcher(item)) for item in range(1, 7)]
        await asyncio.sleep(0)
        slow.go.set()
        assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 8, 10, 12]
        assert slow.batches == [[0], [1, 2, 3, 4], [5, 6]]

    run(test)


def test_only_the_same_key_goes_together_and_nobody_is_passed_over():
    async def test(batcher, slow):
        first = asyncio.create_task(batcher(0))
        await started(slow)
        rest = [asyncio.create_task(batcher(item)) for item in (1, 2, 3, 5, 4)]
        await asyncio.sleep(0)
        slow.go.set()
        assert await asyncio.gather(first, *rest) == [0, 2, 4, 6, 10, 8]
        assert slow.batches == [[0], [1, 3, 5], [2, 4]]

    run(test, key=lambda item: item % 2)


def test_too_many_are_refused():
    async def test(batcher, slow):
        first = asyncio.create_task(batcher(0))
        await started(slow)
        waiting = [asyncio.create_task(batcher(item)) for item in (1, 2)]
        await asyncio.sleep(0)
        with pytest.raises(BusyError):
            await batcher(3)
        slow.go.set()
        assert await asyncio.gather(first, *waiting) == [0, 2, 4]

    run(test, waiting=2)


def test_whoever_has_gone_is_left_out():
    async def test(batcher, slow):
        first = asyncio.create_task(batcher(0))
        await started(slow)
        gone, stays = (asyncio.create_task(batcher(item)) for item in (1, 2))
        await asyncio.sleep(0)
        gone.cancel()
        await asyncio.sleep(0)
        slow.go.set()
        assert await stays == 4
        assert await first == 0
        assert slow.batches == [[0], [2]]

    run(test)


def test_a_failure_is_that_of_its_batch_only():
    async def test(batcher, slow):
        slow.go.set()
        with pytest.raises(ArithmeticError):
            await batcher("bad")
        assert await batcher(3) == 6

    run(test)


def test_closing_refuses_those_that_wait_and_those_that_come():
    async def test(batcher, slow):
        running = asyncio.create_task(batcher(0))
        await started(slow)
        waiting = asyncio.create_task(batcher(1))
        await asyncio.sleep(0)
        slow.go.set()
        await batcher.close()
        for task in (running, waiting):
            with pytest.raises(ClosedError):
                await task
        with pytest.raises(ClosedError):
            await batcher(2)

    run(test)
