"""What a request may ask of its list, the headers that say what a list was made with, and previews."""

from __future__ import annotations

import asyncio
import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest

from api.app import create_app
from api.gateway import Gateway
from api.middleware import Admission
from shared.events import RecommendationRequested, encode
from shared.recommender.types import ListOptions
from tests.asgi_client import AsgiClient, StreamedGet
from tests.fakes_gateway import FakePublisher, FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list

PLAIN = {"customer_id": "C1", "action": "request_recs"}
WEIGHTS = '{"content": 0.08, "profitability": 0.2, "collaborative": 0.7200000000000001}'


def ask(client: AsgiClient, publisher: FakePublisher, **fields: Any) -> RecommendationRequested:
    answer = client.post("/recommendations", json={**PLAIN, **fields})
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}'), answer.text
    event = publisher.published[-1].event
    assert isinstance(event, RecommendationRequested)
    return event


def test_options_travel_with_the_event_in_one_order(client: AsgiClient, publisher: FakePublisher) -> None:
    event = ask(
        client,
        publisher,
        k=20,
        categories=["Stock", "Bond", "Stock"],
        sectors=["Technology"],
        exclude=["GRS2", "GRS1"],
        limits={"per_sector": 3, "per_category": 50},
        save=False,
    )
    assert (event.k, event.is_preview) == (20, True)
    assert event.options() == ListOptions(("Bond", "Stock"), ("Technology",), ("GRS1", "GRS2"), 3, 50)


@pytest.mark.parametrize(
    "fields", [{}, {"save": True}, {"save": None}, {"k": None, "categories": None, "exclude": None, "limits": None}]
)
def test_a_request_without_options_is_the_event_that_it_always_was(
    client: AsgiClient, publisher: FakePublisher, fields: dict[str, Any]
) -> None:
    event = ask(client, publisher, **fields)
    assert set(json.loads(encode(event))) == {
        *("event_id", "occurred_at", "schema_version", "event_type", "customer_id", "action"),
    }
    assert (event.is_preview, event.options()) == (False, ListOptions())


