"""A test whose server cannot be had is skipped with the reason, and fails where servers are required."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import psycopg2
import pytest

from tests import servers

_ROOT = Path(__file__).parents[2]
_NEEDS_KAFKA = "tests/integration/test_local_kafka.py::test_record_comes_back_as_it_was_produced"
_NO_ENGINE = {"TEST_SERVERS": "containers", "DOCKER_HOST": "unix:///nonexistent/docker.sock"}
_SWITCHES = ("CI", "REQUIRE_SERVERS", "TEST_SERVERS", "DOCKER_HOST", "KAFKA_BOOTSTRAP_SERVERS", "DATABASE_URL")


def test_missing_server_skips_with_its_name_and_reason() -> None:
    code, said = run_pytest(_NEEDS_KAFKA, _NO_ENGINE)
    assert code == 0, said
    assert re.search(r"SKIPPED \[1\].*no Kafka: no Docker engine answers", said)


@pytest.mark.parametrize("switch", ["CI", "REQUIRE_SERVERS"])
def test_missing_server_fails_where_servers_are_required(switch: str) -> None:
    code, said = run_pytest(_NEEDS_KAFKA, {**_NO_ENGINE, switch: "1"})
    assert code == 1, said
    assert "no Kafka: no Docker engine answers" in said


def test_misspelt_kind_of_servers_is_an_error_and_no_reason_to_skip() -> None:
    code, said = run_pytest(_NEEDS_KAFKA, {"TEST_SERVERS": "container"})
    assert code == 1, said
    assert "it may be local or containers" in said


def test_docker_tests_say_which_images_are_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    if problem := servers.docker_problem():
        pytest.skip(problem)
    monkeypatch.setattr(servers, "_IMAGES", ("no-such-image:1",))
    assert servers.docker_problem.__wrapped__() == "images missing: no-such-image:1"


@pytest.mark.kafka
def test_given_broker_is_used_in_place_of_one_of_our_own(
    kafka_bootstrap_servers: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KAFKA_BOOTSTRAP_SERVERS", kafka_bootstrap_servers)
    monkeypatch.setattr(servers, "LocalKafka", None)
    with servers.kafka_server() as address:
        assert address == kafka_bootstrap_servers


@pytest.mark.postgres
def test_given_database_server_is_used_in_place_of_one_of_our_own(
    postgres_admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_admin_url)
    monkeypatch.setattr(servers, "LocalPostgres", None)
    with servers.postgres_server() as url:
        assert url == postgres_admin_url


@pytest.mark.postgres
def test_each_test_has_a_database_of_its_own(database_url: str, empty_database_url: str) -> None:
    tables = "SELECT count(*) FROM information_schema.tables WHERE table_schema = 'public'"
    assert query(database_url, "SELECT current_database()") != query(empty_database_url, "SELECT current_database()")
    assert query(database_url, tables) != 0
    assert query(empty_database_url, tables) == 0
    assert query(database_url, "SELECT count(*) FROM consumer_offsets") == 0


def run_pytest(test: str, environment: dict[str, str]) -> tuple[int, str]:
    """Exit code and output of a session of its own for one test."""
    inherited = {name: value for name, value in os.environ.items() if name not in _SWITCHES}
    command = [sys.executable, "-m", "pytest", test, "-ra", "-p", "no:cacheprovider"]
    answer = subprocess.run(
        command, cwd=_ROOT, env={**inherited, **environment}, capture_output=True, text=True, timeout=120
    )
    return answer.returncode, answer.stdout


def query(url: str, statement: str) -> object:
    """The first column of the first row."""
    connection = psycopg2.connect(url)
    try:
        with connection.cursor() as cursor:
            cursor.execute(statement)
            row = cursor.fetchone()
            return None if row is None else row[0]
    finally:
        connection.close()
