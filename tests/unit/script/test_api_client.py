"""What the client of the public API makes of the gateway's answers."""

from __future__ import annotations

from collections.abc import Callable

import httpx
import pytest

from script.api_client import ApiClient, ApiRefused, ApiUnavailable, ListNotReady, ServedList

Handler = Callable[[httpx.Request], httpx.Response]
OK = httpx.Response(200, json={"status": "ok"})
PROBLEM = {"title": "Try again later", "detail": "no acknowledgement", "status": 503}


@pytest.fixture(autouse=True)
def no_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("script.api_client.time.sleep", lambda _: None)


def client(handler: Handler) -> ApiClient:
    return ApiClient("http://127.0.0.1:1", transport=httpx.MockTransport(handler))


def test_a_list_is_awaited_until_it_is_the_one_of_this_request() -> None:
    answers = iter(["other", "other", "mine"])

    def handle(request: httpx.Request) -> httpx.Response:
        if request.method == "POST":
            return httpx.Response(200, json={"status": "ok"}, headers={"X-Request-ID": "mine"})
        headers = {"X-Request-ID": next(answers), "X-Model-Version": "v1"}
        return httpx.Response(200, json={"status": "ok", "recommendations": []}, headers=headers)

    with client(handle) as api:
        assert api.ask("C", "request_recs") == ServedList("mine", "v1", None, ())
    assert list(answers) == []


def test_a_list_that_does_not_come_is_an_error_that_names_the_request() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        return httpx.Response(404, json={"title": "no such customer"})

    with client(handle) as api, pytest.raises(ListNotReady, match="mine"):
        api.wait_for_list("C", "mine", wait_seconds=0.0)


def test_a_repeated_post_keeps_its_idempotency_key() -> None:
    keys, answers = [], iter([httpx.Response(503, json=PROBLEM), httpx.Response(503, json=PROBLEM), OK])

    def handle(request: httpx.Request) -> httpx.Response:
        keys.append(request.headers["Idempotency-Key"])
        return next(answers)

    with client(handle) as api:
        api.record_interaction("C", "I")
        first = set(keys)
        answers = iter([OK])
        api.record_interaction("C", "I")
    assert len(keys) == 4
    assert len(first) == 1
    assert len(set(keys)) == 2


def test_a_gateway_that_stays_unavailable_is_given_up() -> None:
    calls = []

    def handle(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        return httpx.Response(503, json=PROBLEM)

    with client(handle) as api, pytest.raises(ApiUnavailable, match="503 no acknowledgement"):
        api.record_interaction("C", "I")
    assert len(calls) == 4


def test_a_refusal_is_not_repeated_and_names_the_field() -> None:
    calls = []

    def handle(request: httpx.Request) -> httpx.Response:
        calls.append(request)
        errors = [{"field": "isin", "message": "not in the catalogue"}]
        return httpx.Response(422, json={"detail": "See errors.", "errors": errors})

    with client(handle) as api, pytest.raises(ApiRefused, match="422 isin: not in the catalogue") as refused:
        api.record_interaction("C", "I")
    assert refused.value.status == 422
    assert len(calls) == 1


@pytest.mark.parametrize("body", ["<html>", "[]", '{"detail": null, "errors": [1]}', "null"])
def test_an_error_of_another_server_is_still_readable(body: str) -> None:
    with (
        client(lambda _: httpx.Response(400, text=body)) as api,
        pytest.raises(ApiRefused, match=r"GET http://127\.0\.0\.1:1/models: 400"),
    ):
        api.fetch("/models")


def test_nobody_listening_is_unavailable() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        raise httpx.ConnectError("connection refused")

    with client(handle) as api, pytest.raises(ApiUnavailable, match="connection refused"):
        api.fetch("/models")


@pytest.mark.parametrize("url", ["", "127.0.0.1:8000", "http://[", "ftp://host"])
def test_what_is_no_url_is_said_so(url: str) -> None:
    with pytest.raises(ApiUnavailable), ApiClient(url) as api:
        api.fetch("/models")


def test_all_pages_of_the_catalogue_are_read() -> None:
    def handle(request: httpx.Request) -> httpx.Response:
        assert request.url.params["sector"] == "Technology"
        offset = int(request.url.params["offset"])
        page = [{"isin": str(number)} for number in range(offset, min(offset + 2, 5))]
        return httpx.Response(200, json={"total": 5, "assets": page})

    with client(handle) as api:
        assert [asset["isin"] for asset in api.fetch_assets(sector="Technology")] == list("01234")


def test_the_share_of_a_sector_counts_names() -> None:
    items = tuple({"sector": sector} for sector in ("Technology", None, "Energy", "Technology"))

    assert ServedList(None, None, None, items).share_of("Technology") == 0.5
    assert ServedList(None, None, None, ()).share_of("Technology") == 0.0
