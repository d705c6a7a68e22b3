"""Reads of one kind that share statements: each statement answers everything that was asked until it began."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from typing import Generic, TypeVar

Asked = TypeVar("Asked")
Row = TypeVar("Row")

MOST_QUESTIONS = 200


class ReadBatches(Generic[Asked, Row]):
    """Collects questions while statements are under way; nobody waits while fewer than `most_at_once` are.

    `fetch_many` returns one row for each question in order, within the given seconds.
    """

    def __init__(
        self,
        fetch_many: Callable[[Sequence[Asked], float], Awaitable[Sequence[Row]]],
        *,
        timeout_seconds: float,
        most_at_once: int,
    ) -> None:
        self._fetch_many = fetch_many
        self._timeout_seconds = timeout_seconds
        self._most_at_once = most_at_once
        self._waiting: deque[tuple[Asked, float, asyncio.Future[Row]]] = deque()
        self._running: set[asyncio.Task[None]] = set()
        self._is_starting = False

    async def fetch(self, asked: Asked) -> Row:
        """Return the row of this question; raises what `fetch_many` raises."""
        loop = asyncio.get_running_loop()
        answer: asyncio.Future[Row] = loop.create_future()
        self._waiting.append((asked, loop.time(), answer))
        self._start()
        return await answer

    def _start(self) -> None:
        """Begin a statement at the next step of the event loop, so that it answers all that this step asks."""
        if self._waiting and not self._is_starting and len(self._running) < self._most_at_once:
            self._is_starting = True
            task = asyncio.create_task(self._answer_waiting())
            self._running.add(task)
            task.add_done_callback(self._running.discard)

    async def _answer_waiting(self) -> None:
        self._is_starting = False
        while self._waiting:
            batch = [self._waiting.popleft() for _ in range(min(len(self._waiting), MOST_QUESTIONS))]
            self._start()  # where there are more
            # The oldest question has waited longest; for it the time began when it was asked.
            seconds = batch[0][1] + self._timeout_seconds - asyncio.get_running_loop().time()
            try:
                rows = await self._fetch_many([asked for asked, _, _ in batch], seconds)
                for (_, _, answer), row in zip(batch, rows, strict=True):
                    if not answer.done():  # its request was cancelled
                        answer.set_result(row)
            except Exception as error:
                for _, _, answer in batch:
                    if not answer.done():
                        answer.set_exception(error)
            finally:
                for _, _, answer in batch:
                    answer.cancel()  # only where this task is cancelled
