"""Previews and options on a real database: the worker's store writes, a gateway process answers."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from shared.events import RECOMMENDATIONS_REQUESTED, RecommendationRequested, encode
from shared.ports import Message
from shared.recommender.types import ListOptions
from tests.integration.test_waiting import (
    ITEM,
    LIST,
    answer,
    background,
    decide,
    gateway_on,
    new_request,
    rows,
)
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

PREVIEW = replace(LIST, model_version="v2", items=(ITEM.model_copy(update={"isin": "PREVIEW"}),), k=3)


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    store = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    yield store
    store.close()


def test_a_preview_is_what_its_request_is_answered_with_and_nobody_else_sees_it(
    database_url: str, store: PostgresWorkerStore
) -> None:
    rows(
        database_url,
        "INSERT INTO asset_information (isin, asset_category, asset_sub_category, recorded_on) VALUES"
        " ('PREVIEW', 'Bond', 'Government', '2020-01-01'), ('GRS434003000', 'Bond', 'Government', '2020-01-01')",
    )
    first, preview, later = (new_request("C1") for _ in range(3))
    path = f"/recommendations/C1?request_id={preview}"
    answer(store, decide(first, "C1"))
    with gateway_on(database_url) as gateway:
        before = gateway.http.get("/recommendations/C1")
        with background(gateway, f"{path}&wait=20") as answers:
            answer(store, replace(decide(preview, "C1", offset=1), answer=PREVIEW, is_preview=True))
        plain = gateway.http.get("/recommendations/C1")
        assert (plain.content, plain.headers["X-Request-ID"]) == (before.content, str(first))
        assert gateway.http.get("/recommendations/C1?wait=5").headers["X-Request-ID"] == str(first)
        answer(store, decide(later, "C1", offset=2))
        for found in (answers[0], gateway.http.get(path)):
            assert found.headers["X-Request-ID"] == str(preview)
            assert found.headers["X-Model-Version"] == "v2"
            assert found.headers["X-Recommendation-K"] == "3"
            assert found.headers["X-Recommendation-Weights"] == "collaborative=0.7,content=0.1,profitability=0.2"
            assert [item["isin"] for item in found.json()["recommendations"]] == ["PREVIEW"]
        # A request of before the preview is answered with a list, its own or a later one.
        assert gateway.http.get(f"/recommendations/C1?request_id={first}").headers["X-Request-ID"] == str(later)
        assert gateway.http.get(f"/requests/{preview}").json()["state"] == "answered"
        assert gateway.http.get(f"/recommendations/C2?request_id={preview}").status_code == 404


def test_a_preview_of_a_customer_without_a_list_is_no_list(database_url: str, store: PostgresWorkerStore) -> None:
    preview = new_request("stranger")
    answer(store, replace(decide(preview, "stranger"), answer=PREVIEW, is_preview=True))
    with gateway_on(database_url) as gateway:
        found = gateway.http.get(f"/recommendations/stranger?request_id={preview}")
        assert (found.status_code, found.headers["X-Request-ID"]) == (200, str(preview))
        # The catalogue does not have the asset: what may not be shown today is left out of a preview, too.
        assert found.json()["recommendations"] == []
        assert gateway.http.get("/recommendations/stranger").status_code == 404
        assert gateway.http.get("/recommendations/stranger?wait=0").status_code == 202


@pytest.mark.parametrize("fields", [{"save": False}, {}])
def test_a_preview_that_failed_is_not_answered_by_a_later_list(
    database_url: str, store: PostgresWorkerStore, fields: dict[str, Any]
) -> None:
    failed, later = new_request("C1"), new_request("C1")
    event = RecommendationRequested(
        event_id=failed, customer_id="C1", action="refresh_recs", sectors=('"save":false',), **fields
    )
    message = Message(RECOMMENDATIONS_REQUESTED, 0, 1, b"C1", encode(event))
    with store.begin() as transaction:
        transaction.insert_dead_letters([(message, "ValueError: a bug")])
    answer(store, decide(later, "C1", offset=2))
    with gateway_on(database_url) as gateway:
        found = gateway.http.get(f"/recommendations/C1?request_id={failed}")
    if fields:
        assert found.status_code == 409
    else:
        assert (found.status_code, found.headers["X-Request-ID"]) == (200, str(later))


def test_decisions_record_k_and_options_and_nothing_where_nothing_was_asked(
    database_url: str, store: PostgresWorkerStore
) -> None:
    options = ListOptions(sectors=("Energy",), per_category=3)
    plain, asked = new_request("C1"), new_request("C2")
    answer(store, decide(plain, "C1"), replace(decide(asked, "C2"), answer=replace(LIST, k=20, options=options)))
    found = rows(database_url, "SELECT k, options, is_preview FROM decisions ORDER BY customer_id")
    assert found == [(None, None, False), (20, {"sectors": ["Energy"], "per_category": 3}, False)]
    assert rows(database_url, "SELECT options IS NULL FROM decisions WHERE customer_id = 'C1'") == [(True,)]


def test_a_list_that_an_older_worker_replaced_is_not_taken_for_one_with_options(
    database_url: str, store: PostgresWorkerStore
) -> None:
    made, of_older = new_request("C1"), new_request("C1")
    answered = replace(LIST, k=20, options=ListOptions(sectors=("Energy",)))
    answer(store, replace(decide(made, "C1"), answer=answered))
    # As the worker of the release before writes: it knows neither column.
    rows(
        database_url,
        "INSERT INTO decisions (request_id, customer_id, action, answered_from, model_version, basis, weights, items,"
        " partition, event_offset, requested_at, decided_at) SELECT %s::uuid, customer_id, action, answered_from,"
        " model_version, basis, weights, items, partition, 5, requested_at, decided_at FROM decisions",
        str(of_older),
    )
    rows(database_url, "UPDATE recommendations SET request_id = %s::uuid", str(of_older))
    with store.begin() as transaction:
        found = transaction.fetch_fresh_lists(["C1"])["C1"]
    assert (found.k, found.options) == (None, ListOptions())
    with gateway_on(database_url) as gateway:
        headers = gateway.http.get("/recommendations/C1").headers
    assert "X-Recommendation-K" not in headers
    assert headers["X-Recommendation-Weights"] == "collaborative=0.7,content=0.1,profitability=0.2"


@pytest.mark.parametrize("options", ['"text"', "[1]", "3", '{"of_a_later_version": 1}', '{"sectors": 3}'])
def test_options_that_this_version_cannot_read_answer_nothing_and_stop_nothing(
    database_url: str, store: PostgresWorkerStore, options: str
) -> None:
    answer(store, decide(new_request("C1"), "C1"), decide(new_request("C2"), "C2"))
    rows(database_url, "UPDATE decisions SET options = %s::jsonb WHERE customer_id = 'C1'", options)
    with store.begin() as transaction:
        found = transaction.fetch_fresh_lists(["C1", "C2"])
    assert "C2" in found
    assert found.get("C1", LIST).options != ListOptions() or "C1" not in found
