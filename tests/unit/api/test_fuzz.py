"""Whatever bytes come as method, path, header and body: an answer by the contract, and never a 500."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote_from_bytes, unquote

from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.asgi_client import AsgiClient
from tests.fakes_gateway import FakePublisher

BROWSABLE = ("/docs", "/openapi.json")
CLOSED = {200, 304, 403, 404, 405, 409, 413, 415, 421, 422, 503}

METHODS = st.sampled_from(["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "BREW"])
WORDS = [
    "recommendations",
    "user_interactions",
    "transactions",
    "assets",
    "models",
    "retrain",
    "activate",
    "health",
    "live",
    "ready",
    "C1",
    "v1",
    "docs",
    "metrics",
]
ODD_SEGMENTS = ["", ".", "..", "%2F", "%2e%2e", "%00", "%0a", "%ff", "%", "%zz", ";", "C1%2FC2"]
SEGMENTS = (
    st.sampled_from([*WORDS, *ODD_SEGMENTS])
    | st.binary(max_size=12).map(quote_from_bytes)
    | st.text(alphabet=st.characters(min_codepoint=33, max_codepoint=126), max_size=12)
)
QUERIES = st.lists(
    st.tuples(
        st.sampled_from(["sector", "category", "limit", "offset", "unknown", "", "%00"]),
        st.sampled_from(["Technology", "1", "-1", "1e9", "0x1", "9" * 30, "%00", "%ff", "", "١"])
        | st.binary(max_size=8).map(quote_from_bytes),
    ),
    max_size=3,
)
PATHS = st.builds(
    lambda segments, query: "/" + "/".join(segments) + ("?" + "&".join(f"{k}={v}" for k, v in query) if query else ""),
    st.lists(SEGMENTS, max_size=4),
    QUERIES,
)
KNOWN_PATHS = st.sampled_from(
    [
        "/recommendations",
        "/recommendations/C1",
        "/user_interactions",
        "/transactions",
        "/assets",
        "/models",
        "/models/retrain",
        "/models/v1/activate",
        "/v1/recommendations/C1",
        "/v1/models/retrain",
        "/retrain",
        "/health",
        "/health/live",
        "/health/ready",
    ]
)
HEADER_NAMES = [
    "content-type",
    "content-encoding",
    "content-length",
    "host",
    "origin",
    "accept",
    "x-requested-with",
    "idempotency-key",
    "expect",
    "range",
    "cookie",
    "authorization",
    "x-request-id",
    "if-none-match",
    "accept-encoding",
    "access-control-request-method",
    "x-forwarded-for",
    "upgrade",
    "te",
]
MEDIA_TYPES = [
    "application/json",
    "application/json; charset=utf-8",
    "application/json;charset=",
    "text/plain",
    ";",
    "/",
]
HOSTS = ["null", "http://127.0.0.1", "http://[", "https://evil.example", "127.0.0.1", "[::1]:x"]
ODD_VALUES = ["gzip", "identity", "0", "-1", "+1", "1" * 400, "99999999", "chunked", "*/*", "\xe9", ""]
VALUES = st.binary(max_size=30) | st.sampled_from([*MEDIA_TYPES, *HOSTS, *ODD_VALUES]).map(
    lambda v: v.encode("latin-1")
)
HEADERS = st.lists(st.tuples(st.sampled_from(HEADER_NAMES).map(str.encode), VALUES), max_size=4)
JSON_TEXTS = st.recursive(
    st.sampled_from(["null", "1e999", "-0", "NaN", "Infinity", "9" * 5000, '"\\ud800"', '"\\u0000"', '"C1"', '"click"'])
    | st.text(max_size=8).map(json.dumps),
    lambda inner: (
        st.lists(inner, max_size=3).map(lambda values: f"[{','.join(values)}]")
        | st.lists(
            st.tuples(st.sampled_from(["customer_id", "action", "weights", "isin", "type", "reason", "", "a"]), inner),
            max_size=4,
        ).map(lambda pairs: "{" + ",".join(f"{json.dumps(name)}:{value}" for name, value in pairs) + "}")
    ),
    max_leaves=8,
)
BODIES = (
    st.binary(max_size=200)
    | JSON_TEXTS.map(lambda text: text.encode("utf-8", "surrogatepass"))
    | JSON_TEXTS.map(lambda text: b"\xef\xbb\xbf" + text.encode("utf-8", "surrogatepass"))
    | st.integers(0, 40_000).map(lambda depth: b"[" * depth)
    | st.integers(60_000, 70_000).map(lambda size: b" " * size)
)


@settings(max_examples=300, suppress_health_check=list(HealthCheck))
@given(method=METHODS, path=PATHS | KNOWN_PATHS, headers=HEADERS, body=BODIES)
@example(method="POST", path="/models/v1/activate", headers=[(b"x-requested-with", b"\xff")], body=b"")
@example(method="POST", path="/models/retrain", headers=[(b"content-type", b"application/json")], body=b'{"a":1,"a":1}')
@example(method="HEAD", path="/recommendations/%2e%2e", headers=[], body=b"")
@example(method="GET", path="/recommendations/C1%2FC2", headers=[], body=b"")
@example(method="OPTIONS", path="/models", headers=[(b"origin", b"null")], body=b"")
def test_raw_requests_get_an_answer_by_the_contract(
    client: AsgiClient,
    publisher: FakePublisher,
    method: str,
    path: str,
    headers: list[tuple[bytes, bytes]],
    body: bytes,
) -> None:
    status, kind, content = send_raw(client, method, path, headers, body)
    assert status in CLOSED or (status in (200, 307) and path.startswith(BROWSABLE)), (status, content)
    if method == "HEAD":
        assert content == b""
    if status >= 400 and not path.startswith("/health/ready"):
        assert kind == b"application/problem+json", (status, kind)
        if method != "HEAD":
            assert json.loads(content)["status"] == status


def send_raw(
    client: AsgiClient, method: str, path: str, headers: list[tuple[bytes, bytes]], body: bytes
) -> tuple[int, bytes, bytes]:
    """Call the application as a server does that passes everything on; return status, content type and body."""
    raw_path, _, query = path.partition("?")
    names = {name for name, _ in headers}
    always = [(b"host", b"127.0.0.1"), (b"content-length", str(len(body)).encode())]
    scope: dict[str, Any] = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": method,
        "scheme": "http",
        "path": unquote(raw_path),  # bytes that are no UTF-8 become replacement characters
        "raw_path": raw_path.encode(),
        "query_string": query.encode(),
        "root_path": "",
        "headers": [*headers, *(each for each in always if each[0] not in names)],
        "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8000),
        "state": {},
    }
    unread = [body[: len(body) // 2], body[len(body) // 2 :]]
    sent: list[dict[str, Any]] = []

    async def receive() -> dict[str, Any]:
        if not unread:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": unread.pop(0), "more_body": bool(unread)}

    async def send(message: Any) -> None:
        sent.append(dict(message))

    client.run(lambda: client.app(scope, receive, send))
    start, *rest = sent
    kinds = [value for name, value in start["headers"] if name == b"content-type"]
    return start["status"], kinds[0] if kinds else b"", b"".join(message.get("body", b"") for message in rest)
