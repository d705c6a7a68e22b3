"""The README's requests over real HTTP, answered by three real processes; and every kind of bad input."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID, uuid4

import httpx
import pytest

from script.api_client import ApiClient
from tests.e2e.system import CUSTOMER_ID, System
from tests.public_items import ITEM_KEYS, LATER_KEYS

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

OK = {"status": "ok"}


@pytest.fixture
def http(system: System) -> Iterator[httpx.Client]:
    with system.http() as client:
        yield client


@pytest.fixture
def api(system: System) -> Iterator[ApiClient]:
    with system.client() as client:
        yield client


@pytest.fixture
def answer(http: httpx.Client, api: ApiClient) -> httpx.Response:
    """What the README's second request answers after its first."""
    posted = http.post("/recommendations", json={"customer_id": CUSTOMER_ID, "action": "request_recs"})
    api.wait_for_list(CUSTOMER_ID, posted.headers["X-Request-ID"])
    return http.get(f"/recommendations/{CUSTOMER_ID}")


def test_a_request_for_recommendations_is_acknowledged(http: httpx.Client) -> None:
    answer = http.post("/recommendations", json={"customer_id": CUSTOMER_ID, "action": "request_recs"})

    assert (answer.status_code, answer.json()) == (200, OK)
    assert UUID(answer.headers["X-Request-ID"])


def test_a_list_has_exactly_the_keys_of_the_contract_in_their_order(answer: httpx.Response) -> None:
    assert answer.status_code == 200
    assert list(answer.json()) == ["status", "recommendations"]
    assert answer.json()["status"] == "ok"
    assert [list(item) for item in answer.json()["recommendations"]] == [ITEM_KEYS + LATER_KEYS] * 10
    assert all(
        list(item["components"]) == ["collaborative", "content", "profitability"]
        for item in answer.json()["recommendations"]
    )


def test_a_list_is_best_first_and_each_score_is_the_sum_of_its_contributions(answer: httpx.Response) -> None:
    items = answer.json()["recommendations"]

    assert [item["rank"] for item in items] == list(range(1, 11))
    assert [item["score"] for item in items] == sorted((item["score"] for item in items), reverse=True)
    assert all(sum(item["components"].values()) == pytest.approx(item["score"], abs=1e-5) for item in items)
    assert items[0]["score"] > items[-1]["score"]


def test_the_values_of_a_list_have_the_types_of_the_contract(answer: httpx.Response) -> None:
    for item in answer.json()["recommendations"]:
        assert all(isinstance(item[key], str) and item[key] for key in ("isin", "assetname", "assetcategory"))
        assert all(item[key] is None or isinstance(item[key], str) for key in ("sector", "industry"))
        assert all(
            item[key] is None or isinstance(item[key], float | int) for key in ("current_price", "profitability")
        )
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d", item["recommendation_date"])
        made_at = datetime.fromisoformat(item["recommendation_date"]).replace(tzinfo=UTC)
        assert abs(datetime.now(UTC) - made_at) < timedelta(minutes=30)


def test_the_headers_say_what_produced_a_list(answer: httpx.Response, api: ApiClient) -> None:
    assert UUID(answer.headers["X-Request-ID"])
    assert answer.headers["X-Model-Version"] == api.fetch("/models")["active"]
    assert answer.headers["X-Recommendation-Basis"] in {"history", "segment_prior"}


def test_a_list_never_holds_what_the_customer_owns(system: System, api: ApiClient) -> None:
    held = set(system.query("SELECT customer_id, isin FROM positions WHERE held"))
    owners = sorted({customer for customer, _ in held})[::40]
    assert len(owners) >= 5
    for customer in owners:
        served = api.ask(customer, "refresh_recs")
        assert served.items
        assert not {(customer, item["isin"]) for item in served.items} & held


def test_a_click_is_acknowledged_and_kept(system: System, http: httpx.Client, api: ApiClient) -> None:
    isin = api.ask(CUSTOMER_ID, "request_recs").items[0]["isin"]

    answer = http.post("/user_interactions", json={"customer_id": CUSTOMER_ID, "isin": isin, "type": "click"})

    assert (answer.status_code, answer.json()) == (200, OK)
    api.ask(CUSTOMER_ID, "refresh_recs")
    kept = system.query(
        "SELECT isin, interaction_type FROM user_interactions WHERE event_id = %s", answer.headers["X-Request-ID"]
    )
    assert kept == [(isin, "click")]


def test_a_request_that_a_stored_list_answers_is_named_by_that_list(http: httpx.Client, api: ApiClient) -> None:
    first = api.ask(CUSTOMER_ID, "refresh_recs")
    again = api.ask(CUSTOMER_ID, "request_recs", wait_seconds=10)

    assert again.request_id != first.request_id
    assert again.items == first.items


