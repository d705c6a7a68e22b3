"""/v1 is an alias of every path, and the first version's paths are aliases too."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from prometheus_client import generate_latest

from api.app import create_app
from api.gateway import Gateway
from shared.events import RetrainRequested
from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher, FakeReader
from tests.unit.api.test_recommendations import ITEM, stored_list

REQUEST = {"customer_id": "C1", "action": "request_recs"}
CLICK = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}
EMPTY = {"status": "ok", "recommendations": []}


@pytest.fixture
def lenient(publisher: FakePublisher, reader: FakeReader) -> Iterator[AsgiClient]:
    """A gateway for clients of the first version, with LEGACY_EMPTY_LIST."""
    with AsgiClient(create_app(Gateway(publisher, reader, legacy_empty_list=True))) as client:
        yield client


def exposition(client: AsgiClient) -> str:
    return generate_latest(client.app.state.gateway.metrics.registry).decode()


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "DELETE", "PUT", "OPTIONS"])
@pytest.mark.parametrize(
    "path",
    [
        "/recommendations/C1",
        "/recommendations/nobody",
        "/recommendations/C1?wait=x",
        "/assets?limit=1",
        "/assets?limit=x",
        "/models",
        "/models/v7/frontier",
        "/health",
        "/health/live",
        "/retrain",
        "/nowhere",
        "/assets/",
        "/",
    ],
)
def test_an_alias_answers_as_the_path_itself(client: AsgiClient, reader: FakeReader, method: str, path: str) -> None:
    reader.lists["C1"] = stored_list(ITEM)
    plain, alias = client.request(method, path), client.request(method, f"/v1{path}")
    changing = {"x-request-id"} if method in ("POST", "DELETE") else set()
    seen = [{name: value for name, value in one.headers.items() if name not in changing} for one in (plain, alias)]
    assert (alias.status_code, alias.content, seen[1]) == (plain.status_code, plain.content, seen[0])
    assert alias.status_code not in (301, 307, 308)


@pytest.mark.parametrize(("path", "body"), [("/recommendations", REQUEST), ("/user_interactions", CLICK)])
def test_an_event_of_an_alias_is_the_same_event(
    client: AsgiClient, publisher: FakePublisher, path: str, body: dict[str, str]
) -> None:
    for prefix in ("", "/v1"):
        key = {"Idempotency-Key": "k"}
        assert client.post(prefix + path, json=body, headers=key).json() == {"status": "ok"}
    first, *others = [published.event.event_id for published in publisher.published]
    assert set(others) <= {first}


@pytest.mark.parametrize(
    "path", ["/v1", "/v1/v1/assets", "/v1assets", "/V1/assets", "/v1//assets", "/v2/assets", "/v1/v1"]
)
def test_only_one_whole_segment_is_the_prefix(client: AsgiClient, path: str) -> None:
    assert client.get(path).status_code == 404


@pytest.mark.parametrize("path", ["/v1/docs", "/v1/openapi.json", "/v1/docs/start.js"])
def test_the_description_has_no_alias(client: AsgiClient, path: str) -> None:
    assert client.get(path).status_code == 404
    assert client.get(path.removeprefix("/v1")).status_code == 200


def test_an_alias_counts_as_its_route(client: AsgiClient) -> None:
    client.get("/recommendations/C1")
    client.get("/v1/recommendations/C1")
    client.get("/v1/wp-admin")
    text = exposition(client)
    label = 'method="GET",route="/recommendations/{customer_id}",status="200"'
    assert f"recommender_gateway_http_requests_total{{{label}}} 2.0" in text
    assert "/v1" not in text


def test_an_alias_has_the_rules_of_its_path(client: AsgiClient, publisher: FakePublisher) -> None:
    assert client.get("/v1/health/live", headers={"Host": "10.1.2.3"}).status_code == 200
    assert client.get("/v1/models", headers={"Host": "10.1.2.3"}).status_code == 421
    assert client.post("/v1/models/retrain").status_code == 415
    assert client.post("/v1/recommendations", json=REQUEST, headers={"Origin": "null"}).status_code == 403
    assert publisher.published == []


def test_each_operation_is_described_once_and_the_aliases_of_the_first_version_as_such(client: AsgiClient) -> None:
    description = client.get("/openapi.json").json()
    assert not [path for path in description["paths"] if path.startswith("/v1")]
    assert "/v1" in description["info"]["description"]
    operations = [one for path in description["paths"].values() for one in path.values()]
    names = [operation["operationId"] for operation in operations]
    assert len(names) == len(set(names))
    legacy = [operation for operation in operations if "legacy" in operation["tags"]]
    assert len(legacy) >= 2
    assert all(operation["deprecated"] for operation in legacy)
    assert not any(operation.get("deprecated") for operation in operations if operation not in legacy)
    assert {tag for operation in operations for tag in operation["tags"]} <= {
        tag["name"] for tag in description["tags"]
    }


@pytest.mark.parametrize("host", ["127.0.0.1", "10.1.2.3:8000"])
def test_health_is_alive_under_any_name(client: AsgiClient, publisher: FakePublisher, host: str) -> None:
    publisher.reachable = False
    answer = client.get("/health", headers={"Host": host})
    assert (answer.status_code, answer.json()) == (200, {"status": "ok"})


def test_retrain_is_a_training_request_with_and_without_a_body(client: AsgiClient, publisher: FakePublisher) -> None:
    bodies: list[dict[str, str] | None] = [None, {"reason": "by hand"}, {}]
    for body in bodies:
        answer = client.post("/retrain", json=body)
        assert (answer.status_code, answer.json()) == (200, {"status": "ok"})
    events = [published.event for published in publisher.published]
    assert [event.reason for event in events if isinstance(event, RetrainRequested)] == [
        "requested",
        "by hand",
        "requested",
    ]


def test_no_web_page_of_another_origin_and_no_other_body_retrains(client: AsgiClient, publisher: FakePublisher) -> None:
    assert client.post("/retrain", headers={"Origin": "https://evil.example"}).status_code == 403
    assert client.post("/retrain", headers={"Origin": "null"}).status_code == 403
    form = {"Content-Type": "application/x-www-form-urlencoded"}
    assert client.post("/retrain", content=b"reason=x", headers=form).status_code == 415
    assert client.post("/retrain", json={"unknown": 1}).status_code == 422
    assert client.post("/models/retrain").status_code == 415
    assert client.get("/retrain").status_code == 405
    assert publisher.published == []


def test_an_unknown_customer_has_an_empty_list_where_the_setting_says_so(
    client: AsgiClient, lenient: AsgiClient, reader: FakeReader
) -> None:
    assert client.get("/recommendations/nobody").status_code == 404
    answer = lenient.get("/recommendations/nobody")
    assert (answer.status_code, answer.json()) == (200, EMPTY)
    assert "x-request-id" not in answer.headers
    assert lenient.get("/recommendations/.bad").status_code == 422
    reader.lists["C1"] = stored_list(ITEM)
    assert lenient.get("/recommendations/C1").json()["recommendations"] == [ITEM]
    reader.unavailable = True
    assert lenient.get("/recommendations/nobody").status_code == 503


def test_with_a_request_id_that_setting_does_not_count(lenient: AsgiClient) -> None:
    unknown = lenient.get("/recommendations/nobody?request_id=0198c0de-7a3b-7cde-8f01-23456789abcd")
    assert unknown.status_code in (202, 404)
