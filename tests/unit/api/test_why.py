"""Why a list has an asset, or not: the question that the gateway publishes, its answer in words, and every refusal."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import pytest
from structlog.testing import capture_logs

from api.ports import ListRow, StoredExplanation
from api.schemas.models import ModelItem
from api.sentences import load_catalogues
from api.why_sentences import explain_asset
from shared.events import RECOMMENDATIONS_REQUESTED, Event, RecommendationRequested
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down
from tests.unit.api.test_recommendations import ITEM, stored_list

ISIN = "GRS434003000"
PATH = f"/recommendations/C1/why/{ISIN}"


def candidate(isin: str, rank: int, place: int | None, *components: float | None) -> dict[str, Any]:
    names = ("collaborative", "content", "profitability")
    score = sum(one or 0.0 for one in components)
    values = dict(zip(names, components, strict=True))
    return {"isin": isin, "rank": rank, "place": place, "score": score, "components": values}


LAST = candidate("GRS003003035", 10, 10, 0.5, None, 0.2)
FACTS = [
    {"component": "collaborative", "signal": "next_purchase", "effect": 0.2},
    {"component": "profitability", "signal": "profitability", "effect": -0.1},
    {"component": "collaborative", "signal": "of_a_plugin", "effect": 0.05},
]
BELOW: dict[str, Any] = {
    "state": "below",
    "candidates": 40,
    "candidate": candidate(ISIN, 12, None, 0.4, None, 0.25),
    "facts": FACTS,
    "refusals": [],
    "last": LAST,
}
REFUSAL = {"rule": "risk_level", "inputs": {"asset_level": 3, "customer_level": 2}, "threshold": {"most": 2}}
REFUSED: dict[str, Any] = {**BELOW, "state": "refused", "candidate": None, "facts": [], "refusals": [REFUSAL]}
LISTED: dict[str, Any] = {**BELOW, "state": "listed", "candidate": candidate(ISIN, 2, 2, 0.6, None, 0.2)}


def stored(content: dict[str, Any], basis: str = "history") -> StoredExplanation:
    return StoredExplanation(content, "v8", basis)


@pytest.fixture
def answered(publisher: FakePublisher, reader: FakeReader, monkeypatch: pytest.MonkeyPatch) -> FakeReader:
    """A database in which a worker answers every request at once, with the explanation of the reader."""
    reader.models = [build_model_item()]
    reader.explanation = stored(BELOW)
    publish = publisher.publish

    async def publish_and_answer(topic: str, *, key: str, event: Event) -> None:
        await publish(topic, key=key, event=event)
        reader.previews[event.event_id] = ListRow(event.event_id, "v8", "history", "[]")
        await asyncio.sleep(0)

    monkeypatch.setattr(publisher, "publish", publish_and_answer)
    return reader


def build_model_item() -> ModelItem:
    names = dict.fromkeys(ModelItem.model_fields)
    start = {"version": "v8", "status": "promoted", "active": True, "started_at": "2026-01-02T10:30:00Z"}
    return ModelItem.model_validate({**names, **start, "pinned": False})


def question(publisher: FakePublisher) -> RecommendationRequested:
    [published] = publisher.published
    assert (published.topic, published.key) == (RECOMMENDATIONS_REQUESTED, "C1")
    assert isinstance(published.event, RecommendationRequested)
    return published.event


def test_the_question_is_a_preview_that_asks_about_the_asset(
    client: AsgiClient, answered: FakeReader, publisher: FakePublisher
) -> None:
    assert client.get(PATH).status_code == 200
    event = question(publisher)
    assert (event.is_preview, event.why, event.weights, event.k) == (True, ISIN, None, None)


def test_the_question_is_that_of_the_newest_list(
    client: AsgiClient, answered: FakeReader, publisher: FakePublisher
) -> None:
    weights = {"collaborative": 0.123456789, "content": 0.2, "profitability": 0.676543211}
    newest = replace(stored_list(ITEM), weights=weights, k=7)
    answered.lists["C1"] = newest
    answered.options[newest.request_id] = {"sectors": ["Energy"], "exclude": ["GRS003003035"], "per_sector": 2}
    answer = client.get(PATH).json()
    event = question(publisher)
    assert event.weights is not None
    assert (event.weights.model_dump(), event.k) == (weights, 7)
    assert (event.sectors, event.exclude) == (("Energy",), ("GRS003003035",))
    assert event.limits is not None
    assert (event.limits.per_sector, event.limits.per_category) == (2, None)
    assert (answer["current_rank"], answer["current_request_id"]) == (1, str(newest.request_id))


@pytest.mark.parametrize("options", [{"sectors": 3}, {"unknown": True}, {"per_sector": "many"}])
def test_a_list_whose_question_cannot_be_read_is_asked_about_plainly(
    client: AsgiClient, answered: FakeReader, publisher: FakePublisher, options: dict[str, Any]
) -> None:
    newest = answered.lists["C1"] = stored_list(ITEM)
    answered.options[newest.request_id] = options
    assert client.get(PATH).status_code == 200
    assert question(publisher).sectors is None


def test_an_asset_below_the_list_is_told_what_the_last_one_has_more(client: AsgiClient, answered: FakeReader) -> None:
    answer = client.get(PATH)
    content = answer.json()
    assert (content["state"], content["isin"], content["model_version"]) == ("below", ISIN, "v8")
    assert content["ahead"] == {"collaborative": 0.1, "content": None, "profitability": -0.05}
    assert (content["candidate"], content["last"], content["facts"]) == (BELOW["candidate"], LAST, FACTS)
    assert content["sentence"] == (
        "It has rank 12 of 40 candidates. GRS003003035, on place 10 of the list, has 0.0500 more. For it speaks: what "
        "holders of the assets of your history bought next; the signal of_a_plugin. Against it speaks: its predicted "
        "return."
    )
    assert (answer.headers["Content-Language"], answer.headers["Vary"]) == ("en", "Accept-Language")
    assert client.get(f"{PATH}?lang=de").json()["sentence"].startswith("Es hat Rang 12 von 40 Kandidaten.")


def test_a_refused_asset_is_told_its_rule_inputs_and_threshold(client: AsgiClient, answered: FakeReader) -> None:
    answered.explanation = stored(REFUSED)
    content = client.get(PATH).json()
    assert (content["refusals"], content["candidate"], content["ahead"]) == ([REFUSAL], None, None)
    assert content["sentence"] == "Its risk level (3) is above the highest one of your profile (2)."


def test_an_asset_of_the_list_is_told_its_place(client: AsgiClient, answered: FakeReader) -> None:
    answered.explanation = stored(LISTED)
    content = client.get(PATH).json()
    assert content["sentence"].startswith("It has place 2 of the list. For it speaks: ")
    assert content["ahead"] is None


@pytest.mark.parametrize("language", load_catalogues())
def test_a_rule_without_a_text_or_with_other_inputs_is_named(language: str) -> None:
    for rule, inputs in (("cap_issuer", {}), ("risk_level", {"figure": 3})):
        refusal = {"rule": rule, "inputs": inputs, "threshold": "a bound"}
        text = explain_asset(stored({**REFUSED, "refusals": [refusal]}), catalogue=load_catalogues()[language])
        assert f"({rule})" in text


def test_a_customer_without_history_is_not_told_of_one() -> None:
    facts = [{"component": "content", "signal": "content", "effect": 0.1}]
    text = explain_asset(stored({**LISTED, "facts": facts}, "segment_prior"), catalogue=load_catalogues()["en"])
    assert "your history" not in text


def test_unknown_customers_and_assets_are_asked_of_nobody(
    client: AsgiClient, answered: FakeReader, publisher: FakePublisher
) -> None:
    assert client.get(f"/recommendations/C9/why/{ISIN}").status_code == 404
    assert client.get("/recommendations/C1/why/XS0000000001").status_code == 404
    assert client.get("/recommendations/C1/why/a%20b").status_code == 422
    assert client.get(f"{PATH}?wait=31").status_code == 422
    assert client.get(f"{PATH}?langs=de").status_code == 422
    assert not publisher.published


def test_without_a_model_nobody_waits(client: AsgiClient, reader: FakeReader, publisher: FakePublisher) -> None:
    answer = client.get(PATH)
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")
    assert answer.json()["detail"] == "There is no model yet."
    assert not publisher.published


def test_without_a_worker_or_with_an_older_one_the_answer_is_503(
    client: AsgiClient, reader: FakeReader, answered: FakeReader
) -> None:
    answered.explanation = None  # an older worker answers the preview alone
    answer = client.get(f"{PATH}?wait=0.05")
    assert (answer.status_code, answer.headers["Retry-After"]) == (503, "2")


@pytest.mark.parametrize(
    "content",
    [
        {"state": "listed"},
        {**BELOW, "state": "of a newer worker"},
        {**BELOW, "candidate": None},
        {**BELOW, "facts": 3},
        {**REFUSED, "refusals": [{"rule": "held"}]},
    ],
)
def test_an_explanation_that_this_version_cannot_read_is_a_503_and_logged(
    client: AsgiClient, answered: FakeReader, content: dict[str, Any]
) -> None:
    answered.explanation = stored(content)
    with capture_logs() as lines:
        assert client.get(PATH).status_code == 503
    assert [line["event"] for line in lines if line["log_level"] == "error"] == ["explanation.unreadable"]


def test_nobody_answers_in_time(client: AsgiClient, reader: FakeReader) -> None:
    reader.models = [build_model_item()]
    answer = client.get(f"{PATH}?wait=0.05")
    assert answer.json()["detail"] == "No worker has explained it within 0.05 seconds."


def test_a_broker_or_a_database_that_is_away_is_a_503(
    client: AsgiClient, answered: FakeReader, publisher: FakePublisher
) -> None:
    publisher.failure = broker_down()
    assert client.get(PATH).status_code == 503
    publisher.failure = None
    answered.unavailable = True
    assert client.get(PATH).status_code == 503
