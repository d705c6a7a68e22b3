"""Every answer has the security headers, and no log line at INFO and above has the id of a customer."""

from __future__ import annotations

import logging
from collections.abc import Iterator

import pytest
import structlog

from api.access.control import AccessControl
from api.access.principals import ROUTE_SCOPES, Scope
from api.app import create_app
from api.gateway import Gateway
from tests.access import KnownCallers, bearer, caller, guarded_client
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader, broker_down
from tests.unit.api.access.test_scopes import BODIES, VALUES

MARKER = "MARKER85583A768E48870A546D"
ROUTES = sorted(route for route in ROUTE_SCOPES if not route[1].endswith("/events"))


@pytest.fixture
def logged(caplog: pytest.LogCaptureFixture) -> Iterator[pytest.LogCaptureFixture]:
    """All that is logged, with tracebacks, rendered as in production."""
    before = structlog.get_config()
    structlog.configure(
        processors=[
            structlog.stdlib.add_log_level,
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        wrapper_class=structlog.stdlib.BoundLogger,
        cache_logger_on_first_use=False,
    )
    caplog.set_level(logging.INFO)
    caplog.set_level(logging.WARNING, logger="httpx")  # of the test's own client
    yield caplog
    structlog.configure(**before)


class BrokenReader(FakeReader):
    """A database whose reads end with a bug."""

    def _called(self, name: str) -> None:
        super()._called(name)
        if name not in ("fetch_assets", "fetch_reference_version"):
            raise RuntimeError("a bug")


def drive(client: AsgiClient, customer_id: str, headers: dict[str, str]) -> set[int]:
    """Call every route, plain and with a query, with this customer."""
    statuses = set()
    for method, path in ROUTES:
        for query in ("", "?x=1"):
            body = {"json": _with_customer(BODIES[path], customer_id)} if path in BODIES and method == "POST" else {}
            address = path.format(**{**VALUES, "customer_id": customer_id, "name": "start.js"}) + query
            answer = client.request(method, address, headers={"X-Requested-With": "t", **headers}, **body)
            statuses.add(answer.status_code)
            assert_secure(method, answer.headers, is_page=path.startswith("/docs") or path == "/openapi.json")
            if method != "GET" or answer.status_code not in (200, 304):
                assert answer.headers["Cache-Control"] == "no-store", address
    return statuses


def _with_customer(body: object, customer_id: str) -> object:
    if isinstance(body, dict):
        return {
            key: customer_id if key == "customer_id" else _with_customer(one, customer_id) for key, one in body.items()
        }
    return [_with_customer(one, customer_id) for one in body] if isinstance(body, list) else body


def assert_secure(method: str, headers: object, *, is_page: bool) -> None:
    given = dict(headers.multi_items())  # type: ignore[attr-defined]
    assert given["x-content-type-options"] == "nosniff"
    policy = given["content-security-policy"]
    assert "default-src 'none'" in policy
    assert "frame-ancestors 'none'" in policy
    assert ("script-src" in policy) == is_page
    assert "server" not in given


@pytest.mark.parametrize("state", ["works", "broker away", "database away", "database busy", "bug"])
def test_no_line_has_a_customer_and_every_answer_has_the_headers(
    state: str, publisher: FakePublisher, reader: FakeReader, logged: pytest.LogCaptureFixture
) -> None:
    reader = BrokenReader(customers={MARKER}, assets=reader.assets) if state == "bug" else reader
    with AsgiClient(create_app(Gateway(publisher, reader))) as client:
        client.run(client.app.state.gateway.catalogue.refresh)
        publisher.failure = broker_down() if state == "broker away" else None
        reader.unavailable, reader.busy = state == "database away", state == "database busy"
        statuses = drive(client, MARKER, {})

    assert {"works": 200, "bug": 500}.get(state, 503) in statuses
    assert MARKER not in logged.text
    if state != "works":
        assert "/recommendations" in logged.text, "lines name the template of the route"


def test_refusals_have_the_headers_and_name_no_customer(
    publisher: FakePublisher, reader: FakeReader, logged: pytest.LogCaptureFixture
) -> None:
    access = AccessControl(KnownCallers({"own": caller(*Scope, customer_id="OWN")}), rate_limit="30/hour")
    with guarded_client(publisher, reader, access) as client:
        assert 401 in drive(client, MARKER, {})
        assert {404, 403, 429} <= drive(client, MARKER, bearer("own"))
        assert client.get("/health/live", headers={"Host": "evil.example"}).status_code == 200
        answer = client.get("/assets", headers={"Host": "evil.example"})
        assert answer.status_code == 421
        assert_secure("GET", answer.headers, is_page=False)
    assert MARKER not in logged.text
