"""PostgreSQL behind TLS, for both drivers: what verify-full accepts and refuses, on a server of its own."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import text

from api.reader import PostgresGatewayReader
from script.local.owned_process import LocalServerError
from script.local.postgres import LocalPostgres, execute_statement
from shared.errors import DatabaseUnavailable
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.migrations.upgrade import upgrade_database
from tests.certificates import make_authority
from tests.integration.gateway_process import gateway_process, unused_port
from tests.integration.worker_process import worker_world
from tests.postgres_tls import PostgresTlsFront
from tests.servers import servers_required, temporary_folder

pytestmark = [pytest.mark.postgres, pytest.mark.timeout(300)]

USER, PASSWORD = "tls_user", "postgres-geheim-3391"


@dataclass(frozen=True)
class TlsDatabase:
    """A database that clients reach through TLS only."""

    front: PostgresTlsFront
    plain_url: str
    ca_file: Path
    other_ca: Path

    def url(self, *, mode: str = "verify-full", password: str = PASSWORD, host: str = "localhost", ca: str = "") -> str:
        """Return the URL of a client."""
        query = f"sslmode={mode}" + (f"&sslrootcert={ca or self.ca_file}" if mode.startswith("verify") else "")
        return f"postgresql://{USER}:{password}@{host}:{self.front.port}/recommender?{query}"


@pytest.fixture(scope="module")
def database() -> Iterator[TlsDatabase]:
    """All tables in a database whose user needs a password; the certificate is for localhost."""
    with temporary_folder("tls-postgres") as folder:
        authority, other = make_authority(folder, "authority"), make_authority(folder, "other")
        certificate, key = authority.sign("postgres", host="localhost")
        server = LocalPostgres(folder / "server", durable=False)
        try:
            server.start()
        except LocalServerError as error:
            (pytest.fail if servers_required() else pytest.skip)(f"no PostgreSQL: {error}")
        front = PostgresTlsFront(server.port, certificate=certificate, key=key)
        try:
            execute_statement(server.url("postgres"), f"CREATE ROLE {USER} LOGIN SUPERUSER PASSWORD '{PASSWORD}'")
            ask_for_passwords(server)
            yield TlsDatabase(front, server.url(), authority.certificate, other.certificate)
        finally:
            front.close()
            server.stop()


def ask_for_passwords(server: LocalPostgres) -> None:
    """Let everybody but the superuser of the server give a password."""
    rules = Path(server.folder / "data" / "pg_hba.conf")
    rules.write_text("host all postgres 127.0.0.1/32 trust\nhost all all 127.0.0.1/32 scram-sha-256\n")
    execute_statement(server.url("postgres"), "SELECT pg_reload_conf()")


REFUSED = {
    "wrong authority": ({"ca": "other"}, "certificate verify failed|CERTIFICATE_VERIFY_FAILED"),
    "wrong host name": ({"host": "127.0.0.1"}, "does not match|IP address mismatch|not valid for"),
    "wrong password": ({"password": "wrong"}, "password authentication failed"),
    "plaintext": ({"mode": "disable"}, "no encryption"),
}


@pytest.fixture
def refused_url(request: pytest.FixtureRequest, database: TlsDatabase) -> str:
    """The URL of a client that is refused, or that refuses the server."""
    changes = dict(request.param)
    if "ca" in changes:
        changes["ca"] = str(database.other_ca)
    return database.url(**changes)


@pytest.mark.parametrize(("refused_url", "cause"), REFUSED.values(), ids=REFUSED, indirect=["refused_url"])
def test_both_drivers_refuse_with_the_cause(refused_url: str, cause: str) -> None:
    engine = build_engine(refused_url, application_name="test")
    with pytest.raises(DatabaseUnavailable, match=cause) as of_psycopg2, translated():
        engine.connect()

    reader = PostgresGatewayReader(refused_url, timeout_seconds=20.0, pool_size=1)
    with pytest.raises(DatabaseUnavailable, match=cause) as of_asyncpg:
        asyncio.run(read_once(reader))
    assert PASSWORD not in str(of_psycopg2.value) + str(of_asyncpg.value)


async def read_once(reader: PostgresGatewayReader) -> None:
    await reader.start()
    try:
        await reader.fetch_lists("C")
    finally:
        await reader.close()


@pytest.mark.kafka
def test_migrations_worker_gateway_and_listener_use_tls_only(
    database: TlsDatabase, kafka_bootstrap_servers: str, topic_prefix: str, tmp_path: Path
) -> None:
    upgrade_database(database.url())
    plain_before = len(database.front.plaintext)
    password_file = tmp_path / "password"
    password_file.write_text(PASSWORD)
    settings: dict[str, Any] = {
        "database_url": database.url().replace(f":{PASSWORD}", ""),
        "database_password_file": str(password_file),
    }
    with worker_world(
        bootstrap_servers=kafka_bootstrap_servers,
        database_url=database.plain_url,
        topic_prefix=topic_prefix,
        folder=tmp_path,
    ) as world:
        world.publish_model()
        world.start(**settings)
        with gateway_process(
            bootstrap_servers=kafka_bootstrap_servers, topic_prefix=topic_prefix, **settings
        ) as gateway:
            gateway.wait_until_ready()
            waited = gateway.http.get("/recommendations/C?wait=0.1", timeout=30)
            assert waited.status_code in (200, 202, 404)
            request = world.ask("C")
            world.answers([request])
            world.wait(lambda: LISTENER in database.front.encrypted_sessions, "the gateway listens")
    assert {"migrations", "gateway"} <= database.front.encrypted_sessions
    assert any(name.startswith("recommender-") for name in database.front.encrypted_sessions)
    # Of each connection the server sees the eight bytes that ask for TLS, and nothing more in plain text.
    sent = database.front.plaintext[plain_before:]
    assert sent
    assert PASSWORD.encode() not in database.front.plaintext
    assert USER.encode() not in sent


LISTENER = "gateway-listener"


@pytest.mark.parametrize("mode", ["prefer", "require"])
def test_tls_without_a_check_still_encrypts(database: TlsDatabase, mode: str) -> None:
    with build_engine(database.url(mode=mode), application_name=f"test-{mode}").connect() as connection:
        assert connection.scalar(text("SELECT 1")) == 1
    assert f"test-{mode}" in database.front.encrypted_sessions


def test_a_gateway_that_is_refused_says_why_and_stays_unready(database: TlsDatabase) -> None:
    wrong = database.url(ca=str(database.other_ca))
    with gateway_process(bootstrap_servers=f"127.0.0.1:{unused_port()}", database_url=wrong) as gateway:
        gateway.wait_for("/health/live")
        assert gateway.http.get("/health/ready", timeout=30).status_code == 503
        assert PASSWORD not in "".join(gateway.log_lines())
