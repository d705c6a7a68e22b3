"""Clients that wait for lists. One statement answers many of them, whenever a notification names their customer."""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any
from uuid import UUID

from fastapi import Request

from api.errors import GatewayStopping, TooManyWaiters
from api.metrics import GatewayMetrics
from api.ports import Answer, GatewayReader, Question
from shared.backoff import delay_seconds
from shared.errors import DatabaseBusy, DatabaseUnavailable
from shared.logging import get_logger
from shared.postgres.notifications import EVERYBODY

# Of one statement, which is in flight alone: its answers are sent before the next one.
QUESTIONS_PER_READ = 200
MOST_BACKOFF_SECONDS = 2.0

log = get_logger(__name__)


@dataclass(eq=False)
class Waiter:
    """One waiting client. `answer` gets what it waits for: an answer to its question that is not the list `seen`."""

    question: Question
    seen: UUID | None
    answer: asyncio.Future[Answer] = field(default_factory=lambda: asyncio.get_running_loop().create_future())
    is_checked: bool = False

    def offer(self, answer: Answer) -> None:
        """Take the answer if it is the awaited one."""
        self.is_checked = True
        is_news = answer.newest is None or answer.newest.request_id != self.seen
        if (answer.has_failed or (answer.is_answered and is_news)) and not self.answer.done():
            self.answer.set_result(answer)

    def fail(self, error: Exception) -> None:
        """End the waiting with this error."""
        if not self.answer.done():
            self.answer.set_exception(error)

    def forget(self) -> None:
        """End the waiting without a word, an error that nobody has taken included."""
        if not self.answer.cancel() and not self.answer.cancelled():
            self.answer.exception()


class ListWaiters:
    """All waiting clients of one process, at most `most`.

    A waiter is due when it begins to wait, when a notification names its customer, and when the listening connection
    was made again. Due waiters are read in the order in which they became due.
    """

    def __init__(self, reader: GatewayReader, *, most: int, metrics: GatewayMetrics) -> None:
        self._reader = reader
        self._most = most
        self._slots = 0
        self._waiters: defaultdict[str, set[Waiter]] = defaultdict(set)
        self._due: dict[Waiter, None] = {}
        self._is_due = asyncio.Event()
        self._stopping = False
        self.changes = 0  # that may change what the list of any customer shows
        self._metrics = metrics
        metrics.watch(metrics.waiting_clients, lambda: self._slots)

    @contextmanager
    def slot(self) -> Iterator[None]:
        """Count one client; raises TooManyWaiters at the limit and GatewayStopping once the stop has begun."""
        if self._stopping:
            raise GatewayStopping
        if self._slots >= self._most:
            raise TooManyWaiters
        self._slots += 1
        try:
            yield
        finally:
            self._slots -= 1

    @contextmanager
    def waiter(self, question: Question, *, seen: UUID | None = None) -> Iterator[asyncio.Future[Answer]]:
        """Return the answer when it is there, the first check included; forget the waiter at the end of the block.

        The future raises GatewayStopping at a stop, and DatabaseUnavailable if the first check fails.
        """
        waiter = Waiter(question, seen)
        if self._stopping:
            waiter.fail(GatewayStopping())
        self._waiters[question.customer_id].add(waiter)
        self._add_due([waiter])
        try:
            yield waiter.answer
        finally:
            waiter.forget()
            self._due.pop(waiter, None)
            self._waiters[question.customer_id].discard(waiter)
            if not self._waiters[question.customer_id]:
                del self._waiters[question.customer_id]

    def wake(self, customer_ids: Sequence[str]) -> None:
        """Check the waiters of these customers, which one notification names, soon."""
        self._metrics.list_notifications.inc()
        if EVERYBODY in customer_ids:
            self._show_again()
        for customer_id in customer_ids:
            self._add_due(self._waiters.get(customer_id, ()))

    def wake_all(self) -> None:
        """Check every waiter soon: the listening connection is new, and what was sent before it is missed."""
        self._metrics.listener_connections.inc()
        self._show_again()

    def _show_again(self) -> None:
        """Give every waiter the newest list, also one that its client has: it may show other assets now."""
        self.changes += 1
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.seen = None
            self._add_due(waiters)

    def begin_shutdown(self) -> None:
        """End all waiting, and refuse more."""
        self._stopping = True
        for waiters in self._waiters.values():
            for waiter in waiters:
                waiter.fail(GatewayStopping())

    async def answer_forever(self) -> None:
        """Answer due waiters until cancelled; while the database is away, wait with a back-off."""
        failures = 0
        while True:
            await self._is_due.wait()
            try:
                await self._answer_some()
                failures = 0
            except Exception as error:
                failures += 1
                if not isinstance(error, DatabaseUnavailable):  # a bug must not end the task unnoticed
                    log.exception("waiters.failed")
                await asyncio.sleep(delay_seconds(failures, most_seconds=MOST_BACKOFF_SECONDS))

    async def _answer_some(self) -> None:
        """Read once for the first due waiters; raises DatabaseUnavailable, which ends those that wait since now."""
        due = list(islice(self._due, QUESTIONS_PER_READ))
        for waiter in due:
            del self._due[waiter]
        if not self._due:
            self._is_due.clear()
        questions = list(dict.fromkeys(waiter.question for waiter in due))
        try:
            answers = dict(zip(questions, await self._reader.fetch_answers(questions), strict=True))
        except Exception as error:
            self._put_back(due, error)
            raise
        for waiter in due:
            waiter.offer(answers[waiter.question])

    def _put_back(self, due: Sequence[Waiter], error: Exception) -> None:
        for waiter in due:
            if not waiter.is_checked:
                waiter.fail(DatabaseBusy() if isinstance(error, DatabaseBusy) else DatabaseUnavailable(str(error)))
        self._add_due(waiter for waiter in due if not waiter.answer.done())

    def _add_due(self, waiters: Iterable[Waiter]) -> None:
        for waiter in waiters:
            self._due[waiter] = None
            self._is_due.set()


async def wait_for_answer(
    question: Question, *, waiters: ListWaiters, request: Request, seconds: float
) -> Answer | None:
    """Return the awaited answer; None when it is not there in time, or when the client has left."""
    with waiters.slot(), waiters.waiter(question) as answer:
        leaving = asyncio.create_task(_wait_until_left(request))
        ends: set[asyncio.Future[Any]] = {answer, leaving}
        try:
            await asyncio.wait(ends, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
        finally:
            leaving.cancel()
        if leaving.done():
            await leaving  # raises when the client sends a body over the limit
        return answer.result() if answer.done() else None


async def _wait_until_left(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
