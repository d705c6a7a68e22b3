"""Asking for lists and reading them."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any
from uuid import UUID, uuid4

import pytest
from structlog.testing import capture_logs

from api.ports import CurrentFacts, ListRow
from shared.errors import PublishFailed
from shared.events import RecommendationRequested
from shared.recommender.types import RiskLevel
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down

ITEM: dict[str, Any] = {
    "isin": "GRS434003000",
    "assetname": "PPC",
    "assetcategory": "Stock",
    "sector": None,
    "industry": None,
    "current_price": 3.76,
    "profitability": 0.160494,
    "recommendation_date": "2025-11-30T22:00:00",
    "score": 0.7,
    "rank": 1,
    "components": {"collaborative": 0.4, "content": 0.1, "profitability": 0.2},
}


def stored_list(*items: dict[str, Any]) -> ListRow:
    """A list as JSONB gives it back: keys sorted by length, then by name."""
    shuffled = [dict(sorted(item.items(), key=lambda pair: (len(pair[0]), pair[0]))) for item in items]
    return ListRow(uuid4(), "v7", "history", json.dumps(shuffled))


@pytest.mark.parametrize("action", ["request_recs", "refresh_recs"])
def test_a_request_becomes_one_event_keyed_by_customer(
    client: AsgiClient, publisher: FakePublisher, action: str
) -> None:
    answer = client.post("/recommendations", json={"customer_id": "C1", "action": action})
    assert (answer.status_code, answer.text) == (200, '{"status":"ok"}')
    [published] = publisher.published
    assert (published.topic, published.key) == ("recommendations.requested.v1", "C1")
    assert isinstance(published.event, RecommendationRequested)
    assert published.event.action == action
    assert published.event.weights is None
    assert UUID(answer.headers["X-Request-ID"]) == published.event.event_id


def test_a_preset_travels_with_its_event(client: AsgiClient, publisher: FakePublisher) -> None:
    body = {"customer_id": "C1", "action": "request_recs", "preset": "low_volatility"}
    assert client.post("/recommendations", json=body).status_code == 200
    event = publisher.published[0].event
    assert isinstance(event, RecommendationRequested)
    assert (event.preset, event.weights) == ("low_volatility", None)


def test_weights_of_a_request_travel_with_its_event(client: AsgiClient, publisher: FakePublisher) -> None:
    weights = {"collaborative": 0.5, "content": 0.2, "profitability": 0.3}
    body = {"customer_id": "C1", "action": "request_recs", "weights": weights}
    assert client.post("/recommendations", json=body).status_code == 200
    event = publisher.published[0].event
    assert isinstance(event, RecommendationRequested)
    assert event.weights is not None
    assert event.weights.model_dump() == weights


def test_without_an_acknowledgement_the_answer_is_503_and_says_whether_the_event_may_be_there(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    publisher.failure = broker_down()
    answer = client.post("/recommendations", json={"customer_id": "C1", "action": "request_recs"})
    assert answer.status_code == 503
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["Retry-After"].isdecimal()
    assert answer.json()["outcome"] == "unknown"
    assert UUID(answer.headers["X-Request-ID"])


def test_an_event_that_was_never_queued_is_not_accepted(client: AsgiClient, publisher: FakePublisher) -> None:
    publisher.failure = PublishFailed(outcome_unknown=False)
    answer = client.post("/recommendations", json={"customer_id": "C1", "action": "request_recs"})
    assert (answer.status_code, answer.json()["outcome"]) == (503, "not_accepted")


def test_a_list_is_answered_in_contract_order_with_what_made_it(client: AsgiClient, reader: FakeReader) -> None:
    row = reader.lists["C1"] = stored_list(ITEM, {**ITEM, "rank": 2})
    answer = client.get("/recommendations/C1")
    assert answer.status_code == 200
    assert answer.headers["X-Request-ID"] == str(row.request_id)
    assert answer.headers["X-Model-Version"] == "v7"
    assert answer.headers["X-Recommendation-Basis"] == "history"
    first, second = answer.json()["recommendations"]
    assert list(first.items()) == list(ITEM.items())
    assert list(first["components"]) == list(ITEM["components"])
    assert second["rank"] == 2


def test_a_list_costs_one_read(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = stored_list(ITEM)
    reader.calls.clear()
    client.get("/recommendations/C1")
    assert reader.calls == ["fetch_lists"]


CHANGES: list[dict[str, Any]] = [{"is_stale": True}, {"has_newer_interactions": True}]


@pytest.mark.parametrize("change", CHANGES, ids=["stale", "newer interactions"])
def test_what_became_forbidden_since_the_list_was_made_is_left_out_and_ranks_close_up(
    client: AsgiClient, reader: FakeReader, change: dict[str, Any]
) -> None:
    isins = ["GONE", "KEPT1", "RISKY", "OWNED", "DISMISSED", "KEPT2"]
    items = [{**ITEM, "isin": isin, "rank": rank} for rank, isin in enumerate(isins, start=1)]
    reader.lists["C1"] = replace(stored_list(*items), **change)
    levels = {isin: RiskLevel.INCOME for isin in isins if isin != "GONE"} | {"RISKY": RiskLevel.BALANCED}
    reader.facts = CurrentFacts(RiskLevel.INCOME, levels, frozenset({"OWNED"}), frozenset({"DISMISSED"}))
    answer = client.get("/recommendations/C1")
    shown = answer.json()["recommendations"]
    assert [(item["isin"], item["rank"]) for item in shown] == [("KEPT1", 1), ("KEPT2", 2)]
    assert {**shown[0], "isin": ITEM["isin"]} == ITEM
    assert reader.calls[-2:] == ["fetch_lists", "fetch_current_facts"]


def test_a_customer_whose_risk_level_is_unknown_is_shown_the_least_risk_alone(
    client: AsgiClient, reader: FakeReader
) -> None:
    reader.lists["C1"] = replace(stored_list({**ITEM, "isin": "A"}, {**ITEM, "isin": "B", "rank": 2}), is_stale=True)
    levels = {"A": RiskLevel.INCOME, "B": RiskLevel.CONSERVATIVE}
    reader.facts = CurrentFacts(None, levels, frozenset(), frozenset())
    assert [item["isin"] for item in client.get("/recommendations/C1").json()["recommendations"]] == ["B"]


def test_only_a_list_that_is_older_than_the_reference_data_is_marked(client: AsgiClient, reader: FakeReader) -> None:
    fresh = stored_list(ITEM)
    for row, mark in (
        (fresh, None),
        (replace(fresh, has_newer_interactions=True), None),
        (replace(fresh, is_stale=True), "true"),
    ):
        reader.lists["C1"] = row
        assert client.get("/recommendations/C1").headers.get("X-Recommendation-Stale") == mark


def test_a_list_of_which_nothing_may_be_shown_is_empty(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["C1"] = replace(stored_list(ITEM), is_stale=True)
    answer = client.get("/recommendations/C1")
    assert (answer.status_code, answer.json()["recommendations"]) == (200, [])


def test_a_known_customer_without_a_list_gets_an_empty_one(client: AsgiClient) -> None:
    answer = client.get("/recommendations/C1")
    assert (answer.status_code, answer.text) == (200, '{"status":"ok","recommendations":[]}')
    assert "X-Request-ID" not in answer.headers


def test_an_unknown_customer_without_a_list_is_404(client: AsgiClient) -> None:
    answer = client.get("/recommendations/nobody")
    assert answer.status_code == 404
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 404


def test_an_unknown_customer_with_a_list_gets_it(client: AsgiClient, reader: FakeReader) -> None:
    reader.lists["new"] = stored_list(ITEM)
    assert len(client.get("/recommendations/new").json()["recommendations"]) == 1


def test_with_the_database_away_reading_is_503_and_asking_still_works(client: AsgiClient, reader: FakeReader) -> None:
    reader.unavailable = True
    answer = client.get("/recommendations/C1")
    assert answer.status_code == 503
    assert answer.headers["Retry-After"].isdecimal()
    assert "outcome" not in answer.json()
    assert client.post("/recommendations", json={"customer_id": "C1", "action": "request_recs"}).status_code == 200


def broken(**changes: object) -> str:
    return json.dumps([{**ITEM, **changes}])


@pytest.mark.parametrize(
    "items",
    [
        *("null", "{}", "[1]", '"a text"', '[{"isin": "GRS434003000"}]', "[null]", "not JSON"),
        *(
            broken(recommendation_date=date)
            for date in ("2025-11-30T22:00:00Z", "2025-11-30T22:00:00.5", "2025-11-30 22:00:00")
        ),
        broken(rank=0),
        broken(components=None),
    ],
)
@pytest.mark.parametrize("change", [{}, *CHANGES], ids=["fresh", "stale", "newer interactions"])
def test_a_stored_list_that_breaks_the_contract_counts_as_no_list_and_is_logged(
    client: AsgiClient, reader: FakeReader, items: str, change: dict[str, Any]
) -> None:
    row = reader.lists["C1"] = replace(stored_list(), items=items, **change)
    with capture_logs() as logged:
        answer = client.get("/recommendations/C1")
    assert (answer.status_code, answer.text) == (200, '{"status":"ok","recommendations":[]}')
    assert "X-Request-ID" not in answer.headers
    [line] = logged
    assert (line["event"], line["log_level"]) == ("recommendations.unreadable", "error")
    assert line["request_id"] == str(row.request_id)
    assert line["error"].startswith("ValidationError")


def test_a_component_that_says_nothing_is_null_and_named_in_a_header(client: AsgiClient, reader: FakeReader) -> None:
    silent = {**ITEM, "components": {**ITEM["components"], "profitability": None}}
    reader.lists["C1"], reader.lists["C2"] = stored_list(silent), stored_list(ITEM)

    without, whole = client.get("/recommendations/C1"), client.get("/recommendations/C2")

    assert without.headers["X-Components-Unknown"] == "profitability"
    assert without.json()["recommendations"][0]["components"]["profitability"] is None
    assert "X-Components-Unknown" not in whole.headers


NEW_FIELDS = {"price_date": "2022-11-29", "currency": None, "trailing_return_12m": 0.084337}


def test_a_list_is_answered_with_the_keys_of_the_version_that_stored_it(client: AsgiClient, reader: FakeReader) -> None:
    """Keys that a newer version may add are left out, in any place, as an older gateway does with those of this one."""
    for stored, shown in [
        (ITEM, ITEM),
        ({**NEW_FIELDS, **ITEM}, {**ITEM, **NEW_FIELDS}),
        ({**ITEM, **NEW_FIELDS, "of_a_newer_version": {"a": 1}}, {**ITEM, **NEW_FIELDS}),
    ]:
        reader.lists["C1"] = stored_list(stored)
        [item] = client.get("/recommendations/C1").json()["recommendations"]
        assert list(item.items()) == list(shown.items())
