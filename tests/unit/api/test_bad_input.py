"""Whatever a caller sends, the answer is a problem that names the field, never a 500, and nothing is published."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher

REQUEST: dict[str, Any] = {"customer_id": "C1", "action": "request_recs"}
CLICK: dict[str, Any] = {"customer_id": "C1", "isin": "GRS434003000", "type": "click"}
ORDER: dict[str, Any] = {
    "customer_id": "C1",
    "isin": "GRS434003000",
    "type": "Buy",
    "units": 45,
    "total_value": 580.5,
    "executed_at": "2026-01-02T10:30:00Z",
    "transaction_id": "8061977",
}
JSON = {"content-type": "application/json"}


def without(body: dict[str, Any], name: str) -> dict[str, Any]:
    return {key: value for key, value in body.items() if key != name}


def weighted(**weights: object) -> dict[str, Any]:
    return {**REQUEST, "weights": weights}


BAD_AMOUNTS: list[Any] = [-1, -1e-9, float("nan"), float("inf"), 1e308, 1e12 + 1, "45", True, None, []]
BAD_FIELDS = [
    ("/recommendations", {**REQUEST, "action": "delete_recs"}, "action"),
    ("/recommendations", {**REQUEST, "action": None}, "action"),
    ("/recommendations", {**REQUEST, "action": ["request_recs"]}, "action"),
    ("/recommendations", without(REQUEST, "action"), "action"),
    ("/recommendations", {**REQUEST, "customer_id": ""}, "customer_id"),
    ("/recommendations", {**REQUEST, "customer_id": "x" * 10_240}, "customer_id"),
    ("/recommendations", {**REQUEST, "customer_id": "x" * 65}, "customer_id"),
    ("/recommendations", {**REQUEST, "customer_id": "a b"}, "customer_id"),
    ("/recommendations", {**REQUEST, "customer_id": "C1\n"}, "customer_id"),
    ("/recommendations", {**REQUEST, "customer_id": "C1\x00"}, "customer_id"),
    ("/recommendations", {**REQUEST, "customer_id": 7}, "customer_id"),
    ("/recommendations", without(REQUEST, "customer_id"), "customer_id"),
    ("/recommendations", {**REQUEST, "customerId": "C1"}, "customerId"),
    ("/recommendations", weighted(collaborative=-0.1), "weights.collaborative"),
    ("/recommendations", {**REQUEST, "preset": "greedy"}, "preset"),
    ("/recommendations", {**weighted(content=1.0), "preset": "popular"}, "preset"),
    ("/recommendations", weighted(content="much"), "weights.content"),
    ("/recommendations", weighted(content=float("nan")), "weights.content"),
    ("/recommendations", weighted(profitability=float("inf")), "weights.profitability"),
    ("/recommendations", weighted(profitability=float("-inf")), "weights.profitability"),
    ("/recommendations", weighted(collaborative=0, content=0, profitability=0), "weights"),
    ("/recommendations", weighted(), "weights"),
    ("/recommendations", weighted(collaborative=1, luck=1), "weights.luck"),
    ("/recommendations", {**REQUEST, "weights": [1, 1, 1]}, "weights"),
    ("/user_interactions", {**CLICK, "type": "buy"}, "type"),
    ("/user_interactions", without(CLICK, "type"), "type"),
    ("/user_interactions", {**CLICK, "isin": "XS0000000000"}, "isin"),
    ("/user_interactions", {**CLICK, "isin": ""}, "isin"),
    ("/user_interactions", {**CLICK, "isin": "x" * 21}, "isin"),
    ("/user_interactions", {**CLICK, "isin": "GR\x00"}, "isin"),
    ("/user_interactions", {**CLICK, "customer_id": ""}, "customer_id"),
    ("/user_interactions", {**CLICK, "weight": "9"}, "weight"),
    ("/user_interactions", {**CLICK, "strength": 9}, "strength"),
    *(("/transactions", without(ORDER, name), name) for name in ORDER),
    *(("/transactions", {**ORDER, name: value}, name) for name in ("units", "total_value") for value in BAD_AMOUNTS),
    *(("/transactions", {**ORDER, "units": value}, "units") for value in (0, -0.0, 5e-324)),
    *(("/transactions", {**ORDER, "type": value}, "type") for value in ("buy", "SELL", "click", None)),
    *(
        ("/transactions", {**ORDER, "executed_at": value}, "executed_at")
        for value in ("1900-01-01T00:00:00Z", "2026-01-02T10:30:00", "2026-01-02", "2999-01-01T00:00:00Z", "now", None)
    ),
    *(
        ("/transactions", {**ORDER, "transaction_id": value}, "transaction_id")
        for value in ("", "x" * 65, "x" * 10_240, "a b", "a\x00", "a\n", "\u00df", 8061977)
    ),
    *(("/transactions", {**ORDER, "currency": value}, "currency") for value in ("", "eur", "EURO", "E1R", 978)),
    ("/transactions", {**ORDER, "isin": "XS0000000000"}, "isin"),
    ("/transactions", {**ORDER, "customer_id": "a b"}, "customer_id"),
    ("/transactions", {**ORDER, "channel": "app"}, "channel"),
    ("/models/retrain", {"reason": ""}, "reason"),
    ("/models/retrain", {"reason": "x" * 201}, "reason"),
    ("/models/retrain", {"why": "x"}, "why"),
    ("/models/retrain", {"reason": "two\nlines"}, "reason"),
    ("/models/retrain", {"reason": "a separator \u2028"}, "reason"),
]


@pytest.mark.parametrize(("path", "body", "field"), BAD_FIELDS)
def test_a_bad_field_is_422_and_named(
    client: AsgiClient, publisher: FakePublisher, path: str, body: dict[str, Any], field: str
) -> None:
    answer = client.post(path, content=json.dumps(body), headers=JSON)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == 422
    assert field in [error["field"] for error in answer.json()["errors"]]
    assert publisher.published == []


BAD_BODIES = [
    (b"", JSON),
    (b"{", JSON),
    (b"not json", JSON),
    (b"null", JSON),
    (b"7", JSON),
    (b"[]", JSON),
    (b'"text"', JSON),
    (b"\xff\xfe\x00", JSON),
    (b'{"customer_id": "\xff"}', JSON),
    (b'{"customer_id": "\\ud800", "action": "request_recs"}', JSON),
    (b"[" * 60_000, JSON),
    (b'{"a":' * 10_000, JSON),
    (b'{"weights": {"content": ' + b"1" * 60_000 + b"}}", JSON),
    (json.dumps(REQUEST).encode("utf-16"), JSON),
    (json.dumps(REQUEST).encode("utf-8-sig"), JSON),
]


@pytest.mark.parametrize(("content", "headers"), BAD_BODIES)
@pytest.mark.parametrize("path", ["/recommendations", "/user_interactions"])
def test_a_body_that_is_no_json_object_is_422_for_the_body(
    client: AsgiClient, publisher: FakePublisher, path: str, content: bytes, headers: dict[str, str]
) -> None:
    answer = client.post(path, content=content, headers=headers)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["body"]
    assert publisher.published == []


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"{", "EOF while parsing"), (b"[" * 60_000, "recursion limit"), (b'{"a": "\xff"}', "invalid unicode")],
)
def test_the_answer_says_where_the_json_is_broken(client: AsgiClient, content: bytes, message: str) -> None:
    answer = client.post("/recommendations", content=content, headers=JSON)
    [error] = answer.json()["errors"]
    assert error["message"].startswith(f"not JSON: {message}")
    assert "line 1 column" in error["message"]


NO_JSON = [
    {},
    {"content-type": ""},
    {"content-type": "text/plain"},
    {"content-type": "text/json"},
    {"content-type": "application/x-www-form-urlencoded"},
    {"content-type": "multipart/form-data; boundary=x"},
    {"content-type": "application/jsonp"},
    {"content-type": "application/json; charset=utf-16"},
    {"content-type": "application/json, text/plain"},
    {"x-requested-with": "curl"},
]


@pytest.mark.parametrize("headers", NO_JSON)
@pytest.mark.parametrize("path", ["/recommendations", "/user_interactions", "/transactions", "/models/retrain"])
def test_a_body_that_is_not_announced_as_json_is_415_and_the_answer_names_the_header(
    client: AsgiClient, publisher: FakePublisher, path: str, headers: dict[str, str]
) -> None:
    answer = client.post(path, content=json.dumps(REQUEST), headers=headers)
    assert answer.status_code == 415, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["detail"].startswith("Content-Type must be application/json")
    assert publisher.published == []


@pytest.mark.parametrize(
    "content_type",
    ["application/json", "Application/JSON; charset=UTF-8", 'application/json;charset="utf-8"', "application/x+json"],
)
def test_every_spelling_of_json_is_taken(client: AsgiClient, content_type: str) -> None:
    answer = client.post("/recommendations", content=json.dumps(REQUEST), headers={"content-type": content_type})
    assert answer.status_code == 200, answer.text


@pytest.mark.parametrize("encoding", ["gzip", "br", "identity, gzip"])
def test_an_encoded_body_is_415(client: AsgiClient, encoding: str) -> None:
    answer = client.post("/recommendations", json=REQUEST, headers={"content-encoding": encoding})
    assert answer.status_code == 415
    assert "Content-Encoding" in answer.json()["detail"]


@pytest.mark.parametrize("path", ["/models/retrain", "/models/v1/activate"])
@pytest.mark.parametrize("content_type", [None, "text/plain", "application/x-www-form-urlencoded"])
def test_a_command_without_body_that_a_web_page_could_send_is_415(
    client: AsgiClient, publisher: FakePublisher, path: str, content_type: str | None
) -> None:
    headers = {} if content_type is None else {"content-type": content_type}
    answer = client.post(path, headers=headers)
    assert answer.status_code == 415
    assert "X-Requested-With" in answer.json()["detail"]
    assert publisher.published == []


@pytest.mark.parametrize("headers", [JSON, {"x-requested-with": "curl"}])
def test_a_command_without_body_needs_a_header_that_no_web_page_can_send(
    client: AsgiClient, headers: dict[str, str]
) -> None:
    assert client.post("/models/retrain", headers=headers).status_code == 200


@pytest.mark.parametrize(
    ("content", "field"),
    [
        (b'{"customer_id": "C1", "customer_id": "C2", "action": "request_recs"}', "customer_id"),
        (b'{"customer_id": "C1", "customer_id": "C1", "action": "request_recs"}', "customer_id"),
        (
            b'{"customer_id": "C1", "action": "request_recs", "weights": {"content": 1, "content": 2}}',
            "weights.content",
        ),
        (b'{"customer_id": "C1", "action": "request_recs", "x": [{}, {"a": 1, "\\u0061": 2}]}', "x.1.a"),
    ],
)
def test_a_key_given_twice_is_422_and_named(
    client: AsgiClient, publisher: FakePublisher, content: bytes, field: str
) -> None:
    answer = client.post("/recommendations", content=content, headers=JSON)
    assert answer.status_code == 422
    assert answer.json()["errors"] == [{"field": field, "message": "this key is given twice"}]
    assert publisher.published == []


def test_one_name_in_two_objects_is_no_doubled_key(client: AsgiClient) -> None:
    content = b'{"reason": "a", "x": {"reason": "b"}}'
    answer = client.post("/models/retrain", content=content, headers=JSON)
    assert [error["field"] for error in answer.json()["errors"]] == ["x"]


def test_a_number_too_large_for_a_float_names_its_field(client: AsgiClient) -> None:
    content = b'{"customer_id": "C1", "action": "request_recs", "weights": {"content": 1e999}}'
    answer = client.post("/recommendations", content=content, headers=JSON)
    assert [error["field"] for error in answer.json()["errors"]] == ["weights.content"]
    content = b'{"customer_id": "C1", "action": "request_recs", "weights": {"content": ' + b"9" * 4000 + b"}}"
    answer = client.post("/recommendations", content=content, headers=JSON)
    assert [error["field"] for error in answer.json()["errors"]] == ["weights.content"]


def test_thousands_of_unknown_fields_do_not_make_a_long_answer(client: AsgiClient) -> None:
    body = {**REQUEST, **{f"field{number}": 1 for number in range(4000)}}
    answer = client.post("/recommendations", json=body)
    assert answer.status_code == 422
    assert len(answer.content) < 8_000


@pytest.mark.parametrize(
    ("path", "field"),
    [
        ("/recommendations/" + "x" * 10_240, "customer_id"),
        ("/recommendations/a%20b", "customer_id"),
        ("/recommendations/a%00", "customer_id"),
        ("/recommendations/%ff%fe", "customer_id"),
        ("/assets?limit=0", "limit"),
        ("/assets?limit=1001", "limit"),
        ("/assets?limit=many", "limit"),
        ("/assets?offset=-1", "offset"),
        ("/assets?offset=99999999999999999999", "offset"),
        ("/assets?sector=%00", "sector"),
        ("/assets?category=" + "x" * 201, "category"),
        ("/models?limit=-1", "limit"),
    ],
)
def test_a_bad_path_or_query_is_422_and_named(client: AsgiClient, path: str, field: str) -> None:
    answer = client.get(path)
    assert answer.status_code == 422, answer.text
    assert answer.headers["content-type"] == "application/problem+json"
    assert [error["field"] for error in answer.json()["errors"]] == [field]


@pytest.mark.parametrize("version", ["%00", "a%20b", ".hidden", "x" * 65])
def test_a_bad_model_version_is_422_and_named(client: AsgiClient, publisher: FakePublisher, version: str) -> None:
    answer = client.post(f"/models/{version}/activate", headers=JSON)
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["version"]
    assert publisher.published == []


@pytest.mark.parametrize("key", ["", "k" * 201, "two words", "tab\there", "é".encode("latin-1")])
@pytest.mark.parametrize("path", ["/recommendations", "/user_interactions", "/transactions", "/models/retrain"])
def test_a_bad_idempotency_key_is_422_and_named(
    client: AsgiClient, publisher: FakePublisher, path: str, key: str | bytes
) -> None:
    body = {"/recommendations": REQUEST, "/user_interactions": CLICK, "/transactions": ORDER}.get(path, {})
    answer = client.post(path, json=body, headers={"Idempotency-Key": key})
    assert answer.status_code == 422, answer.text
    assert [error["field"] for error in answer.json()["errors"]] == ["Idempotency-Key"]
    assert publisher.published == []


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/nowhere", 404),
        ("GET", "/recommendations/a/b", 404),
        ("GET", "/recommendations/", 404),
        ("PUT", "/recommendations", 405),
        ("DELETE", "/recommendations/C1", 405),
        ("GET", "/models/retrain", 405),
    ],
)
def test_wrong_paths_and_methods_are_problems_too(client: AsgiClient, method: str, path: str, status: int) -> None:
    answer = client.request(method, path)
    assert answer.status_code == status
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["status"] == status


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=10), inner, max_size=4),
    max_leaves=10,
)
BODIES = st.dictionaries(
    st.sampled_from(["action", "weights", "reason", *ORDER]) | st.text(max_size=10),
    st.sampled_from(["C1", "request_recs", "click", "GRS434003000", *ORDER.values()]) | JSON_VALUES,
    max_size=8,
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    path=st.sampled_from(["/recommendations", "/user_interactions", "/transactions", "/models/retrain"]),
    body=BODIES | JSON_VALUES,
)
def test_no_json_at_all_makes_a_500(client: AsgiClient, path: str, body: object) -> None:
    content = json.dumps(body)
    answer = client.post(path, content=content.encode("utf-8", "surrogatepass"), headers=JSON)
    assert answer.status_code in (200, 422), answer.text
