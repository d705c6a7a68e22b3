"""Requests for many customers at once: one result each, and what a batch may not do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any
from uuid import UUID

import httpx
import pytest

from api.app import create_app
from api.gateway import Gateway
from api.middleware import BATCH_LIMIT_BYTES, BODY_LIMIT_BYTES
from shared.errors import PublishFailed
from shared.events import Event, RecommendationRequested
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down

KEY = {"Idempotency-Key": "order-66"}
JSON = {"content-type": "application/json"}


def request(customer_id: Any = "C1", **fields: Any) -> dict[str, Any]:
    return {"customer_id": customer_id, "action": "request_recs", **fields}


def post(client: AsgiClient, *requests: Any, **headers: str) -> httpx.Response:
    body = json.dumps({"requests": requests})
    return client.post("/recommendations:batch", content=body, headers={**JSON, **headers})


def results(client: AsgiClient, *requests: Any, headers: dict[str, str] | None = None) -> list[dict[str, Any]]:
    answer = post(client, *requests, **(headers or {}))
    assert answer.status_code == 200, answer.text
    assert answer.json()["status"] == "ok"
    found: list[dict[str, Any]] = answer.json()["results"]
    return found


def published(publisher: FakePublisher) -> list[RecommendationRequested]:
    return [one.event for one in publisher.published if isinstance(one.event, RecommendationRequested)]


class FailingFor(FakePublisher):
    """A broker that takes nothing of some customers."""

    def __init__(self, failures: dict[str, Exception]) -> None:
        super().__init__()
        self.failures = failures

    async def publish(self, topic: str, *, key: str, event: Event) -> None:
        if key in self.failures:
            raise self.failures[key]
        await super().publish(topic, key=key, event=event)


def test_each_request_is_an_event_and_a_result_in_order(client: AsgiClient, publisher: FakePublisher) -> None:
    found = results(client, request("C1", k=5), request("C2"), request("C1", save=False))
    events = published(publisher)
    assert [(one.customer_id, one.k, one.is_preview) for one in events] == [
        ("C1", 5, False),
        ("C2", None, False),
        ("C1", None, True),
    ]
    assert [one.key for one in publisher.published] == ["C1", "C2", "C1"]
    expected = [(one.customer_id, "ok", str(one.event_id)) for one in events]
    assert [(one["customer_id"], one["status"], one["request_id"]) for one in found] == expected
    assert len({one.event_id for one in events}) == 3


def test_a_request_that_is_not_valid_names_its_field_and_stops_no_other(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    wrong: list[tuple[Any, str]] = [
        (request("C1", k=0), "k"),
        (request("C1", limits={"per_sector": 0}), "limits.per_sector"),
        (request("C1", weights={"content": float("nan")}), "weights.content"),
        (request("C1", unknown=1), "unknown"),
        (request("../x"), "customer_id"),
        ({"action": "request_recs"}, "customer_id"),
        *((value, "body") for value in (None, 3, "C1", [], [[1]])),
        (request("C1", exclude=["GRS1"] * 501), "body"),
        (request("C1", **{f"f{number}": 1 for number in range(501)}), "body"),
    ]
    found = results(client, *(one for one, _ in wrong), request("C2"))
    assert [one["status"] for one in found] == ["error"] * len(wrong) + ["ok"]
    for result, (given, field) in zip(found, wrong, strict=False):
        problem = result["problem"]
        assert (problem["status"], problem["errors"][0]["field"]) == (422, field)
        assert "request_id" not in result
        is_named = isinstance(given, dict) and given.get("customer_id") == "C1"
        assert result.get("customer_id") == ("C1" if is_named else None)
    assert [one.customer_id for one in published(publisher)] == ["C2"]


@pytest.mark.parametrize(
    ("body", "field"),
    [
        ({}, "requests"),
        ({"requests": []}, "requests"),
        ({"requests": [request()] * 1001}, "requests"),
        ({"requests": request()}, "requests"),
        ({"requests": [request()], "more": 1}, "more"),
        ([request()], "body"),
    ],
)
def test_a_batch_that_is_none_is_refused_whole(
    client: AsgiClient, publisher: FakePublisher, body: Any, field: str
) -> None:
    answer = client.post("/recommendations:batch", json=body)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, field)
    assert publisher.published == []


def test_a_key_that_is_given_twice_refuses_the_batch_and_is_named(client: AsgiClient, publisher: FakePublisher) -> None:
    body = b'{"requests": [{"customer_id": "C1", "action": "request_recs", "k": 1, "k": 2}]}'
    answer = client.post("/recommendations:batch", content=body, headers=JSON)
    assert (answer.status_code, answer.json()["errors"][0]["field"]) == (422, "requests.0.k")
    assert publisher.published == []


def test_a_batch_may_be_a_mebibyte_and_nothing_else_may(client: AsgiClient, publisher: FakePublisher) -> None:
    content = json.dumps({"requests": [request(f"C{number}") for number in range(1000)]}).encode()
    assert len(content.ljust(BATCH_LIMIT_BYTES)) > BODY_LIMIT_BYTES
    largest = client.post("/recommendations:batch", content=content.ljust(BATCH_LIMIT_BYTES), headers=JSON)
    assert (largest.status_code, len(publisher.published)) == (200, 1000)
    for path, size in (("/recommendations:batch", BATCH_LIMIT_BYTES + 1), ("/recommendations", BODY_LIMIT_BYTES + 1)):
        refused = client.post(path, content=content.ljust(size)[:size], headers=JSON)
        assert refused.status_code == 413
        assert str(size - 1) in refused.json()["detail"]
    assert len(publisher.published) == 1000


def batch_with(
    publisher: FakePublisher, reader: FakeReader, *requests: Any, headers: dict[str, str] | None = None
) -> Any:

    with AsgiClient(create_app(Gateway(publisher, reader))) as client:
        return results(client, *requests, headers=headers)


def test_what_the_broker_does_not_take_says_so_and_stops_no_other(reader: FakeReader) -> None:
    failures: dict[str, Exception] = {"C1": broker_down(), "C2": PublishFailed(outcome_unknown=False)}
    first, second, third = batch_with(FailingFor(failures), reader, request("C1"), request("C2"), request("C3"))
    assert (first["status"], first["problem"]["status"], first["problem"]["outcome"]) == ("error", 503, "unknown")
    assert UUID(first["request_id"])
    assert second["problem"]["outcome"] == "not_accepted"
    assert third["status"] == "ok"


def ids(found: Sequence[dict[str, Any]]) -> list[str]:
    return [one["request_id"] for one in found]


def test_a_batch_with_a_key_has_one_effect(client: AsgiClient, publisher: FakePublisher) -> None:
    batch = [request("C1"), request("C1"), request("C2", sectors=["A", "B"])]
    first = results(client, *batch, headers=KEY)
    again = results(client, *batch[:2], request("C2", sectors=["B", "A"]), headers=KEY)
    assert ids(first) == ids(again)
    assert len(set(ids(first))) == 3
    assert len(publisher.published) == 3
    assert len({one.event_id for one in published(publisher)}) == 3


@pytest.mark.parametrize(
    "other",
    [
        [request("C1", k=3), request("C2")],
        [request("C1")],
        [request("C2"), request("C1"), request("C1")],
        [request("C1"), request("C3")],
        [request("C1"), request("C2"), request("C3")],
        [request("C1"), request("C2"), "not valid"],
    ],
)
def test_another_batch_with_the_key_is_422_and_publishes_nothing(
    client: AsgiClient, publisher: FakePublisher, other: list[Any]
) -> None:
    results(client, request("C1"), request("C2"), headers=KEY)
    if other[0]["customer_id"] != "C1":
        other = [request("C1"), *other]
    answer = post(client, *other, **KEY)
    assert answer.status_code == 422
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]
    assert len(publisher.published) == 2


def test_the_database_knows_the_key_of_a_batch_after_a_restart(publisher: FakePublisher, reader: FakeReader) -> None:
    batch = [request("C1"), request("C2")]
    first = batch_with(publisher, reader, *batch, headers=KEY)
    for event in published(publisher)[:1]:
        assert event.fingerprint is not None
        reader.effects[RecommendationRequested, event.event_id] = event.fingerprint
    again = batch_with(publisher, reader, *batch, headers=KEY)
    assert ids(again) == ids(first)
    assert [one.customer_id for one in published(publisher)] == ["C1", "C2", "C2"]  # the worker drops the second one
    reader.unavailable = True
    batch_with(publisher, reader, *batch, headers=KEY)
    assert len({one.event_id for one in published(publisher)}) == 2


def test_what_failed_is_published_by_a_repetition_and_the_rest_is_not(reader: FakeReader) -> None:

    publisher = FailingFor({"C2": broker_down()})
    with AsgiClient(create_app(Gateway(publisher, reader))) as client:
        assert [one["status"] for one in results(client, request("C1"), request("C2"), headers=KEY)] == ["ok", "error"]
        publisher.failures.clear()
        assert [one["status"] for one in results(client, request("C1"), request("C2"), headers=KEY)] == ["ok", "ok"]
    assert [one.key for one in publisher.published] == ["C1", "C2"]


def test_a_batch_costs_one_read_with_a_key_and_none_without(client: AsgiClient, reader: FakeReader) -> None:
    reader.calls.clear()
    results(client, *(request(f"C{number}") for number in range(100)))
    assert reader.calls == []
    results(client, *(request(f"C{number}") for number in range(100)), headers=KEY)
    assert reader.calls == ["fetch_fingerprints"]