def test_options_in_another_order_are_the_same_body_for_an_idempotency_key(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    key = {"Idempotency-Key": "k"}
    for fields in ({"sectors": ["A", "B"], "save": True}, {"sectors": ["B", "A", "B"]}):
        assert client.post("/recommendations", json={**PLAIN, **fields}, headers=key).status_code == 200
    assert len(publisher.published) == 1
    answer = client.post("/recommendations", json={**PLAIN, "sectors": ["A"]}, headers=key)
    assert answer.status_code == 422


WRONG: dict[tuple[str, str], list[Any]] = {
    ("k", "k"): [0, 51, -1, 10.0, "10", True, 10**400, [1]],
    ("categories", "categories"): [[], "Stock", {"a": 1}, [str(number) for number in range(31)]],
    ("categories", "categories.0"): [[""], ["a\x00b"], [3], ["x" * 201]],
    ("sectors", "sectors"): [[], "Stock", {"a": 1}, [str(number) for number in range(31)]],
    ("sectors", "sectors.0"): [[""], ["a\x00b"], [3], ["x" * 201]],
    ("exclude", "exclude"): [[], "GRS1", {"a": 1}, [f"GRS{number}" for number in range(201)]],
    ("exclude", "exclude.0"): [[""], ["GRS 1"], ["G" * 21], [None], ["../x"]],
    ("limits", "limits"): [{}, {"per_sector": None}, 3, [1]],
    ("limits", "limits.per_sector"): [{"per_sector": value} for value in (0, 51, 1.5, "1", True)],
    ("limits", "limits.per_market"): [{"per_sector": 1, "per_market": 1}],
    ("save", "save"): ["false", 2, [], {}],
    ("K", "K"): [5],
}


@pytest.mark.parametrize(
    ("field", "value", "named"),
    [(field, value, named) for (field, named), values in WRONG.items() for value in values],
)
def test_an_option_that_is_not_valid_is_named(
    client: AsgiClient, publisher: FakePublisher, field: str, value: Any, named: str
) -> None:
    body = json.dumps({**PLAIN, field: value})
    answer = client.post("/recommendations", content=body, headers={"content-type": "application/json"})
    assert answer.status_code == 422, answer.text
    assert named in {error["field"] for error in answer.json()["errors"]}
    assert publisher.published == []


def test_the_headers_of_a_list_say_its_weights_and_its_k(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = replace(stored_list(ITEM), weights=WEIGHTS, k=20)
    headers = client.get("/recommendations/C1").headers
    assert headers["X-Recommendation-Weights"] == "collaborative=0.72,content=0.08,profitability=0.2"
    assert headers["X-Recommendation-K"] == "20"


@pytest.mark.parametrize(
    "weights", [None, "null", "[]", "not JSON", "{}", '{"collaborative": 1, "content": "x", "profitability": 0}']
)
def test_what_cannot_be_read_of_an_old_list_has_no_header(
    client: AsgiClient, reader: FakeReader, weights: str | None
) -> None:
    reader.lists["C1"] = replace(stored_list(ITEM), weights=weights)
    answer = client.get("/recommendations/C1")
    assert (answer.status_code, len(answer.json()["recommendations"])) == (200, 1)
    assert not {"X-Recommendation-Weights", "X-Recommendation-K"} & set(answer.headers)


def test_a_web_page_may_read_the_headers_of_a_list(publisher: FakePublisher, reader: FakeReader) -> None:
    reader.lists["C1"] = replace(stored_list(ITEM), weights=WEIGHTS, k=20)
    origin = "https://app.example"
    with AsgiClient(
        create_app(Gateway(publisher, reader), admission=Admission(allowed_origins=frozenset({origin})))
    ) as client:
        exposed = client.get("/recommendations/C1", headers={"Origin": origin}).headers["Access-Control-Expose-Headers"]
    assert {"X-Recommendation-Weights", "X-Recommendation-K"} <= {name.strip() for name in exposed.split(",")}


def test_an_event_of_the_stream_says_weights_and_k(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = replace(stored_list(ITEM), weights=WEIGHTS, k=20)

    async def follow() -> dict[str, Any]:
        stream = StreamedGet(client.app, "/recommendations/C1/events")
        event = await stream.event()
        stream.left.set()
        await stream.ended()
        found: dict[str, Any] = json.loads(event["data"])
        return found

    found = client.run(follow)
    assert found["weights"] == {"collaborative": 0.72, "content": 0.08, "profitability": 0.2}
    assert found["k"] == 20


def test_a_preview_is_read_by_its_request_alone(client: AsgiClient, reader: FakeReader) -> None:
    newest, request_id = stored_list({**ITEM, "isin": "NEWEST"}), uuid4()
    reader.lists["C1"] = newest
    reader.previews[request_id] = replace(stored_list(ITEM), request_id=request_id, weights=WEIGHTS, k=3)

    preview = client.get(f"/recommendations/C1?request_id={request_id}&wait=5")
    plain, waited = client.get("/recommendations/C1"), client.get("/recommendations/C1?wait=5")

    assert preview.headers["X-Request-ID"] == str(request_id)
    assert [item["isin"] for item in preview.json()["recommendations"]] == [ITEM["isin"]]
    assert preview.headers["X-Recommendation-K"] == "3"
    for answer in (plain, waited):
        assert UUID(answer.headers["X-Request-ID"]) == newest.request_id


def test_waiting_for_a_preview_ends_with_it(client: AsgiClient, reader: FakeReader) -> None:
    request_id = uuid4()

    async def wait() -> str:
        waiting = asyncio.create_task(client.http.get(f"/recommendations/C1?request_id={request_id}&wait=20"))
        async with asyncio.timeout(5):
            while not reader.asked:
                await asyncio.sleep(0.005)
        reader.previews[request_id] = replace(stored_list(ITEM), request_id=request_id)
        reader.notify(["C1"])
        return (await waiting).headers["X-Request-ID"]

    assert client.run(wait) == str(request_id)
