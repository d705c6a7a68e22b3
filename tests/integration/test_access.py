"""A gateway process with keys and with tokens: revocation without a restart, limits of several processes, refusals."""

from __future__ import annotations

import http.server
import json
import os
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from typer.testing import CliRunner

from api.access.jwks import fetch_from
from script.api_keys import app
from shared.kafka.topics import create_topics
from tests.access import AUDIENCE, ISSUER, bearer, key_set, token
from tests.integration.gateway_process import GatewayProcess, gateway_process
from tests.integration.test_gateway_processes import two_processes, wait_until

pytestmark = [pytest.mark.kafka, pytest.mark.security]

NOWHERE = "postgresql://nobody@127.0.0.1:1/none"
REQUEST = {"customer_id": "C1", "action": "request_recs"}
LIMIT = 20


@pytest.fixture(scope="module")
def topics(kafka_bootstrap_servers: str, module_topic_prefix: str) -> str:
    create_topics(kafka_bootstrap_servers, prefix=module_topic_prefix)
    return module_topic_prefix


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys.json"


def keys(path: Path, *words: str) -> str:
    result = CliRunner().invoke(app, [words[0], "--file", str(path), *words[1:]])
    assert result.exit_code == 0, result.output
    return result.output.strip()


def settings(path: Path, topics: str, **more: Any) -> dict[str, Any]:
    own = {"auth_mode": "api_key", "api_keys_file": path, "request_id_key": "a secret of sixteen"}
    return {**own, "topic_prefix": topics, **more}


def post(gateway: GatewayProcess, credentials: str) -> int:
    return gateway.http.post("/recommendations", json=REQUEST, headers=bearer(credentials)).status_code


def test_a_key_is_made_and_revoked_while_the_gateway_runs(
    kafka_bootstrap_servers: str, topics: str, path: Path
) -> None:
    first = keys(path, "create", "--name", "first", "--scope", "events:write")
    with gateway_process(
        bootstrap_servers=kafka_bootstrap_servers, database_url=NOWHERE, **settings(path, topics)
    ) as gateway:
        gateway.wait_until_ready()
        assert post(gateway, first) == 200
        second = keys(path, "create", "--name", "second", "--scope", "events:write")
        wait_until(lambda: post(gateway, second) == 200, "the new key is known")
        keys(path, "revoke", first.split("_")[1])
        wait_until(lambda: post(gateway, first) == 401, "the revoked key is refused")
        assert post(gateway, second) == 200
        assert first.split("_")[2] not in gateway.log_file.read_text()


def test_with_several_processes_a_caller_gets_the_limit_at_least_and_at_most_once_for_each(
    kafka_bootstrap_servers: str, topics: str, path: Path
) -> None:
    key = keys(path, "create", "--name", "app", "--scope", "events:write")
    more = settings(path, topics, rate_limit=f"{LIMIT}/hour")
    with two_processes(kafka_bootstrap_servers, **more) as gateway:
        statuses = []
        for _ in range(4 * LIMIT):  # a connection for each request, so that both processes get some
            with httpx.Client(base_url=gateway.http.base_url, timeout=30.0, trust_env=False) as client:
                answer = client.post("/recommendations", json=REQUEST, headers=bearer(key))
            statuses.append(answer.status_code)
            if answer.status_code == 429:
                assert int(answer.headers["Retry-After"]) >= 1
        assert set(statuses) == {200, 429}
        assert LIMIT <= statuses.count(200) <= 2 * LIMIT


@contextmanager
def provider(folder: Path, answer: dict[str, Any]) -> Iterator[str]:
    """An https server on loopback with a certificate of its own, in `folder`; `answer` has its body and its delay."""
    certificate, key = folder / "certificate.pem", folder / "key.pem"
    private_key, name = ec.generate_private_key(ec.SECP256R1()), x509.Name.from_rfc4514_string("CN=localhost")
    now = datetime.now(UTC)
    signed = (
        x509.CertificateBuilder(name, name, private_key.public_key(), x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.DNSName("localhost")]), critical=False)
        .sign(private_key, hashes.SHA256())
    )
    certificate.write_bytes(signed.public_bytes(serialization.Encoding.PEM))
    pem, pkcs8, plain = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    key.write_bytes(private_key.private_bytes(pem, pkcs8, plain))

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            status = answer.get("status", 200)
            self.send_response(status)
            if status != 200:
                self.send_header("Location", answer["location"])
            self.end_headers()
            self.wfile.write(answer.get("body", b""))

        def log_message(self, *_: Any) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"https://localhost:{server.server_port}/keys"
    finally:
        server.shutdown()
        server.server_close()


def test_tokens_are_verified_with_keys_over_https_and_go_on_when_the_provider_is_away(
    kafka_bootstrap_servers: str, topics: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
    own: dict[str, Any] = {
        "auth_mode": "jwt",
        "jwt_issuer": ISSUER,
        "jwt_audience": AUDIENCE,
        "request_id_key": "a secret of sixteen",
    }
    with provider(tmp_path, {"body": key_set("RSA")}) as url:
        running = gateway_process(
            bootstrap_servers=kafka_bootstrap_servers,
            database_url=NOWHERE,
            topic_prefix=topics,
            jwt_jwks=url,
            jwt_jwks_refresh_seconds=5,
            **own,
        )
        gateway = running.__enter__()
        try:
            gateway.wait_until_ready()
            wait_until(lambda: post(gateway, token(scope="events:write")) == 200, "the keys are read")
        except BaseException:
            running.__exit__(None, None, None)
            raise
    try:
        wait_until(lambda: any("jwks.not_read" in line for line in gateway.log_lines()), "the provider is missed")
        assert post(gateway, token(scope="events:write")) == 200
        assert post(gateway, token("foreign", scope="events:write")) == 401
        assert gateway.http.get("/models", headers=bearer(token(scope="events:write"))).status_code == 403
    finally:
        running.__exit__(None, None, None)


def test_a_provider_without_a_trusted_certificate_and_a_redirect_are_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    answer: dict[str, Any] = {"body": key_set("RSA")}
    with provider(tmp_path, answer) as url:
        with pytest.raises(OSError, match="CERTIFICATE_VERIFY_FAILED"):
            fetch_from(url)()
        monkeypatch.setenv("SSL_CERT_FILE", str(tmp_path / "certificate.pem"))
        assert json.loads(fetch_from(url)())["keys"]
        answer |= {"status": 302, "location": url}
        with pytest.raises(OSError, match="302"):
            fetch_from(url)()


@pytest.mark.parametrize(
    ("changed", "reason"),
    [
        ({"API_HOST": "0.0.0.0"}, "AUTH_NONE_ALLOW_REMOTE=true"),
        (
            {"AUTH_MODE": "api_key", "API_KEYS_FILE": "/nowhere/keys.json", "REQUEST_ID_KEY": "x" * 16},
            "/nowhere/keys.json",
        ),
    ],
)
def test_a_gateway_that_would_be_open_or_without_keys_does_not_start(changed: dict[str, str], reason: str) -> None:
    environment = {**os.environ, "KAFKA_BOOTSTRAP_SERVERS": "127.0.0.1:1", "DATABASE_URL": NOWHERE, "API_PORT": "0"}
    started_at = time.monotonic()
    ended = subprocess.run(
        [sys.executable, "-m", "api"],
        env={**environment, "API_METRICS_PORT": "0", **changed},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert (ended.returncode, time.monotonic() - started_at < 120) == (1, True)
    assert reason in ended.stderr
