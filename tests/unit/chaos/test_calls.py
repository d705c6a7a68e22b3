"""What a client of the campaign concludes from an answer, or from none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

import httpx
import pytest

from tests.chaos.ledger import Ledger, Outcome, acknowledged, outcome_of
from tests.chaos.load import Load, Population, open_client, post
from tests.chaos.report import summarise

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b'HTTP/1.1 200 OK\r\nX-Request-ID: abc\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'


LIST = b'HTTP/1.1 200 OK\r\nX-Request-ID: abc\r\nContent-Length: 23\r\n\r\n{"recommendations": []}'


async def read_call(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def outcomes(serve: Serve, *, calls: int) -> list[tuple[Outcome, str | None]]:
    """Let one client make calls to a server of this test's own; return what it concludes."""

    async def run() -> list[tuple[Outcome, str | None]]:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve(reader, writer)
            writer.close()
            await writer.wait_closed()
            closed.set()

        closed = asyncio.Event()
        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        found = []
        async with open_client(server.sockets[0].getsockname()[1]) as http, asyncio.timeout(10):
            for _ in range(calls):
                closed.clear()
                found.append(await post(http, "/recommendations", {"customer_id": "C1"}, {"Idempotency-Key": "k"}))
                await closed.wait()
        server.close()
        return found

    return asyncio.run(run())


def test_an_acknowledged_call_has_the_event_id_of_the_answer_and_the_key_is_sent() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.append(await read_call(reader))
        writer.write(OK)

    assert outcomes(serve, calls=1) == [("acknowledged", "abc")]
    assert b"idempotency-key: k" in seen[0].lower()
    assert b"content-type: application/json" in seen[0].lower()
    assert json.loads(seen[0].split(b"\r\n\r\n")[1]) == {"customer_id": "C1"}


def test_a_connection_that_ends_after_the_call_left_is_an_unknown_outcome() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_call(reader)

    assert outcomes(serve, calls=1) == [("unknown", None)]


def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_call(reader)
        writer.write(OK)

    assert outcomes(serve, calls=3) == [("acknowledged", "abc")] * 3


def test_a_call_without_a_server_is_rejected() -> None:
    async def call() -> tuple[Outcome, str | None]:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        async with open_client(port) as http:
            return await post(http, "/recommendations", {}, {})

    assert asyncio.run(call()) == ("rejected", None)


@pytest.mark.parametrize(
    ("status", "outcome", "concluded"),
    [
        (200, None, "acknowledged"),
        (503, "unknown", "unknown"),
        (503, "not_accepted", "rejected"),
        (503, None, "unknown"),
        (422, None, "rejected"),
        (413, None, "rejected"),
        (415, None, "rejected"),
        (500, None, "unknown"),
    ],
)
def test_what_a_status_says_about_the_event(status: int, outcome: str | None, concluded: str) -> None:
    assert outcome_of(httpx.Response(status, json={"outcome": outcome})) == concluded


def test_a_paused_load_begins_no_call_and_goes_on_afterwards() -> None:
    received: list[bytes] = []

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                received.append(await read_call(reader))
                writer.write(LIST)
                await writer.drain()
        writer.close()

    async def run() -> None:
        server = await asyncio.start_server(answer, "127.0.0.1", 0)
        population = Population([f"C{number}" for number in range(5)], ["A", "B"], seed=1)
        load = Load(population, port=server.sockets[0].getsockname()[1], ledger=Ledger(), calls_per_second=500.0)
        load.start()
        await until(lambda: len(received) > 20)
        with load.paused():
            await until(load.is_idle)
            before = len(received)
            await asyncio.sleep(0.2)  # 100 calls without the pause
            assert len(received) == before
        await until(lambda: len(received) > before)
        await asyncio.to_thread(load.stop)
        server.close()

    asyncio.run(run())


async def until(holds: Callable[[], bool]) -> None:
    async with asyncio.timeout(10):
        while not holds():
            await asyncio.sleep(0.01)


def test_the_ledger_numbers_each_customers_calls_and_keeps_the_outcome() -> None:
    ledger = Ledger()
    first, other, second = (ledger.begin(name, "request") for name in ("C1", "C2", "C1"))
    ledger.close(second, "acknowledged", "b")
    ledger.close(first, "acknowledged", "a")
    ledger.close(other, "rejected")

    assert [(call.sequence, call.event_id) for call in acknowledged(ledger.calls(), "request")] == [(1, "a"), (2, "b")]
    assert (ledger.count("acknowledged"), ledger.count("rejected"), ledger.count("unknown")) == (2, 1, 0)


def test_percentiles_are_values_that_were_measured() -> None:
    values = [float(number) for number in range(20, 0, -1)]
    assert summarise(values) == {"count": 20, "p50": 10.0, "p95": 19.0, "max": 20.0}
    assert summarise([3.0]) == {"count": 1, "p50": 3.0, "p95": 3.0, "max": 3.0}
