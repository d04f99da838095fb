"""Requests that come together are answered by one call of the model."""

from __future__ import annotations

import asyncio
import collections
import contextlib
from collections.abc import Callable, Hashable, Sequence
from concurrent.futures import Executor
from typing import Generic, TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


class BusyError(Exception):
    """Too many requests wait already."""


class ClosedError(Exception):
    """The server is shutting down."""


class Batcher(Generic[Item, Result]):
    """Collects items while the call before is running, and hands them over together.

    The first item of an idle server does not wait for company, so that one user alone loses
    nothing; under load batches grow by themselves.
    """

    def __init__(
        self,
        run: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        executor: Executor,
        most: int,
        waiting: int = 256,
        key: Callable[[Item], Hashable] = lambda item: None,
    ) -> None:
        """Starts nothing yet.

        Args:
            run: Answers a batch, in order; called in a thread of the executor.
            executor: Where it runs.
            most: Items in a batch.
            waiting: Items that may wait; one more is refused.
            key: Only items of the same key go into one batch.
        """
        self._run, self._executor = run, executor
        self._most, self._waiting, self._key = most, waiting, key
        self._queue: collections.deque[tuple[Item, asyncio.Future[Result]]] = collections.deque()
        self._arrived = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.batches: list[int] = []

    def start(self) -> None:
        """Begins to answer, in the running event loop."""
        self._task = asyncio.create_task(self._serve())

    async def close(self) -> None:
        """Refuses whoever still waits."""
        if self._task is not None:
            self._task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._task
        self._task = None
        while self._queue:
            _, future = self._queue.popleft()
            if not future.done():
                future.set_exception(ClosedError())

    async def __call__(self, item: Item) -> Result:
        """The result for one item.

        Raises:
            BusyError: Too many wait.
            ClosedError: It has been closed, or was meanwhile.
        """
        if self._task is None:
            raise ClosedError
        if len(self._queue) >= self._waiting:
            raise BusyError
        future: asyncio.Future[Result] = asyncio.get_running_loop().create_future()
        self._queue.append((item, future))
        self._arrived.set()
        return await future

    async def _serve(self) -> None:
        loop = asyncio.get_running_loop()
        while True:
            await self._arrived.wait()
            await asyncio.sleep(0)  # Others that are ready now may join.
            batch = self._take()
            if not batch:
                self._arrived.clear()
                continue
            try:
                results = await loop.run_in_executor(
                    self._executor, self._run, [item for item, _ in batch]
                )
            except asyncio.CancelledError:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(ClosedError())
                raise
            except Exception as error:
                for _, future in batch:
                    if not future.done():
                        future.set_exception(error)
            else:
                for (_, future), result in zip(batch, results, strict=True):
                    if not future.done():
                        future.set_result(result)

    def _take(self) -> list[tuple[Item, asyncio.Future[Result]]]:
        """The next batch: the oldest item, and those behind it that go with it."""
        batch: list[tuple[Item, asyncio.Future[Result]]] = []
        rest: list[tuple[Item, asyncio.Future[Result]]] = []
        while self._queue and len(batch) < self._most:
            item, future = self._queue.popleft()
            if future.done():  # Whoever asked has gone.
                continue
            same = not batch or self._key(item) == self._key(batch[0][0])
            (batch if same else rest).append((item, future))
        self._queue.extendleft(reversed(rest))
        return batch
