"""Every kind of answer that is not one of the API is an error with a name, for both clients."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from typing import Any

import httpx
import pytest

from far_trans_client import (
    AnswerTooLarge,
    ApiError,
    CallTimedOut,
    Conflict,
    ConnectionFailed,
    FarTransError,
    InvalidArgument,
    InvalidRequest,
    NotFound,
    NotJson,
    Redirected,
    RequestedWeights,
    Unavailable,
    UnexpectedContent,
    UnexpectedShape,
    UnexpectedStatus,
)
from tests.unit.client.conftest import FAST, Caller

JSON = {"Content-Type": "application/json"}
ITEM = {"isin": "GRS434003000", "assetcategory": "Stock"}
PAGE = {"status": "ok", "total": 1, "assets": [ITEM]}


class Endless(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that never ends; `sent` says how much of it was read."""

    def __init__(self, *, most: int = 10_000) -> None:
        self.sent, self._most = 0, most

    def __iter__(self) -> Iterator[bytes]:
        while self.sent < self._most:
            self.sent += 1
            yield b" " * 1024
        raise AssertionError("the client reads without end")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


class Broken(httpx.SyncByteStream, httpx.AsyncByteStream):
    """A body that ends in the middle."""

    def __iter__(self) -> Iterator[bytes]:
        yield b'{"status": "ok", "tot'
        raise httpx.RemoteProtocolError("peer closed connection without sending complete message body")

    async def __aiter__(self) -> AsyncIterator[bytes]:
        for chunk in self:
            yield chunk


@pytest.mark.parametrize(
    "content",
    [b"", b"<html>", b'{"total": 1', b"\xff\xfe", b"NaN", b'{"total": Infinity}', b"[" * 100_000, b"9" * 5000],
)
def test_an_answer_that_is_no_json(call: Caller, content: bytes) -> None:
    with pytest.raises(NotJson, match="GET /assets"):
        call(lambda _: httpx.Response(200, headers=JSON, content=content), lambda client: client.assets_page())


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (None, "body is None"),
        ([], "body is"),
        ({"total": 1}, "body.assets is missing"),
        ({"total": "1", "assets": []}, "body.total is '1'"),
        ({"total": True, "assets": []}, "body.total is True"),
        ({"total": 1.5, "assets": []}, "body.total is 1.5"),
        ({"total": 1, "assets": {}}, "body.assets is {}"),
        ({"total": 1, "assets": [7]}, r"body.assets\[0\] is 7"),
        (PAGE, r"body.assets\[0\].assetname is missing"),
    ],
)
def test_json_of_another_shape_names_the_field(call: Caller, body: Any, path: str) -> None:
    with pytest.raises(UnexpectedShape, match=path):
        call(lambda _: httpx.Response(200, headers=JSON, content=json.dumps(body)), lambda client: client.assets_page())


def test_a_number_beyond_a_float_is_another_shape(call: Caller) -> None:
    body = {"total": 1, "assets": [{**ITEM, "assetname": "PPC", "current_price": 10**400}]}

    with pytest.raises(UnexpectedShape, match="current_price"):
        call(lambda _: httpx.Response(200, json=body), lambda client: client.assets_page())


def test_what_may_be_none_may_be_left_out_by_a_gateway_of_another_version(call: Caller) -> None:
    body = {"total": 1, "assets": [{**ITEM, "assetname": "PPC", "new": 1}], "new": {}}

    page = call(lambda _: httpx.Response(200, json=body), lambda client: client.assets_page())

    assert (page.assets[0].assetname, page.assets[0].current_price) == ("PPC", None)


@pytest.mark.parametrize("request_id", [None, "", "not-a-uuid", "1" * 1000])
def test_an_acknowledgement_without_an_id_is_another_shape(call: Caller, request_id: str | None) -> None:
    headers = {} if request_id is None else {"X-Request-ID": request_id}

    with pytest.raises(UnexpectedShape, match="X-Request-ID"):
        call(
            lambda _: httpx.Response(200, json={"status": "ok"}, headers=headers),
            lambda client: client.record_interaction("C1", "I1"),
        )


@pytest.mark.parametrize("content_type", ["text/html", "", "application/jsonp", "text/plain; application/json"])
def test_another_content_type(call: Caller, content_type: str) -> None:
    headers = {"Content-Type": content_type}

    with pytest.raises(UnexpectedContent, match="content type"):
        call(lambda _: httpx.Response(200, headers=headers, content=b"{}"), lambda client: client.models())


def test_a_compressed_answer_is_never_unpacked(call: Caller) -> None:
    bomb = gzip.compress(b"0" * 10_000_000)

    with pytest.raises(UnexpectedContent, match="gzip"):
        call(
            lambda _: httpx.Response(200, headers={**JSON, "Content-Encoding": "gzip"}, stream=httpx.ByteStream(bomb)),
            lambda client: client.models(),
        )


def test_an_answer_over_the_limit_is_not_read_to_its_end(call: Caller) -> None:
    body = Endless()

    with pytest.raises(AnswerTooLarge):
        call(
            lambda _: httpx.Response(200, headers=JSON, stream=body),
            lambda client: client.models(),
            limits=replace(FAST, most_answer_bytes=64 * 1024),
        )
    assert body.sent <= 65


def test_an_announced_length_over_the_limit_is_refused_before_anything_is_read(call: Caller) -> None:
    body = Endless()

    with pytest.raises(AnswerTooLarge, match="999999999999"):
        call(
            lambda _: httpx.Response(200, headers={**JSON, "Content-Length": "999999999999"}, stream=body),
            lambda client: client.models(),
        )
    assert body.sent == 0


