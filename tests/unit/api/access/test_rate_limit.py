"""A caller over its limit gets 429; others do not notice."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import suppress

import pytest
from starlette.exceptions import HTTPException

from api.access.control import AccessControl, RateLimit
from api.access.principals import Scope
from tests.access import KnownCallers, bearer, caller, guarded_client
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader

CALLERS = {name: caller(*Scope, name=name) for name in ("one", "other")}


@pytest.fixture
def client(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    access = AccessControl(KnownCallers(CALLERS), rate_limit="5/hour")
    with guarded_client(publisher, reader, access) as client:
        yield client


def test_a_caller_over_the_limit_is_told_when_to_come_back_and_others_are_served(client: AsgiClient) -> None:
    statuses = [client.get("/recommendations/C1", headers=bearer("one")).status_code for _ in range(7)]
    assert statuses == [200] * 5 + [429] * 2

    answer = client.get("/assets", headers=bearer("one"))
    assert answer.status_code == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 7200
    assert answer.json()["detail"] == "The limit is 5 per 1 hour."
    assert client.get("/recommendations/C1", headers=bearer("other")).status_code == 200


@pytest.mark.parametrize(("body", "status"), [({"action": "request_recs"}, 422), (None, 200)])
def test_a_request_that_the_fast_path_leaves_to_the_route_counts_once(
    client: AsgiClient, body: object, status: int
) -> None:
    sent = body or {"customer_id": "A:1", "action": "request_recs"}  # a colon in a text: not parsed by the fast path

    answers = [client.post("/recommendations", json=sent, headers=bearer("one")).status_code for _ in range(6)]

    assert answers == [status] * 5 + [429]


def test_probes_are_not_counted(client: AsgiClient) -> None:
    assert {client.get("/health/live", headers=bearer("one")).status_code for _ in range(10)} == {200}


def batch(client: AsgiClient, name: str, size: int) -> int:
    body = {"requests": [{"customer_id": "C1", "action": "request_recs"}] * size}
    return client.post("/recommendations:batch", json=body, headers=bearer(name)).status_code


def test_a_batch_counts_as_its_requests_at_most_as_the_whole_limit(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    assert [batch(client, "one", 3), batch(client, "one", 3)] == [200, 429]
    assert len(publisher.published) == 3, "a batch over the limit publishes nothing"
    assert [batch(client, "other", 100), batch(client, "other", 1)] == [200, 429]


def test_callers_of_earlier_windows_are_forgotten() -> None:
    limit = RateLimit("1/second")
    for number in range(1000):
        limit.count(caller(name=f"caller {number}"))

    deadline = time.monotonic() + 60
    while limit.remembered() > 10:
        assert time.monotonic() < deadline
        with suppress(HTTPException):
            limit.count(caller(name="later"))
