"""What both clients make of answers that are more than their fields."""

from __future__ import annotations

import json
from datetime import date
from typing import Any
from uuid import UUID

import httpx
import pytest

from far_trans_client import (
    AcceptedRequest,
    ComponentWeights,
    InteractionType,
    RecommendationsBody,
    RefusedRequest,
    RequestedLimits,
    RequestedWeights,
    UnexpectedShape,
)
from tests.unit.client.conftest import Caller

REQUEST_ID = UUID("b3b0c0de-5e5e-8b1d-9f00-2a4c6e8f0a1c")


def answer_list(**headers: str) -> httpx.Response:
    named = {f"X-Recommendation-{name}": value for name, value in headers.items()}
    return httpx.Response(200, json={"status": "ok", "recommendations": []}, headers=named)


def test_the_weights_and_the_length_of_a_list_are_read_from_its_headers(call: Caller) -> None:
    given = {"Weights": "collaborative=0.72,content=0.08,profitability=0.2", "K": "20"}

    newest = call(lambda _: answer_list(**given), lambda client: client.recommendations("C1"))

    assert newest.weights == ComponentWeights(collaborative=0.72, content=0.08, profitability=0.2)
    assert newest.k == 20


def test_a_list_without_these_headers_has_neither(call: Caller) -> None:
    newest = call(lambda _: answer_list(), lambda client: client.recommendations("C1"))

    assert (newest.weights, newest.k) == (None, None)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("Weights", ""),
        ("Weights", "collaborative"),
        ("Weights", "collaborative=1"),
        ("Weights", "a=1,b=2,c=3"),
        ("Weights", "collaborative=x,content=0,profitability=0"),
        ("Weights", "collaborative=nan,content=0,profitability=0"),
        ("K", ""),
        ("K", "-1"),
        ("K", "ten"),
        ("K", "9" * 5000),
    ],
)
def test_a_header_that_is_not_valid_is_named(call: Caller, name: str, value: str) -> None:
    with pytest.raises(UnexpectedShape, match=f"X-Recommendation-{name}"):
        call(lambda _: answer_list(**{name: value}), lambda client: client.recommendations("C1"))


def test_each_request_of_a_batch_has_its_result(call: Caller) -> None:
    sent: list[dict[str, Any]] = []
    problem = {"type": "about:blank", "title": "The request is not valid", "status": 422, "detail": "See errors."}
    results = [
        {"customer_id": "C1", "status": "ok", "request_id": str(REQUEST_ID)},
        {"customer_id": "C2", "status": "error", "problem": problem},
        {"status": "error", "problem": problem},
    ]

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(parse(request))
        return httpx.Response(200, json={"status": "ok", "results": results})

    requests = [
        RecommendationsBody("C1", "request_recs", weights=RequestedWeights(content=1.0), sectors=["Technology"]),
        RecommendationsBody("C2", "refresh_recs", limits=RequestedLimits(per_sector=3), save=False),
    ]
    accepted, refused, nameless = call(handle, lambda client: client.batch(requests))

    assert accepted == AcceptedRequest("C1", "ok", REQUEST_ID)
    assert isinstance(refused, RefusedRequest)
    assert (refused.customer_id, refused.request_id, refused.problem.status) == ("C2", None, 422)
    assert isinstance(nameless, RefusedRequest)
    assert nameless.customer_id is None
    weights = {"collaborative": 0.0, "content": 1.0, "profitability": 0.0}
    assert sent[0]["requests"] == [
        {"customer_id": "C1", "action": "request_recs", "weights": weights, "sectors": ["Technology"]},
        {"customer_id": "C2", "action": "refresh_recs", "limits": {"per_sector": 3}, "save": False},
    ]


def parse(request: httpx.Request) -> dict[str, Any]:
    assert request.headers["Idempotency-Key"]
    return dict(json.loads(request.content))


@pytest.mark.parametrize("body", [{}, {"results": {}}, {"results": [{"status": "maybe"}]}, []])
def test_a_batch_of_another_shape_is_an_error(call: Caller, body: Any) -> None:
    with pytest.raises(UnexpectedShape):
        call(lambda _: httpx.Response(200, json=body), lambda client: client.batch([]))


def test_an_asset_has_the_date_of_its_price(call: Caller) -> None:
    asset = {"isin": "I1", "assetname": "PPC", "assetcategory": "Stock", "price_date": "2022-11-29"}

    read = call(lambda _: httpx.Response(200, json={"status": "ok", "asset": asset}), lambda client: client.asset("I1"))

    assert (read.isin, read.price_date, read.trailing_return_12m) == ("I1", date(2022, 11, 29), None)


def test_a_watchlist_says_since_when(call: Caller) -> None:
    watched = {"isin": "I1", "assetname": "PPC", "assetcategory": "Stock", "added_at": "2026-01-02T10:30:00Z"}

    [read] = call(
        lambda _: httpx.Response(200, json={"status": "ok", "watchlist": [watched]}),
        lambda client: client.watchlist("C1"),
    )

    assert read.added_at.year == 2026


@pytest.mark.parametrize("kind", ["impression", "unwatch", "undismiss"])
def test_an_interaction_names_the_list_that_showed_the_asset(call: Caller, kind: InteractionType) -> None:
    sent: list[dict[str, Any]] = []

    def handle(request: httpx.Request) -> httpx.Response:
        sent.append(parse(request))
        return httpx.Response(200, json={"status": "ok"}, headers={"X-Request-ID": str(REQUEST_ID)})

    call(handle, lambda client: client.record_interaction("C1", "I1", kind, request_id=REQUEST_ID, rank=3))

    assert sent == [{"customer_id": "C1", "isin": "I1", "type": kind, "request_id": str(REQUEST_ID), "rank": 3}]
