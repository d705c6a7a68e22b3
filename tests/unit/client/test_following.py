"""Server-sent events from any cut of their bytes, and a client that goes on after a loss."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from far_trans_client import (
    AnswerTooLarge,
    ConnectionFailed,
    FarTransError,
    NotFound,
    NotJson,
    Redirected,
    Unavailable,
    UnexpectedContent,
    UnexpectedShape,
)
from far_trans_client.following import EventParser
from tests.unit.client.conftest import FAST, Caller

STREAM = {"Content-Type": "text/event-stream; charset=utf-8"}
FIRST, SECOND = uuid4(), uuid4()


class Stream(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body of chunks; an exception among them breaks it off."""

    def __init__(self, *chunks: bytes | Exception) -> None:
        self._chunks = chunks

    def __iter__(self) -> Iterator[bytes]:
        for chunk in self._chunks:
            if isinstance(chunk, Exception):
                raise chunk
            yield chunk

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


def event(request_id: UUID) -> bytes:
    data: dict[str, Any] = {"status": "ok", "recommendations": [], "request_id": str(request_id)}
    data |= {"model_version": "v1", "basis": "history", "stale": False}
    return f"event: list\nid: {request_id}\ndata: {json.dumps(data)}\n\n".encode()


def streams(*bodies: Stream | int | Exception) -> tuple[Callable[[httpx.Request], httpx.Response], list[str | None]]:
    """Return a server that answers with each body in turn, and the Last-Event-ID of each connection."""
    remaining, seen = list(bodies), list[str | None]()

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.headers.get("Last-Event-ID"))
        body = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        if isinstance(body, Exception):
            raise body
        return httpx.Response(body) if isinstance(body, int) else httpx.Response(200, headers=STREAM, stream=body)

    return handle, seen


def follow(client: Any) -> Any:
    return client.follow("C1")


LOST = httpx.ReadError("connection reset")


@pytest.mark.parametrize(
    "first",
    [
        Stream(event(FIRST)),
        Stream(event(FIRST), LOST),
        Stream(event(FIRST), event(SECOND)[:40]),
        Stream(event(FIRST), event(SECOND)[:-1]),
        Stream(b": ping\n\n", event(FIRST)[:7], event(FIRST)[7:], b": ping\n\n", httpx.ReadTimeout("silence")),
    ],
)
def test_after_a_loss_the_client_goes_on_after_its_last_list(call: Caller, first: Stream) -> None:
    handle, seen = streams(first, Stream(event(SECOND)))

    lists = call(handle, follow, take=2)

    assert [one.request_id for one in lists] == [FIRST, SECOND]
    assert seen == [None, str(FIRST)]


def test_a_client_may_begin_after_a_list_that_it_has(call: Caller) -> None:
    handle, seen = streams(Stream(event(SECOND)))

    call(handle, lambda client: client.follow("C1", last_event_id=FIRST))

    assert seen == [str(FIRST)]


def test_a_gateway_that_stays_away_ends_the_stream(call: Caller) -> None:
    handle, seen = streams(httpx.ConnectError("connection refused"))

    with pytest.raises(ConnectionFailed, match="connection refused"):
        call(handle, follow)
    assert len(seen) == FAST.stream_attempts


def test_a_restart_of_the_gateway_does_not_end_the_stream(call: Caller) -> None:
    away = httpx.ConnectError("connection refused")
    handle, seen = streams(Stream(event(FIRST)), away, 503, 502, Stream(event(SECOND)), away, 503, Stream(event(FIRST)))

    lists = call(handle, follow, take=3, limits=replace(FAST, stream_attempts=5))
    assert len(lists) == 3
    assert len(seen) == 8


@pytest.mark.parametrize(("status", "error"), [(404, NotFound), (302, Redirected), (503, Unavailable)])
def test_an_answer_that_is_no_stream_is_the_error_that_it_stands_for(
    call: Caller, status: int, error: type[FarTransError]
) -> None:
    handle, _ = streams(status)

    with pytest.raises(error):
        call(handle, follow)


