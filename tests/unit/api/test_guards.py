"""Names in Host and origins of web pages: who may call at all."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest

from api.app import create_app
from api.gateway import Gateway
from api.middleware import Admission
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader

REQUEST = {"customer_id": "C1", "action": "request_recs"}
APP = "https://app.example"
PREFLIGHT = {"Origin": APP, "Access-Control-Request-Method": "POST", "Access-Control-Request-Headers": "content-type"}


@pytest.fixture
def serve(publisher: FakePublisher, reader: FakeReader) -> Iterator[Callable[..., AsgiClient]]:
    """Return a client of a gateway that admits what is given."""
    clients: list[AsgiClient] = []

    def start(*, hosts: str = "localhost 127.0.0.1 [::1]", origins: str = "") -> AsgiClient:
        admission = Admission(frozenset(hosts.split()), frozenset(origins.split()))
        clients.append(AsgiClient(create_app(Gateway(publisher, reader), admission=admission)).__enter__())
        return clients[-1]

    yield start
    for client in clients:
        client.__exit__(None, None, None)


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.1:8000", "localhost", "LOCALHOST:80", "[::1]", "[::1]:8000"])
def test_loopback_names_are_answered_with_any_port(client: AsgiClient, host: str) -> None:
    assert client.get("/models", headers={"Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    ["evil.example", "127.0.0.1.evil.example", "localhost.evil.example:80", "127.0.0.1:x", "", "evil:127.0.0.1"],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/models"), ("POST", "/recommendations"), ("GET", "/docs")])
def test_another_name_is_421(client: AsgiClient, publisher: FakePublisher, host: str, method: str, path: str) -> None:
    answer = client.request(method, path, json=REQUEST, headers={"Host": host})
    assert answer.status_code == 421
    assert answer.headers["content-type"] == "application/problem+json"
    assert publisher.published == []


def test_two_names_are_421(client: AsgiClient) -> None:
    answer = client.get("/models", headers=[("Host", "127.0.0.1"), ("Host", "127.0.0.1")])
    assert answer.status_code == 421


@pytest.mark.parametrize("path", ["/health/live", "/health/ready"])
def test_probes_are_answered_under_any_name(client: AsgiClient, path: str) -> None:
    assert client.get(path, headers={"Host": "10.1.2.3:8000"}).status_code == 200


def test_allowed_hosts_may_have_a_port_and_a_star_allows_all(serve: Callable[..., AsgiClient]) -> None:
    client = serve(hosts="api recs.example:8443")
    statuses = {
        host: client.get("/models", headers={"Host": host}).status_code
        for host in ("api", "api:8000", "recs.example:8443", "recs.example", "127.0.0.1")
    }
    assert statuses == {"api": 200, "api:8000": 200, "recs.example:8443": 200, "recs.example": 421, "127.0.0.1": 421}
    assert serve(hosts="*").get("/models", headers={"Host": "anything"}).status_code == 200


@pytest.mark.parametrize(
    "origin",
    [
        "null",
        "https://evil.example",
        "http://127.0.0.1:3000",
        "http://localhost",
        "http://127.0.0.1.evil.example",
        "file://127.0.0.1",
        "http://127.0.0.1/",
        "http://[",
        "",
    ],
)
@pytest.mark.parametrize(("method", "path"), [("GET", "/models"), ("POST", "/recommendations"), ("OPTIONS", "/models")])
def test_a_foreign_origin_is_403(
    client: AsgiClient, publisher: FakePublisher, origin: str, method: str, path: str
) -> None:
    answer = client.request(method, path, json=REQUEST, headers={"Origin": origin})
    assert answer.status_code == 403
    assert answer.headers["content-type"] == "application/problem+json"
    assert "access-control-allow-origin" not in answer.headers
    assert publisher.published == []


@pytest.mark.parametrize("host", ["127.0.0.1:8000", "localhost:8000", "127.0.0.1"])
@pytest.mark.parametrize("scheme", ["http", "https"])
def test_the_gateways_own_pages_may_call(client: AsgiClient, host: str, scheme: str) -> None:
    headers = {"Host": host, "Origin": f"{scheme}://{host}"}
    assert client.post("/recommendations", json=REQUEST, headers=headers).status_code == 200


def test_an_allowed_origin_gets_its_preflight_and_its_answers(serve: Callable[..., AsgiClient]) -> None:
    client = serve(origins=APP)
    preflight = client.request("OPTIONS", "/recommendations", headers=PREFLIGHT)
    assert preflight.status_code == 200
    assert preflight.headers["access-control-allow-origin"] == APP
    assert preflight.headers["access-control-allow-methods"] == "GET, HEAD, POST, DELETE"
    answer = client.post("/recommendations", json=REQUEST, headers={"Origin": APP})
    assert (answer.status_code, answer.headers["access-control-allow-origin"]) == (200, APP)
    exposed = answer.headers["access-control-expose-headers"]
    for name in ("X-Request-ID", "X-Model-Version", "X-Recommendation-Basis", "X-Recommendation-Stale", "Retry-After"):
        assert name in exposed
    assert client.get("/models", headers={"Origin": "https://evil.example"}).status_code == 403


def test_without_allowed_origins_a_preflight_is_refused(client: AsgiClient) -> None:
    assert client.request("OPTIONS", "/recommendations", headers=PREFLIGHT).status_code == 403
