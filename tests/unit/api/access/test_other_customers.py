"""A caller of one customer learns nothing about another one: 1,000 attempts, 0 leaks."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from api.access.control import AccessControl
from api.access.principals import Principal, Scope
from api.ports import ListRow, RequestRow
from api.request_ids import RequestIds
from api.schemas.interactions import WatchedAsset
from tests.access import KEY_OF_REQUEST_IDS, KnownCallers, bearer, caller, guarded_client
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakePublisher, FakeReader, build_asset

pytestmark = pytest.mark.security

OWN, OTHERS, UNKNOWN = "OWN", [f"SECRET{number}" for number in range(20)], "NOBODY"
MARKER = "MARKERVALUE"
ATTEMPTS = 1000
IDS = RequestIds(KEY_OF_REQUEST_IDS)
ISSUED = {name: IDS.issue(uuid4(), customer_id=name, repeatable=False) for name in [OWN, *OTHERS, UNKNOWN]}
QUEUED = {name: IDS.issue(uuid4(), customer_id=name, repeatable=False) for name in [OWN, *OTHERS, UNKNOWN]}


@pytest.fixture
def reader() -> FakeReader:
    """A database in which every customer but `UNKNOWN` has a list, a watchlist and requests."""
    now = datetime(2026, 1, 2, tzinfo=UTC)
    known = [OWN, *OTHERS]
    return FakeReader(
        customers=set(known),
        assets=[build_asset("GRS434003000", "PPC", "Stock", None, "Technology", None, 3.76, 0.16)],
        lists={name: ListRow(ISSUED[name], MARKER, "history", "[]") for name in known},
        watchlists={name: [WatchedAsset(isin="GRS434003000", added_at=now, **watched())] for name in known},
        requests={ISSUED[name]: RequestRow(now, now, customer_id=name) for name in known},
        answered={(name, ISSUED[name]) for name in known},
    )


def watched() -> dict[str, Any]:
    names = set(WatchedAsset.model_fields) - {"isin", "added_at"}
    return {name: MARKER if name.startswith("asset") else None for name in names}


@pytest.fixture
def client(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    callers = {"own": caller(*Scope, customer_id=OWN), "bank": caller(*Scope)}
    with guarded_client(publisher, reader, AccessControl(KnownCallers(callers), rate_limit=None)) as client:
        yield client


def interaction(customer_id: str) -> dict[str, Any]:
    return {"customer_id": customer_id, "isin": "GRS434003000", "type": "click"}


def order(customer_id: str) -> dict[str, Any]:
    content = {"type": "Buy", "units": 1.0, "total_value": 2.0, "executed_at": "2026-01-02T03:04:05Z"}
    return {"customer_id": customer_id, "isin": "GRS434003000", "transaction_id": "1", **content}


def request(customer_id: str) -> dict[str, Any]:
    return {"customer_id": customer_id, "action": "request_recs"}


# Method, path and body for a customer; `{id}` is the customer, `{answered}` and `{queued}` ids of requests of it.
ATTACKS: list[tuple[str, str, Any]] = [
    ("GET", "/recommendations/{id}", None),
    ("HEAD", "/recommendations/{id}", None),
    ("GET", "/recommendations/{id}?x=1", None),
    ("GET", "/v1/recommendations/{id}", None),
    ("GET", "/recommendations/{id}?wait=1", None),
    ("GET", "/recommendations/{id}?request_id={answered}&wait=1", None),
    ("GET", "/recommendations/OWN?request_id={answered}", None),
    ("GET", "/recommendations/OWN?request_id={queued}&wait=0.1", None),
    ("GET", "/recommendations/{id}/events", None),
    ("GET", "/requests/{answered}", None),
    ("GET", "/requests/{queued}", None),
    ("GET", "/customers/{id}/watchlist", None),
    ("GET", "/watchlist/{id}", None),
    ("POST", "/watchlist/{id}", lambda _: {"isin": "GRS434003000"}),
    ("POST", "/watchlist/{id}/GRS434003000", None),
    ("DELETE", "/watchlist/{id}/GRS434003000", None),
    ("POST", "/recommendations", request),
    ("POST", "/v1/recommendations", request),
    ("POST", "/user_interactions", interaction),
    ("POST", "/transactions", order),
    ("POST", "/recommendations:batch", lambda name: {"requests": [request(name)]}),
]
FORMS: list[dict[str, str]] = [
    {},
    {"Content-Type": "application/json; charset=utf-8"},
    {"Idempotency-Key": "one-key"},
    {"X-Requested-With": "test", "If-None-Match": "*"},
    {"X-Customer-Id": "{id}", "X-Forwarded-User": "{id}"},
]


def attack(client: AsgiClient, place: int, form: dict[str, str], name: str, credentials: str = "own") -> httpx.Response:
    method, path, body = ATTACKS[place]
    given = {"id": name, "answered": str(ISSUED[name]), "queued": str(QUEUED[name])}
    headers = {"X-Requested-With": "t", **{key: value.format(**given) for key, value in form.items()}}
    sent = {} if body is None else {"json": body(name)}
    return client.request(method, path.format(**given), headers={**headers, **bearer(credentials)}, **sent)


def seen(answer: httpx.Response) -> Any:
    """What a caller can compare, without the ids that the answer repeats."""
    body = answer.json() if answer.content else None
    if isinstance(body, dict) and "results" in body:
        [result] = body["results"]
        assert result["problem"]["status"] == 404
        return {**result, "customer_id": None}
    return answer.status_code, body, sorted(answer.headers.items())


def test_a_thousand_attempts_on_other_customers_leak_nothing_and_write_nothing(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader
) -> None:
    draw, leaks = random.Random(51), 0
    for number in range(ATTEMPTS):
        place, name = number % len(ATTACKS), draw.choice(OTHERS)
        form = draw.choice(FORMS)
        answer = attack(client, place, form, name)
        is_batch = ATTACKS[place][1].endswith(":batch")
        is_refused = answer.status_code == (200 if is_batch else 404)
        is_same = seen(answer) == seen(attack(client, place, form, UNKNOWN))
        leaks += not is_refused or not is_same or MARKER in answer.text or name in str(answer.headers)
    assert leaks == 0
    assert publisher.published == []
    assert {question.customer_id for asked in reader.asked for question in asked} <= {OWN}
    assert not {"fetch_lists", "fetch_watchlist", "fetch_current_facts"} & set(reader.calls), "nothing of them is read"


def test_the_same_calls_work_for_the_own_customer_and_for_the_bank(client: AsgiClient) -> None:
    for place, (method, path, _) in enumerate(ATTACKS):
        if path.endswith("/events"):
            continue
        assert attack(client, place, {}, OWN).status_code in (200, 202), (method, path)
        name = OTHERS[0] if "OWN" not in path else OWN
        assert attack(client, place, {}, name, "bank").status_code in (200, 202), (method, path)


def test_a_batch_serves_the_own_customer_beside_a_refused_one(client: AsgiClient, publisher: FakePublisher) -> None:
    body = {"requests": [request(OTHERS[0]), request(OWN)]}

    results = client.post("/recommendations:batch", json=body, headers=bearer("own")).json()["results"]

    assert [one["status"] for one in results] == ["error", "ok"]
    assert [one.key for one in publisher.published] == [OWN]


@pytest.mark.parametrize("path", ["/models", "/models/v1/frontier", "/models/retrain", "/retrain"])
def test_a_caller_of_one_customer_cannot_administer(client: AsgiClient, path: str) -> None:
    method = "POST" if path.endswith("retrain") else "GET"
    answer = client.request(method, path, headers={**bearer("own"), "X-Requested-With": "t"})
    assert answer.status_code == 403


def test_a_stream_ends_when_the_key_does(client: AsgiClient, reader: FakeReader) -> None:
    valid = [True]
    principal = Principal("k", frozenset({Scope.RECOMMENDATIONS_READ}), OWN, holds=lambda: valid[0])
    client.app.state.gateway.access = AccessControl(KnownCallers({"own": principal}), rate_limit=None)

    async def call() -> None:
        stream = StreamedGet(client.app, f"/recommendations/{OWN}/events", headers={"authorization": "Bearer own"})
        assert (await stream.event())["id"] == str(ISSUED[OWN])
        valid[0] = False
        reader.lists[OWN] = ListRow(UUID(int=7), MARKER, "history", "[]")
        reader.notify([OWN])
        await asyncio.wait_for(stream.ended(), 60)
        assert stream.chunks.empty()

    client.run(call)