def test_an_error_without_end_is_bounded_too(call: Caller) -> None:
    with pytest.raises(AnswerTooLarge):
        call(
            lambda _: httpx.Response(500, stream=Endless()),
            lambda client: client.models(),
            limits=replace(FAST, most_answer_bytes=4096),
        )


def test_an_answer_that_does_not_end_in_time(call: Caller) -> None:
    with pytest.raises(CallTimedOut):
        call(
            lambda _: httpx.Response(200, headers=JSON, stream=Endless()),
            lambda client: client.models(),
            limits=replace(FAST, attempt_timeout_seconds=-1.0, attempts=1),
        )


def test_a_body_that_breaks_off(call: Caller) -> None:
    with pytest.raises(ConnectionFailed, match="complete message body"):
        call(lambda _: httpx.Response(200, headers=JSON, stream=Broken()), lambda client: client.models())


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_no_redirect_is_followed(call: Caller, status: int) -> None:
    seen = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request.url.host)
        return httpx.Response(status, headers={"Location": "http://elsewhere.example/"})

    with pytest.raises(Redirected, match=r"elsewhere\.example"):
        call(handle, lambda client: client.record_interaction("C1", "I1"))
    assert seen == ["127.0.0.1"]


@pytest.mark.parametrize("status", [201, 202, 204, 206])
def test_a_success_that_the_api_does_not_have(call: Caller, status: int) -> None:
    with pytest.raises(UnexpectedStatus, match=str(status)):
        call(lambda _: httpx.Response(status, json={"status": "ok"}), lambda client: client.models())


@pytest.mark.parametrize(
    ("status", "kind"),
    [(400, ApiError), (404, NotFound), (409, Conflict), (418, ApiError), (422, InvalidRequest), (503, Unavailable)],
)
@pytest.mark.parametrize("body", ["<html>", "[]", '{"detail": null, "errors": [1]}', "null", "", "\x00"])
def test_an_error_of_another_server_keeps_status_and_text(
    call: Caller, status: int, kind: type[ApiError], body: str
) -> None:
    with pytest.raises(kind) as caught:
        call(lambda _: httpx.Response(status, text=body), lambda client: client.models())
    assert type(caught.value) is kind
    assert caught.value.status == status
    assert body in str(caught.value)


def test_a_problem_keeps_all_that_it_says(call: Caller) -> None:
    problem = {
        "type": "urn:far-trans-recommender:problem:unavailable",
        "title": "Try again later",
        "status": 200,  # the status of the answer counts
        "detail": "no acknowledgement",
        "errors": [{"field": "weights.content", "message": "too large"}],
        "outcome": "unknown",
        "more": 1,
    }
    headers = {"Content-Type": "application/problem+json", "Retry-After": "2"}

    with pytest.raises(Unavailable) as caught:
        call(
            lambda _: httpx.Response(503, headers=headers, content=json.dumps(problem)),
            lambda client: client.record_interaction("C1", "I1"),
        )
    error = caught.value
    assert (error.status, error.title, error.detail) == (503, "Try again later", "no acknowledgement")
    assert [(fault.field, fault.message) for fault in error.errors] == [("weights.content", "too large")]
    assert (error.outcome, error.retry_after_seconds) == ("unknown", 2.0)
    assert str(error) == "POST /user_interactions: 503 weights.content: too large"


@pytest.mark.parametrize(
    "use",
    [
        lambda client: client.recommendations(""),
        lambda client: client.recommendations(".."),
        lambda client: client.recommendations("\ud800"),
        lambda client: client.recommendations("C\r\nHost: elsewhere"),
        lambda client: client.assets_page(sector="\ud800"),
        lambda client: client.request_recommendations("C1", weights=RequestedWeights(content=float("nan"))),
        lambda client: client.record_interaction("C1", "I1", idempotency_key=""),
        lambda client: client.record_interaction("C1", "I1", idempotency_key="a b"),
        lambda client: client.record_interaction("C1", "I1", idempotency_key="k" * 201),
        lambda client: client.record_interaction("C1", object()),
    ],
)
def test_what_cannot_be_sent_reaches_no_other_address(call: Caller, use: Any) -> None:
    """It is refused, or quoted so that it stays one segment of the path."""
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append((request.url.host, request.url.raw_path))
        return httpx.Response(404, json={})

    with pytest.raises((InvalidArgument, NotFound)):
        call(handle, use)
    assert paths in ([], [("127.0.0.1", b"/recommendations/C%0D%0AHost%3A%20elsewhere")])


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "http://[", "ftp://host", "http://", "http://h/?q=1", "//host"])
def test_what_is_no_address_of_a_gateway(call: Caller, url: str) -> None:
    with pytest.raises(InvalidArgument):
        call(lambda _: httpx.Response(200), lambda client: client.models(), url=url)


def test_a_path_of_the_address_comes_before_that_of_the_call(call: Caller) -> None:
    paths = []

    def handle(request: httpx.Request) -> httpx.Response:
        paths.append(request.url.raw_path)
        return httpx.Response(200, json={"active": None, "models": []})

    call(handle, lambda client: client.models(limit=3), url="http://127.0.0.1:1/v1/")
    assert paths == [b"/v1/models?limit=3"]


def test_a_password_of_the_address_is_in_no_message(call: Caller) -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with pytest.raises(ConnectionFailed, match=r"GET http://127\.0\.0\.1:1/v1/models: connection"):
        call(handle, lambda client: client.models(), url="http://name:secret@127.0.0.1:1/v1")


def test_every_error_has_one_ancestor() -> None:
    import far_trans_client

    errors = [one for one in vars(far_trans_client).values() if isinstance(one, type) and issubclass(one, Exception)]
    assert len(errors) > 15
    assert all(issubclass(error, FarTransError) for error in errors)
