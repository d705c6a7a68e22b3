"""What a client of the campaign concludes from an answer, or from none."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import Awaitable, Callable

import pytest

from tests.chaos.http_calls import Answer, Connection, NoAnswer, NotSent
from tests.chaos.ledger import Ledger, acknowledged
from tests.chaos.load import Crowd, Load, outcome_of
from tests.chaos.report import summarise

Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]
OK = b'HTTP/1.1 200 OK\r\nX-Request-ID: abc\r\nContent-Length: 15\r\n\r\n{"status":"ok"}'


LIST = b'HTTP/1.1 200 OK\r\nX-Request-ID: abc\r\nContent-Length: 23\r\n\r\n{"recommendations": []}'


async def read_call(reader: asyncio.StreamReader) -> bytes:
    head = await reader.readuntil(b"\r\n\r\n")
    length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
    return head + await reader.readexactly(length)


def against(serve: Serve, calls: Callable[[Connection], Awaitable[None]]) -> None:
    """Let one connection make calls to a server of this test's own."""

    async def run() -> None:
        async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            await serve(reader, writer)
            writer.close()

        server = await asyncio.start_server(handle, "127.0.0.1", 0)
        connection = Connection(server.sockets[0].getsockname()[1])
        try:
            await asyncio.wait_for(calls(connection), 10)
        finally:
            connection.close()
            server.close()

    asyncio.run(run())


def test_an_answer_is_read_and_the_key_is_sent() -> None:
    seen: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for _ in range(2):
            seen.append(await read_call(reader))
            writer.write(OK)
            await writer.drain()

    async def calls(connection: Connection) -> None:
        first = await connection.post("/recommendations", {"customer_id": "C1"}, key="k")
        second = await connection.get("/health/live")
        assert (first.status, first.headers["x-request-id"], first.json()) == (200, "abc", {"status": "ok"})
        assert second.status == 200

    against(serve, calls)
    assert b"Idempotency-Key: k" in seen[0]
    assert b"Content-Type: application/json" in seen[0]
    assert seen[0].endswith(json.dumps({"customer_id": "C1"}).encode())


def test_a_connection_that_ends_after_the_call_left_is_no_answer() -> None:
    async def serve(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await read_call(reader)

    async def calls(connection: Connection) -> None:
        with pytest.raises(NoAnswer):
            await connection.post("/recommendations", {})

    against(serve, calls)


def test_a_connection_that_was_closed_while_idle_is_opened_again() -> None:
    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await read_call(reader)
        writer.write(OK)
        await writer.drain()

    async def calls(connection: Connection) -> None:
        for _ in range(3):
            assert (await connection.post("/recommendations", {})).status == 200
            await asyncio.sleep(0.05)

    against(serve, calls)


def test_nobody_who_listens_is_not_sent() -> None:
    async def call() -> None:
        server = await asyncio.start_server(lambda *_: None, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        server.close()
        await server.wait_closed()
        with pytest.raises(NotSent):
            await Connection(port).post("/recommendations", {})

    asyncio.run(call())


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
    assert outcome_of(Answer(status, {}, json.dumps({"outcome": outcome}).encode())) == concluded


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
        crowd = Crowd([f"C{number}" for number in range(5)], ["A", "B"], seed=1)
        load = Load(crowd, port=server.sockets[0].getsockname()[1], ledger=Ledger(), calls_per_second=500.0)
        load.start()
        await until(lambda: len(received) > 20)
        with load.paused():
            before = len(received)
            await asyncio.sleep(0.5)  # 250 calls without the pause
            assert len(received) <= before + 2 * len(crowd.customers)  # a call under way, and the read after it
            before = len(received)
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
