"""make bench: both ways load the same rows, the ratio decides the exit code, and no database stays behind."""

from __future__ import annotations

from pathlib import Path

import psycopg2
import pytest

from script.bench import Timing, bench_database, measure, measure_command, report
from shared.far_trans.schema import TABLES, TRANSACTIONS
from shared.far_trans.source_files import check_files
from shared.far_trans.synthetic import synthesize

pytestmark = pytest.mark.postgres


def list_databases(url: str) -> set[str]:
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            cursor.execute("SELECT datname FROM pg_database WHERE datname LIKE 'bench%'")
            return {name for (name,) in cursor.fetchall()}
    finally:
        connection.close()


def test_both_ways_are_timed_on_the_same_rows(
    tmp_path: Path, postgres_admin_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABASE_URL", postgres_admin_url)
    counts = synthesize(tmp_path, 0.02)
    with bench_database() as database_url:
        assert len(list_databases(postgres_admin_url)) == 1
        timings = measure(check_files(tmp_path), database_url=database_url, rounds=1)
        command_seconds = measure_command(tmp_path, database_url=database_url, rounds=1)
    assert {timing.schema.file_name: timing.row_count for timing in timings} == counts
    assert all(timing.bare_seconds > 0 and timing.loader_seconds > 0 for timing in timings)
    assert command_seconds > 0
    assert list_databases(postgres_admin_url) == set()


@pytest.mark.parametrize(("command_seconds", "exit_code"), [(7.9, 0), (8.1, 1)])
def test_less_than_half_the_rate_fails(
    command_seconds: float, exit_code: int, capsys: pytest.CaptureFixture[str]
) -> None:
    timings = [Timing(schema, 1_000, 1.0 if schema is TRANSACTIONS else 0.6, 1.0) for schema in TABLES]
    assert report(timings, command_seconds=command_seconds) == exit_code
    assert "the whole command" in capsys.readouterr().out
