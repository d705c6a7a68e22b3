"""Reads that share statements."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field

import pytest

from api.read_batches import MOST_QUESTIONS, ReadBatches
from shared.errors import DatabaseUnavailable


@dataclass
class Database:
    """Answers each question with its negative when `gate` is set."""

    statements: list[tuple[list[int], float]] = field(default_factory=list)
    gate: asyncio.Event = field(default_factory=asyncio.Event)
    failures: list[Exception] = field(default_factory=list)
    answers_too_few: bool = False

    async def fetch_many(self, asked: Sequence[int], seconds: float) -> Sequence[int]:
        self.statements.append((list(asked), seconds))
        await self.gate.wait()
        if self.failures:
            raise self.failures.pop()
        return [-one for one in asked][self.answers_too_few :]

    def reads(self, *, most_at_once: int = 1) -> ReadBatches[int, int]:
        return ReadBatches(self.fetch_many, timeout_seconds=5.0, most_at_once=most_at_once)


async def turns() -> None:
    """Let everything that can go on go on."""
    for _ in range(10):
        await asyncio.sleep(0)


def ask(reads: ReadBatches[int, int], *questions: int) -> list[asyncio.Task[int]]:
    return [asyncio.create_task(reads.fetch(one)) for one in questions]


def test_what_is_asked_during_a_statement_shares_the_next_one_and_each_gets_its_own_answer() -> None:
    async def scenario() -> None:
        database = Database()
        reads = database.reads()
        tasks = ask(reads, 1, 2)
        await turns()
        tasks += ask(reads, 3)
        await turns()
        tasks += ask(reads, 4, 3)
        await turns()
        database.gate.set()
        assert await asyncio.gather(*tasks) == [-1, -2, -3, -4, -3]
        assert [asked for asked, _ in database.statements] == [[1, 2], [3, 4, 3]]
        assert await reads.fetch(9) == -9

    asyncio.run(scenario())


def test_no_more_statements_than_allowed_run_at_once_and_a_long_queue_is_split() -> None:
    async def scenario() -> None:
        database = Database()
        tasks = ask(database.reads(most_at_once=2), *range(3 * MOST_QUESTIONS))
        await turns()
        assert [len(asked) for asked, _ in database.statements] == [MOST_QUESTIONS] * 2
        database.gate.set()
        assert await asyncio.gather(*tasks) == [-one for one in range(3 * MOST_QUESTIONS)]
        assert len(database.statements) == 3

    asyncio.run(scenario())


def test_a_failure_ends_the_reads_of_its_statement_alone() -> None:
    async def scenario() -> None:
        database = Database(failures=[DatabaseUnavailable("away")])
        reads = database.reads()
        first = ask(reads, 1, 2)
        await turns()
        second = ask(reads, 3)
        database.gate.set()
        failed = await asyncio.gather(*first, return_exceptions=True)
        assert [type(one) for one in failed] == [DatabaseUnavailable] * 2
        assert await asyncio.gather(*second) == [-3]

    asyncio.run(scenario())


def test_rows_that_are_too_few_are_an_error_and_nobody_waits_for_ever() -> None:
    async def scenario() -> None:
        database = Database(answers_too_few=True)
        database.gate.set()
        answers = await asyncio.wait_for(asyncio.gather(*ask(database.reads(), 1, 2), return_exceptions=True), 30)
        assert isinstance(answers[1], ValueError)

    asyncio.run(scenario())


def test_a_request_that_was_cancelled_disturbs_no_other() -> None:
    async def scenario() -> None:
        database = Database()
        first, second = ask(database.reads(), 1, 2)
        await turns()
        first.cancel()
        database.gate.set()
        assert await second == -2
        with pytest.raises(asyncio.CancelledError):
            await first

    asyncio.run(scenario())


def test_the_time_of_a_read_begins_when_it_is_asked() -> None:
    async def scenario() -> None:
        loop, database = asyncio.get_running_loop(), Database()
        reads = database.reads()
        tasks = ask(reads, 1)
        await turns()
        asked_at = loop.time()
        tasks += ask(reads, 2)
        await turns()
        while loop.time() < asked_at + 0.05:
            await asyncio.sleep(0.01)
        database.gate.set()
        await asyncio.gather(*tasks)
        [(_, first), (_, second)] = database.statements
        assert second <= first - 0.04

    asyncio.run(scenario())
