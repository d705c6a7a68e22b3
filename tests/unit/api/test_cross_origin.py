"""CORS: what the pages of an allowed origin may send, and read of every answer."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator

import pytest

from api.app import create_app
from api.gateway import Gateway
from api.middleware import BODY_LIMIT_BYTES, Admission
from api.openapi import LIST_HEADERS
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down
from tests.unit.api.test_recommendations import ITEM, stored_list

APP = "https://app.example"
FOREIGN = ["https://evil.example", "null", "https://app.example.evil.example", "http://app.example", f"{APP}:8443", ""]
REQUEST = {"customer_id": "C1", "action": "request_recs"}
CALLS = [
    ("GET", "/recommendations/C1"),
    ("HEAD", "/recommendations/C1"),
    ("GET", "/v1/recommendations/C1"),
    ("GET", "/assets"),
    ("GET", "/models"),
    ("POST", "/recommendations"),
    ("DELETE", "/models/retrain"),
    ("GET", "/health/live"),
]


@pytest.fixture
def browser(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    """A client of a gateway that allows the pages of APP."""
    admission = Admission(allowed_origins=frozenset({APP}))
    with AsgiClient(create_app(Gateway(publisher, reader), admission=admission)) as client:
        yield client


def preflight(client: AsgiClient, method: str, *, origin: str = APP, headers: str = "content-type") -> tuple[int, str]:
    asked = {"Origin": origin, "Access-Control-Request-Method": method, "Access-Control-Request-Headers": headers}
    answer = client.request("OPTIONS", "/recommendations", headers=asked)
    return answer.status_code, answer.headers.get("access-control-allow-origin", "")


@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_page_of_an_allowed_origin_reads_the_answer_and_its_headers(
    browser: AsgiClient, method: str, path: str
) -> None:
    assert preflight(browser, method) == (200, APP)
    body = REQUEST if method == "POST" else None
    answer = browser.request(method, path, json=body, headers={"Origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, APP)
    exposed = set(answer.headers["access-control-expose-headers"].split(", "))
    assert exposed == {*LIST_HEADERS, "X-Request-ID", "Retry-After", "ETag"}
    assert "Origin" in answer.headers["vary"].split(", ")
    assert "access-control-allow-credentials" not in answer.headers


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize(("method", "path"), CALLS)
def test_a_page_of_another_origin_is_403_and_reads_nothing(
    browser: AsgiClient, publisher: FakePublisher, method: str, path: str, origin: str
) -> None:
    assert preflight(browser, method, origin=origin) == (403, "")
    body = REQUEST if method == "POST" else None
    answer = browser.request(method, path, json=body, headers={"Origin": origin})
    assert answer.status_code == 403
    assert "access-control-allow-origin" not in answer.headers
    assert publisher.published == []


@pytest.mark.parametrize(
    "header", ["content-type", "idempotency-key", "x-requested-with", "if-none-match", "last-event-id"]
)
def test_a_page_may_send_each_header_that_the_gateway_reads(browser: AsgiClient, header: str) -> None:
    assert preflight(browser, "POST", headers=header) == (200, APP)
    assert preflight(browser, "POST", headers="x-other")[0] == 400


def test_a_page_can_read_each_problem(browser: AsgiClient, publisher: FakePublisher, reader: FakeReader) -> None:
    ours = {"Origin": APP}
    publisher.failure = broker_down()
    answers = {
        404: browser.get("/recommendations/nobody", headers=ours),
        405: browser.post("/models", headers=ours),
        413: browser.post("/recommendations", content=b" " * (BODY_LIMIT_BYTES + 1), headers=ours),
        415: browser.post("/recommendations", content=b"{}", headers={**ours, "Content-Type": "text/plain"}),
        422: browser.post("/recommendations", json={}, headers=ours),
        503: browser.post("/recommendations", json=REQUEST, headers=ours),
    }
    publisher.failure = ZeroDivisionError("a bug")
    answers[500] = browser.post("/recommendations", json=REQUEST, headers=ours)
    for status, answer in answers.items():
        assert (answer.status_code, answer.headers.get("access-control-allow-origin")) == (status, APP)
        assert answer.headers["content-type"] == "application/problem+json"
    assert answers[503].headers["retry-after"] == "2"
    reader.unavailable = True
    assert browser.get("/models", headers=ours).headers["access-control-allow-origin"] == APP


def test_a_304_may_be_read_and_names_what_it_varies_with(browser: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(*[ITEM] * 10)
    first = browser.get("/recommendations/C1", headers={"Origin": APP})
    again = browser.get("/recommendations/C1", headers={"Origin": APP, "If-None-Match": first.headers["etag"]})
    assert (again.status_code, again.headers["access-control-allow-origin"]) == (304, APP)
    assert first.headers["vary"] == again.headers["vary"] == "Accept-Encoding, Origin"


def test_a_page_may_follow_lists(browser: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(ITEM)

    async def follow(origin: str) -> StreamedGet:
        stream = StreamedGet(browser.app, "/recommendations/C1/events", {"origin": origin})
        if origin == APP:
            await stream.event()
        stream.left.set()
        await stream.ended()
        return stream

    stream = browser.run(lambda: follow(APP))
    assert (stream.status, stream.headers["access-control-allow-origin"]) == (200, APP)
    assert browser.run(lambda: asyncio.wait_for(follow("https://evil.example"), 5)).status == 403