def test_another_content_type_is_no_stream(call: Caller) -> None:
    with pytest.raises(UnexpectedContent, match="application/json"):
        call(lambda _: httpx.Response(200, json={}), follow)


def test_a_compressed_stream_is_never_unpacked(call: Caller) -> None:
    headers = {**STREAM, "Content-Encoding": "gzip"}

    with pytest.raises(UnexpectedContent, match="gzip"):
        call(lambda _: httpx.Response(200, headers=headers, stream=Stream(b"\x1f\x8b")), follow)


@pytest.mark.parametrize(
    ("body", "error"),
    [
        (b"event: list\ndata: {\n\n", NotJson),
        (b"event: list\ndata: {}\n\n", UnexpectedShape),
        (b"event: list\ndata: \xff\n\n", NotJson),
    ],
)
def test_an_event_that_is_no_list_is_an_error(call: Caller, body: bytes, error: type[FarTransError]) -> None:
    handle, _ = streams(Stream(body))

    with pytest.raises(error):
        call(handle, follow)


def test_events_of_other_names_are_left_out(call: Caller) -> None:
    handle, _ = streams(Stream(b"event: news\ndata: hello\n\ndata: nameless\n\n", event(FIRST)))

    assert [one.request_id for one in call(handle, follow)] == [FIRST]


@pytest.mark.parametrize(
    "chunk", [b"data: " + b"x" * 600, b"x" * 600, b"data: x\n" * 90, b"id: " + b"x" * 600 + b"\n", b"event: x\n"]
)
def test_an_event_without_end_is_bounded(call: Caller, chunk: bytes) -> None:
    handle, _ = streams(Stream(*[chunk] * 200, event(FIRST)))

    if chunk == b"event: x\n":  # the last name counts, so nothing grows
        handle, _ = streams(Stream(*[chunk] * 200, b"\n", event(FIRST)))
        assert call(handle, follow, limits=replace(FAST, most_event_bytes=500))
        return
    with pytest.raises(AnswerTooLarge):
        call(handle, follow, limits=replace(FAST, most_event_bytes=500))


def parse(*chunks: bytes, most_bytes: int = 10_000) -> list[dict[str, str]]:
    parser = EventParser(most_bytes)
    return [one for chunk in chunks for one in parser.feed(chunk)]


@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
@given(data=st.data())
def test_any_cut_of_the_bytes_gives_the_same_events(end: str, data: st.DataObject) -> None:
    lines = [
        ": comment",
        "event: list",
        "id: 7",
        "data: é",
        "data:  two",
        "retry: 3000",
        "",
        "data",
        "",
        "id: 8",
        "",
        "x",
        "",
    ]
    whole = (end.join(lines) + end).encode()
    cuts = sorted(data.draw(st.sets(st.integers(0, len(whole)), max_size=8)))
    chunks = [whole[a:b] for a, b in zip([0, *cuts], [*cuts, len(whole)], strict=True)]

    # A CR at the very end may be the first half of a CR LF; the line is complete all the same.
    assert parse(*chunks) == [{"event": "list", "id": "7", "data": "é\n two"}, {"data": ""}]


@pytest.mark.parametrize(("text", "seconds"), [("3000", 3.0), ("x", None), ("-1", None), ("", None), ("٣", None)])
def test_a_server_may_say_how_long_to_wait_before_the_next_connection(text: str, seconds: float | None) -> None:
    parser = EventParser(10_000)
    parser.feed(f"retry: {text}\n\n".encode())

    assert parser.retry_seconds == seconds


def test_a_server_cannot_make_the_client_wait_longer_than_its_limit(call: Caller) -> None:
    handle, seen = streams(Stream(b"retry: 999999999\n\n"), Stream(event(FIRST)))

    assert call(handle, follow)
    assert len(seen) == 2
