"""The plain form of the three calls is answered as the routes answer it, without the routes."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any
from uuid import uuid4

import httpx
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from api.app import create_app
from api.direct_calls import DirectCalls
from api.gateway import Gateway
from api.ports import ListRow
from api.routes import interactions, lists
from shared.events import decode, encode
from shared.served_list import RecommendationItem
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down

PLAIN = {"Content-Type": "application/json"}
# The routes take both types alike; only the first is plain.
ROUTED = {"Content-Type": "application/json; charset=utf-8"}
POSTS = {
    "/recommendations": {"customer_id": "C1", "action": "request_recs"},
    "/user_interactions": {"customer_id": "C1", "isin": "GRS434003000", "type": "click"},
}

_texts = st.sampled_from(
    ["C1", "a:b", "", "x" * 65, "C1\n", "\x00", "GRS434003000", "request_recs", "click", "::", "é"]
)
_values = st.recursive(
    st.one_of(_texts, st.none(), st.booleans(), st.integers(-2, 60), st.sampled_from([0.5, 1e400, 10**400])),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(_texts, inner, max_size=2),
    max_leaves=4,
)
_names = ["customer_id", "action", "isin", "type", "weights", "preset", "k", "categories", "exclude", "limits", "save"]
_more = st.dictionaries(st.sampled_from([*_names, "rank", "request_id", "weight", "unknown"]), _values, max_size=2)
_raw = st.sampled_from(
    [
        b"",
        b"null",
        b"[]",
        b"{",
        b'{"customer_id":"C1","customer_id":"C1","action":"request_recs"}',
        b'{"customer_id":"C1","action":"request_recs","action":"refresh_recs"}',
        b'{"customer_id":"C1","action":"request_recs","weights":{"content":1,"content":2}}',
        b'{"customer_id":"C1","action":"request_recs","k":NaN}',
        b'{"customer_id":"\\ud800","action":"request_recs"}',
        b'{"customer_id":"\xff","action":"request_recs"}',
        b'{"customer\\u005fid":"C1","action":"request_recs"}',
        b' { "customer_id" : "C1" , "action" : "request_recs" } ',
    ]
)


def outcome(client: AsgiClient, publisher: FakePublisher, path: str, content: bytes, headers: Mapping[str, str]) -> Any:
    """What the client sees and what is published, without the ids and times that differ each time."""
    publisher.published.clear()
    answer = client.post(path, content=content, headers=dict(headers))
    events = [
        (one.topic, one.key, one.event.model_dump(exclude={"event_id", "occurred_at"})) for one in publisher.published
    ]
    return answer.status_code, answer.content, sorted(set(answer.headers) - {"date"}), events


@settings(max_examples=150, suppress_health_check=[HealthCheck.function_scoped_fixture], deadline=None)
@given(path=st.sampled_from(sorted(POSTS)), more=_more, raw=st.none() | _raw)
def test_a_plain_post_is_answered_and_published_as_the_routes_do_it(
    client: AsgiClient, publisher: FakePublisher, path: str, more: dict[str, Any], raw: bytes | None
) -> None:
    content = json.dumps({**POSTS[path], **more}).encode() if raw is None else raw

    assert outcome(client, publisher, path, content, PLAIN) == outcome(client, publisher, path, content, ROUTED)
    for one in publisher.published:
        assert decode(one.topic, encode(one.event)) == one.event, "the worker accepts what is published, and reads it"


@pytest.mark.parametrize("path", sorted(POSTS))
def test_a_broker_that_does_not_answer_gives_the_problem_of_the_routes(
    client: AsgiClient, publisher: FakePublisher, path: str
) -> None:
    publisher.failure = broker_down()
    plain, routed = (client.post(path, json=POSTS[path], headers=headers) for headers in (PLAIN, ROUTED))

    assert plain.status_code == routed.status_code == 503
    assert plain.json() == routed.json()
    assert "X-Request-ID" in plain.headers
    assert "Retry-After" in plain.headers


@pytest.mark.parametrize("customer_id", ["C1", "unknown", "C1%0A", "..", "a:b", "%00", "x" * 65])
@pytest.mark.parametrize("unavailable", [False, True])
def test_a_plain_get_is_answered_as_the_routes_do_it(
    client: AsgiClient, reader: FakeReader, customer_id: str, unavailable: bool
) -> None:
    reader.lists["C1"] = ListRow(uuid4(), "v1", "model", "[]")
    reader.unavailable = unavailable
    # An unknown parameter has always been ignored here; with it the request is not plain.
    plain, routed = (client.get(f"/recommendations/{customer_id}{query}") for query in ("", "?x=1"))

    assert (plain.status_code, plain.content) == (routed.status_code, routed.content)
    assert dict(plain.headers) == dict(routed.headers)


async def _no_routes(*_: Any) -> None:
    raise AssertionError("the routes were asked")


@pytest.mark.parametrize("path", sorted(POSTS))
def test_a_plain_post_does_not_ask_the_routes(reader: FakeReader, publisher: FakePublisher, path: str) -> None:
    answer = _call_without_routes(reader, publisher, "POST", path, json=POSTS[path])

    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_a_plain_get_does_not_ask_the_routes(reader: FakeReader, publisher: FakePublisher) -> None:
    answer = _call_without_routes(reader, publisher, "GET", "/recommendations/C1")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "recommendations": []})


@pytest.mark.parametrize("headers", [PLAIN, ROUTED])
def test_both_ways_are_counted_under_the_template_of_the_route(client: AsgiClient, headers: dict[str, str]) -> None:
    client.post("/recommendations", json=POSTS["/recommendations"], headers=headers)
    client.get("/recommendations/C1" if headers is PLAIN else "/recommendations/C1?x=1")

    registry = client.app.state.gateway.metrics.registry
    for method, route in (("POST", "/recommendations"), ("GET", "/recommendations/{customer_id}")):
        labels = {"method": method, "route": route, "status": "200"}
        assert registry.get_sample_value("recommender_gateway_http_requests_total", labels) == 1.0


def test_a_body_that_is_longer_than_announced_is_refused_as_by_the_routes(client: AsgiClient) -> None:
    async def chunks() -> Any:
        for _ in range(3):
            yield b" " * 40_000

    async def post() -> httpx.Response:
        headers = {**PLAIN, "Content-Length": "10"}
        return await client.http.post("/recommendations", content=chunks(), headers=headers)

    assert client.run(post).status_code == 413


def _call_without_routes(
    reader: FakeReader, publisher: FakePublisher, method: str, path: str, **arguments: Any
) -> httpx.Response:
    gateway = Gateway(publisher, reader)
    routes = [*lists.router.routes, *interactions.router.routes]
    with AsgiClient(create_app(gateway)) as client:
        transport = httpx.ASGITransport(DirectCalls(_no_routes, gateway=gateway, routes=routes))

        async def call() -> httpx.Response:
            async with httpx.AsyncClient(transport=transport, base_url="http://127.0.0.1") as http:
                return await http.request(method, path, **arguments)

        return client.run(call)


_COMPONENTS = {"profitability": 0.2, "content": None, "collaborative": 1, "unknown": 5}
_ITEM = {
    "rank": 1,
    "isin": "GRS434003000",
    "score": 1,
    "sector": None,
    "industry": "\u00e9\u2028",
    "assetname": 'P"C',
    "assetcategory": "Stock",
    "current_price": 1e-7,
    "profitability": 12345678.123456789,
    "recommendation_date": "2025-11-30T22:00:00",
    "components": _COMPONENTS,
}
_NEWER = {"price_date": "2022-11-29", "currency": None, "trailing_return_12m": -0.0, "unknown": [1]}


@pytest.mark.parametrize("items", [[], [_ITEM], [{**_NEWER, **_ITEM}], [_ITEM, {**_ITEM, **_NEWER}]])
@pytest.mark.parametrize("number", ["0.5", "1e400", "3"])
def test_a_stored_list_is_answered_as_its_model_writes_it(
    client: AsgiClient, reader: FakeReader, items: list[dict[str, Any]], number: str
) -> None:
    stored = json.dumps(items).replace("1e-07", number)
    reader.lists["C1"] = ListRow(uuid4(), "v1", "model", stored)
    model = TypeAdapter(list[RecommendationItem])
    expected = model.dump_json(model.validate_json(stored), exclude_unset=True)

    assert client.get("/recommendations/C1").content == b'{"status":"ok","recommendations":%b}' % expected
