"""The statements that docs/operations.md gives to operators, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path

import psycopg2
import pytest

from shared.errors import DatabaseUnavailable
from shared.postgres.engine import build_engine
from trainer.service.store import PostgresLease

pytestmark = pytest.mark.postgres

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "operations.md").read_text()


def statement(first_word: str) -> str:
    """Return the one indented statement that begins with this word."""
    [found] = re.findall(rf"^    {first_word} (?:.*\n)+?.*;$", PAGE, flags=re.MULTILINE)
    return f"{first_word}{found.strip().removeprefix(first_word)}"


def test_ending_the_session_of_a_stuck_trainer_frees_its_lease(database_url: str) -> None:
    engine, other = (
        build_engine(database_url, application_name="trainer", pool_size=4),
        build_engine(database_url, application_name="trainer", pool_size=4),
    )
    stuck, waiting = PostgresLease(engine), PostgresLease(other)
    try:
        assert stuck.acquire()
        assert not waiting.acquire()
        with psycopg2.connect(database_url) as connection, connection.cursor() as cursor:
            cursor.execute(statement("SELECT"))
            assert [ended for *_, ended in cursor.fetchall()] == [True]
        connection.close()
        assert waiting.acquire()
        with pytest.raises(DatabaseUnavailable):
            stuck.acquire()
    finally:
        for each in (engine, other):
            each.dispose()


def test_the_stored_offset_of_one_partition_is_moved_by_hand(database_url: str) -> None:
    connection = psycopg2.connect(database_url)
    topics = ("recommendations.requested.v1", "interactions.recorded.v1")
    with connection, connection.cursor() as cursor:
        rows = [
            ("...", group, topic, number, 9) for group in ("worker", "trainer") for topic in topics for number in (2, 3)
        ]
        insert = 'INSERT INTO consumer_offsets (cluster_id, consumer_group, topic, "partition", next_offset)'
        cursor.executemany(f"{insert} VALUES (%s, %s, %s, %s, %s)", rows)
        cursor.execute(statement("UPDATE"))
        cursor.execute('SELECT consumer_group, topic, "partition" FROM consumer_offsets WHERE next_offset = 1234')
        assert cursor.fetchall() == [("worker", topics[0], 3)]
    connection.close()
