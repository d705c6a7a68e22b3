"""The statements that docs/operations.md gives to operators, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from uuid import uuid4

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


def test_click_through_counts_by_rank_and_basis(database_url: str) -> None:
    request, of_another = str(uuid4()), str(uuid4())
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        for request_id, customer_id, basis in ((request, "C1", "history"), (of_another, "C2", "segment_prior")):
            cursor.execute(
                "INSERT INTO decisions (request_id, customer_id, action, answered_from, model_version, basis, weights,"
                ' items, "partition", event_offset, requested_at, decided_at)'
                " VALUES (%s, %s, 'request_recs', 'scored', 'v1', %s, '{}', '[]', 0, 0, now(), now())",
                [request_id, customer_id, basis],
            )
        shown = [("impression", request, 1)] * 3 + [("click", request, 1), ("impression", request, 2)]
        unknown = [("click", of_another, 1), ("impression", str(uuid4()), None), ("click", request, None)]
        left_out = [("view", request, 1), ("dismiss", request, 1), ("impression", None, 1), ("click", None, None)]
        for kind, named, rank in shown + unknown + left_out:
            cursor.execute(
                "INSERT INTO user_interactions (event_id, customer_id, isin, interaction_type, occurred_at,"
                " \"partition\", event_offset, request_id, rank) VALUES (%s, 'C1', 'A', %s, now(), 0, 0, %s, %s)",
                [str(uuid4()), kind, named, rank],
            )
        cursor.execute(statement("TABLE"))
        rows = [(*row[:-1], row[-1] if row[-1] is None else float(row[-1])) for row in cursor.fetchall()]
    connection.close()
    assert rows == [
        (1, "history", 3, 1, 0.3333),
        (2, "history", 1, 0, 0.0),
        (None, "history", 0, 1, None),
        (1, "unknown", 0, 1, None),
        (None, "unknown", 1, 0, 0.0),
    ]