def test_weights_of_one_request_change_that_list_alone(http: httpx.Client, api: ApiClient) -> None:
    body = {"customer_id": CUSTOMER_ID, "action": "refresh_recs", "weights": {"profitability": 1.0}}
    posted = http.post("/recommendations", json=body)
    assert posted.status_code == 200
    weighted = api.wait_for_list(CUSTOMER_ID, posted.headers["X-Request-ID"])
    assert all(item["components"]["collaborative"] == item["components"]["content"] == 0 for item in weighted.items)
    assert weighted.items[0]["components"]["profitability"] > 0

    usual = api.ask(CUSTOMER_ID, "request_recs")
    assert any(item["components"]["collaborative"] > 0 for item in usual.items)


def test_the_same_idempotency_key_has_one_effect_and_another_body_is_refused(
    system: System, http: httpx.Client, api: ApiClient
) -> None:
    isin = api.fetch_assets(sector="Technology")[0]["isin"]
    headers, body = {"Idempotency-Key": str(uuid4())}, {"customer_id": CUSTOMER_ID, "isin": isin, "type": "view"}

    answers = [http.post("/user_interactions", json=body, headers=headers) for _ in range(3)]
    other = http.post("/user_interactions", json={**body, "type": "click"}, headers=headers)

    assert [answer.status_code for answer in answers] == [200, 200, 200]
    assert len({answer.headers["X-Request-ID"] for answer in answers}) == 1
    assert other.status_code == 422
    api.ask(CUSTOMER_ID, "refresh_recs")
    assert system.query("SELECT count(*) FROM user_interactions WHERE interaction_type = 'view'") == [(1,)]


def test_a_known_customer_without_a_list_gets_an_empty_one(system: System, http: httpx.Client) -> None:
    [(customer,)] = system.query(
        "SELECT customer_id FROM customer_information EXCEPT SELECT customer_id FROM recommendations LIMIT 1"
    )
    answer = http.get(f"/recommendations/{customer}")

    assert (answer.status_code, answer.json()) == (200, {"status": "ok", "recommendations": []})


def test_an_unknown_customer_is_not_found(http: httpx.Client) -> None:
    answer = http.get("/recommendations/NOBODY")

    assert answer.status_code == 404
    assert answer.headers["Content-Type"] == "application/problem+json"


REQUEST = {"customer_id": CUSTOMER_ID, "action": "request_recs"}
CLICK = {"customer_id": CUSTOMER_ID, "isin": "GRS434003000", "type": "click"}


@pytest.mark.parametrize(
    ("path", "body", "field"),
    [
        ("/recommendations", {**REQUEST, "action": "give_recs"}, "action"),
        ("/recommendations", {**REQUEST, "customer_id": ""}, "customer_id"),
        ("/recommendations", {**REQUEST, "customer_id": "A" * 10_000}, "customer_id"),
        ("/recommendations", {**REQUEST, "customer_id": 7}, "customer_id"),
        ("/recommendations", {"action": "request_recs"}, "customer_id"),
        ("/recommendations", {**REQUEST, "weights": {"content": -1}}, "weights.content"),
        ("/recommendations", {**REQUEST, "weights": {"content": "NaN"}}, "weights.content"),
        ("/recommendations", {**REQUEST, "weights": {"content": 0}}, "weights"),
        ("/user_interactions", {**CLICK, "isin": "XX0000000000"}, "isin"),
        ("/user_interactions", {**CLICK, "type": "stare"}, "type"),
        ("/user_interactions", {**CLICK, "customer_id": ""}, "customer_id"),
        ("/user_interactions", {"customer_id": CUSTOMER_ID, "type": "click"}, "isin"),
    ],
)
def test_bad_input_is_refused_with_the_field_named(
    http: httpx.Client, path: str, body: dict[str, Any], field: str
) -> None:
    assert_refused(http.post(path, json=body), field)


@pytest.mark.parametrize("number", ["NaN", "Infinity", "-Infinity", "1e999"])
def test_weights_that_are_not_finite_are_refused(http: httpx.Client, number: str) -> None:
    content = f'{{"customer_id": "{CUSTOMER_ID}", "action": "request_recs", "weights": {{"content": {number}}}}}'

    assert_refused(http.post("/recommendations", content=content, headers=JSON), "weights.content")


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'"text"', b"\xff\xfe", b"null"])
@pytest.mark.parametrize("path", ["/recommendations", "/user_interactions"])
def test_a_body_that_is_no_json_object_is_refused(http: httpx.Client, path: str, content: bytes) -> None:
    assert_refused(http.post(path, content=content, headers=JSON), "body")


def test_a_body_over_64_kib_is_too_large(http: httpx.Client) -> None:
    answer = http.post("/recommendations", content=b'{"x": "' + b"x" * 65_536 + b'"}', headers=JSON)

    assert answer.status_code == 413
    assert answer.headers["Content-Type"] == "application/problem+json"


JSON = {"Content-Type": "application/json"}


def assert_refused(answer: httpx.Response, field: str) -> None:
    assert answer.status_code == 422, answer.text
    assert answer.headers["Content-Type"] == "application/problem+json"
    assert any(problem["field"].startswith(field) for problem in answer.json()["errors"]), answer.text
