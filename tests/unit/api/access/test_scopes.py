"""Every route declares its scope, and nothing of a request is read before its caller is admitted."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from api.access.control import AccessControl
from api.access.principals import CUSTOMER_SCOPES, PUBLIC, ROUTE_SCOPES, Scope
from api.app import create_app, routes_of
from api.gateway import Gateway
from shared.errors import ConfigurationInvalid
from tests.access import ALL_SCOPES, KnownCallers, bearer, caller, guarded_client
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader

PROTECTED = sorted(route for route, scopes in ROUTE_SCOPES.items() if scopes != PUBLIC)
# Bodies of POST; the plain ones take the way of api/direct_calls.py.
BODIES: dict[str, Any] = {
    "/recommendations": {"customer_id": "C1", "action": "request_recs"},
    "/recommendations:batch": {"requests": [{"customer_id": "C1", "action": "request_recs"}]},
    "/user_interactions": {"customer_id": "C1", "isin": "GRS434003000", "type": "click"},
    "/transactions": {
        "customer_id": "C1",
        "isin": "GRS434003000",
        "type": "Buy",
        "units": 1.0,
        "total_value": 2.0,
        "executed_at": "2026-01-02T03:04:05Z",
        "transaction_id": "1",
    },
    "/watchlist/{customer_id}": {"isin": "GRS434003000"},
}
VALUES = {
    "name": "Stock",
    "customer_id": "C1",
    "isin": "GRS434003000",
    "request_id": "0b7c3c0e-3f5e-4a53-9d0f-5f1d0c2a9b11",
    "version": "v1",
}
WAYS = [("", "application/json"), ("", "application/json; charset=utf-8"), ("/v1", "application/json")]


@pytest.fixture
def app(publisher: FakePublisher, reader: FakeReader) -> FastAPI:
    return create_app(Gateway(publisher, reader))


@pytest.fixture
def client(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    """A gateway that knows `all`, a caller for each scope, and one for each scope that lacks only it."""
    callers = {"all": caller(*Scope)}
    callers |= {scope.value: caller(scope) for scope in Scope}
    callers |= {f"without {scope.value}": caller(*(ALL_SCOPES - {scope})) for scope in Scope}
    with guarded_client(publisher, reader, AccessControl(KnownCallers(callers), rate_limit=None)) as client:
        reader.calls.clear()
        yield client


def send(client: AsgiClient, method: str, path: str, way: tuple[str, str], credentials: str | None) -> httpx.Response:
    prefix, content_type = way
    headers = {**({} if credentials is None else bearer(credentials)), "X-Requested-With": "test"}
    body = {"json": BODIES[path]} if path in BODIES and method == "POST" else {}
    if body:
        headers["Content-Type"] = content_type
    return client.request(method, prefix + path.format(**VALUES), headers=headers, **body)


def test_every_route_declares_its_scope_and_the_table_has_no_other(app: FastAPI) -> None:
    routes = {(method, route.path) for route in routes_of(app) for method in route.methods or () if method != "HEAD"}

    assert routes == set(ROUTE_SCOPES)


@pytest.mark.parametrize(
    "route", [("POST", "/recommendations"), ("GET", "/health/live"), ("DELETE", "/models/retrain")]
)
def test_a_gateway_with_a_route_without_a_scope_does_not_start(
    publisher: FakePublisher, reader: FakeReader, monkeypatch: pytest.MonkeyPatch, route: tuple[str, str]
) -> None:
    access = AccessControl(KnownCallers({}), rate_limit=None)
    create_app(Gateway(publisher, reader, access=access))
    monkeypatch.delitem(ROUTE_SCOPES, route)

    with pytest.raises(ConfigurationInvalid, match=f"{route[0]} {route[1]} has no scope"):
        create_app(Gateway(publisher, reader, access=access))


def test_a_protected_route_that_access_control_does_not_see_does_not_start(
    publisher: FakePublisher, reader: FakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(ROUTE_SCOPES, ("GET", "/docs"), (Scope.AUDIT_READ,))

    with pytest.raises(ConfigurationInvalid, match="GET /docs is no JsonRoute"):
        create_app(Gateway(publisher, reader, access=AccessControl(KnownCallers({}), rate_limit=None)))


@pytest.mark.parametrize("way", WAYS, ids=["plain", "routed", "v1"])
@pytest.mark.parametrize(("method", "path"), [route for route in PROTECTED if not route[1].endswith("/events")])
def test_a_protected_route_needs_a_caller_with_its_scope(
    client: AsgiClient, publisher: FakePublisher, reader: FakeReader, method: str, path: str, way: tuple[str, str]
) -> None:
    needed = ROUTE_SCOPES[method, path]
    for credentials in (None, "nobody"):
        answer = send(client, method, path, way, credentials)
        assert answer.status_code == 401
        assert answer.headers["WWW-Authenticate"].startswith('Bearer realm="far-trans-recommender"')
        assert ('error="invalid_token"' in answer.headers["WWW-Authenticate"]) == (credentials is not None)
    lacking = f"without {needed[0].value}" if len(needed) == 1 else "events:write"
    answer = send(client, method, path, way, lacking)
    assert answer.status_code == 403
    assert answer.json()["type"].endswith(":missing-scope")
    assert needed[0].value in answer.json()["detail"]
    assert f'scope="{needed[0].value}"' in answer.headers["WWW-Authenticate"]
    assert (publisher.published, reader.calls) == ([], [])

    for scope in needed:
        assert send(client, method, path, way, scope.value).status_code not in (401, 403)


def test_the_stream_needs_a_caller_with_its_scope(client: AsgiClient, reader: FakeReader) -> None:
    assert send(client, "GET", "/recommendations/{customer_id}/events", ("", ""), None).status_code == 401
    answer = send(client, "GET", "/recommendations/{customer_id}/events", ("", ""), "events:write")
    assert answer.status_code == 403
    assert reader.calls == []


@pytest.mark.parametrize(
    "path", ["/health", "/health/live", "/health/ready", "/docs", "/docs/start.js", "/openapi.json"]
)
def test_probes_and_the_description_answer_anybody(client: AsgiClient, path: str) -> None:
    assert client.get(path).status_code in (200, 503)
    assert client.get(path, headers=bearer("nobody")).status_code in (200, 503)


def test_a_body_that_is_not_valid_is_not_looked_at_before_the_caller_is(client: AsgiClient) -> None:
    for content_type in ("application/json", "text/plain"):
        answer = client.post("/recommendations", content=b"{", headers={"Content-Type": content_type})
        assert answer.status_code == 401


@pytest.mark.parametrize(
    "headers",
    [
        [("Authorization", "Bearer all"), ("Authorization", "Bearer all")],
        [("Authorization", "Basic all")],
        [("Authorization", "Bearer")],
        [("Authorization", "all")],
        [("X-API-Key", "all")],
    ],
)
def test_credentials_come_in_one_header_of_one_form(client: AsgiClient, headers: list[tuple[str, str]]) -> None:
    assert client.get("/assets", headers=headers).status_code == 401


def test_the_scheme_is_read_without_regard_to_case(client: AsgiClient) -> None:
    assert client.get("/assets", headers={"Authorization": "bearer  all"}).status_code == 200


def test_a_caller_of_one_customer_has_no_scope_that_concerns_all() -> None:
    assert caller(*Scope, customer_id="C1").scopes == CUSTOMER_SCOPES
