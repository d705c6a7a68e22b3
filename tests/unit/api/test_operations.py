"""Health, metrics, the limit of bodies, bugs, and the description at /docs."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

import pytest
import structlog
from prometheus_client import generate_latest
from structlog.testing import LogCapture

from api.app import create_app
from api.gateway import Gateway
from api.metrics import GatewayMetrics
from api.middleware import BODY_LIMIT_BYTES
from api.server import report_forever
from shared.errors import PublishFailed
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader

REQUEST = {"customer_id": "C1", "action": "request_recs"}
JSON = {"content-type": "application/json"}


def exposition(client: AsgiClient) -> str:
    """What the port for metrics answers."""
    metrics: GatewayMetrics = client.app.state.gateway.metrics
    return generate_latest(metrics.registry).decode()


def check_health(client: AsgiClient) -> None:
    client.run(client.app.state.gateway.health.check)


def test_alive_means_that_the_process_answers(client: AsgiClient, publisher: FakePublisher) -> None:
    publisher.reachable = False
    check_health(client)
    assert client.get("/health/live").json() == {"status": "ok"}


def test_ready_means_that_events_can_be_taken(client: AsgiClient, publisher: FakePublisher) -> None:
    assert client.get("/health/ready").status_code == 200
    publisher.reachable = False
    check_health(client)
    answer = client.get("/health/ready")
    assert answer.status_code == 503
    assert answer.json() == {"status": "unavailable", "broker": False, "database": True, "shutting_down": False}
    publisher.reachable = True
    check_health(client)
    assert client.get("/health/ready").status_code == 200


def test_a_database_that_is_away_is_reported_and_does_not_make_unready(client: AsgiClient, reader: FakeReader) -> None:
    reader.unavailable = True
    check_health(client)
    answer = client.get("/health/ready")
    assert answer.status_code == 200
    assert answer.json() == {"status": "ok", "broker": True, "database": False, "shutting_down": False}


def test_a_stopping_gateway_is_unready_and_still_answers(client: AsgiClient) -> None:
    client.app.state.gateway.health.begin_shutdown()
    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["shutting_down"]) == (503, True)
    assert client.post("/recommendations", json=REQUEST).status_code == 200


def test_health_checks_ask_nobody_while_they_are_answered(client: AsgiClient, reader: FakeReader) -> None:
    reader.calls.clear()
    for _ in range(10):
        client.get("/health/ready")
    assert reader.calls == []


def test_requests_are_counted_by_route_template_and_events_by_outcome(
    client: AsgiClient, publisher: FakePublisher
) -> None:
    client.get("/recommendations/C1")
    client.get("/recommendations/nobody")
    client.get("/wp-admin")
    client.request("BREW", "/recommendations")
    client.post("/recommendations", json=REQUEST)
    publisher.failure = PublishFailed(outcome_unknown=True)
    client.post("/recommendations", json=REQUEST)
    text = exposition(client)
    for line in (
        'recommender_gateway_http_requests_total{method="GET",route="/recommendations/{customer_id}",status="200"} 1.0',
        'recommender_gateway_http_requests_total{method="GET",route="/recommendations/{customer_id}",status="404"} 1.0',
        'recommender_gateway_http_requests_total{method="GET",route="unmatched",status="404"} 1.0',
        'recommender_gateway_http_requests_total{method="other",route="/recommendations",status="405"} 1.0',
        'recommender_gateway_http_request_seconds_count{method="POST",route="/recommendations"} 2.0',
        'recommender_gateway_published_events_total{outcome="acknowledged",topic="recommendations.requested.v1"} 1.0',
        'recommender_gateway_published_events_total{outcome="unknown",topic="recommendations.requested.v1"} 1.0',
        "recommender_gateway_producer_queue_length 0.0",
    ):
        assert line in text.splitlines()
    assert "nobody" not in text
    assert "wp-admin" not in text


def test_a_body_over_the_limit_is_413_by_its_length_alone(client: AsgiClient, publisher: FakePublisher) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(100):
            read += 1
            yield b" " * 1024

    headers = {**JSON, "content-length": str(BODY_LIMIT_BYTES + 1)}
    answer = client.post("/recommendations", content=body(), headers=headers)
    assert answer.status_code == 413
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.headers["connection"] == "close"
    assert read == 0
    assert publisher.published == []


@pytest.mark.parametrize("path", ["/nowhere", "/health/live", "/openapi.json"])
def test_a_length_over_the_limit_is_413_on_every_path(client: AsgiClient, path: str) -> None:
    answer = client.get(path, headers={"content-length": str(BODY_LIMIT_BYTES + 1)})
    assert (answer.status_code, answer.headers["connection"]) == (413, "close")


def test_a_streamed_body_is_413_as_soon_as_it_is_over_the_limit(client: AsgiClient) -> None:
    read = 0

    async def body() -> AsyncIterator[bytes]:
        nonlocal read
        for _ in range(1000):
            read += 1
            yield b" " * 1024

    answer = client.post("/user_interactions", content=body(), headers=JSON)
    assert answer.status_code == 413
    assert answer.headers["connection"] == "close"
    assert read <= BODY_LIMIT_BYTES // 1024 + 2


def test_a_body_of_exactly_the_limit_is_read(client: AsgiClient) -> None:
    content = b'{"customer_id": "C1", "action": "request_recs"}'.ljust(BODY_LIMIT_BYTES)
    assert client.post("/recommendations", content=content, headers=JSON).status_code == 200
    assert client.post("/recommendations", content=content + b" ", headers=JSON).status_code == 413


def test_a_bug_is_a_500_without_its_inside_and_one_log_line(
    client: AsgiClient, publisher: FakePublisher, failures: LogCapture
) -> None:
    publisher.failure = ZeroDivisionError("secret inside")
    answer = client.post("/recommendations", json=REQUEST)
    assert answer.status_code == 500
    assert answer.headers["content-type"] == "application/problem+json"
    assert "secret" not in answer.text
    assert [entry["event"] for entry in failures.entries] == ["request.failed"]
    assert 'route="/recommendations",status="500"} 1.0' in exposition(client)


def test_the_description_documents_problems_and_examples(client: AsgiClient) -> None:
    description = client.get("/openapi.json").json()
    posts = description["paths"]["/recommendations"]["post"]["responses"]
    assert set(posts) == {"200", "413", "415", "422", "503"}
    assert list(posts["422"]["content"]) == ["application/problem+json"]
    assert "Retry-After" in posts["503"]["headers"]
    assert {"Problem", "FieldProblem", "RecommendationItem"} <= set(description["components"]["schemas"])
    assert "HTTPValidationError" not in str(description["paths"])
    body = description["components"]["schemas"]["RecommendationsBody"]["properties"]
    assert body["customer_id"]["examples"] == ["85583A768E48870A546D"]
    assert client.get("/docs").status_code == 200


def test_the_lifespan_starts_and_closes_the_publisher(publisher: FakePublisher, client: AsgiClient) -> None:
    assert publisher.started
    assert not publisher.closed
    client.run(lambda: client._lifespan.__aexit__(None, None, None))
    assert publisher.closed


def test_metrics_are_not_on_the_public_port(client: AsgiClient) -> None:
    assert client.get("/metrics").status_code == 404


@pytest.mark.parametrize(
    "path", ["/health/live", "/health/ready", "/assets", "/models", "/recommendations/C1", "/docs"]
)
def test_head_is_answered_as_get_without_body(client: AsgiClient, path: str) -> None:
    head, get = client.request("HEAD", path), client.get(path)
    assert (head.status_code, head.headers, head.content) == (get.status_code, get.headers, b"")
    assert get.content != b""


def test_head_of_what_is_no_get_and_of_nothing_is_as_get(client: AsgiClient) -> None:
    assert client.request("HEAD", "/models/retrain").status_code == 405
    assert client.request("HEAD", "/recommendations/nobody").status_code == 404
    assert 'method="HEAD",route="/recommendations/{customer_id}",status="404"} 1.0' in exposition(client)


def test_a_bug_in_one_question_leaves_the_other_answer(client: AsgiClient, monkeypatch: pytest.MonkeyPatch) -> None:
    async def fail(_: FakeReader) -> bool:
        raise KeyError("bug")

    monkeypatch.setattr(FakeReader, "is_reachable", fail)
    check_health(client)

    answer = client.get("/health/ready")
    assert (answer.status_code, answer.json()["broker"], answer.json()["database"]) == (200, True, False)


@pytest.mark.parametrize(("checked", "status"), [(True, "ok"), (False, "unavailable")])
def test_a_process_that_joins_others_is_ready_before_its_first_request(checked: bool, status: str) -> None:
    gateway = Gateway(FakePublisher(), FakeReader())
    app = create_app(gateway, checked_before_serving=checked)

    async def status_at_start() -> str:
        async with app.router.lifespan_context(app):
            return gateway.health.readiness().status

    assert asyncio.run(status_at_start()) == status


def test_a_report_that_fails_is_logged_and_the_next_one_is_made(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("api.server.REPORT_SECONDS", 0.0)
    capture, third = LogCapture(), asyncio.Event()
    made: list[int] = []
    monkeypatch.setattr("api.server.log", structlog.wrap_logger(None, processors=[capture]))

    def report() -> None:
        made.append(len(made))
        if len(made) == 3:
            third.set()
        raise RuntimeError("a bug")

    async def until_third() -> None:
        reporting = asyncio.create_task(report_forever(report))
        await asyncio.wait_for(third.wait(), 20)
        reporting.cancel()

    asyncio.run(until_third())
    assert [entry["event"] for entry in capture.entries][:2] == ["report.failed"] * 2
