"""The lease, and database errors as the trainer sees them, on the real database."""

from __future__ import annotations

import threading
from datetime import date
from typing import Any

import psycopg2
import pytest
from sqlalchemy import Connection, Engine, event, insert, text
from sqlalchemy.exc import DataError

from shared.errors import DatabaseMisused, DatabaseUnavailable
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS
from shared.ports import Message
from shared.postgres import tables
from shared.postgres.engine import build_engine
from shared.recommender.types import Asset
from tests.integration.trainer_process import postgres_store
from tests.unit.trainer.service.trainer_fakes import build_command
from trainer.service.store import PostgresLease

CLICKS = (INTERACTIONS_RECORDED, 3)
COMMANDS = (MODELS_COMMANDS, 0)
DIGEST = "a" * 64


@pytest.mark.postgres
def test_a_loader_that_replaces_a_table_is_waited_for(engine: Engine, database_url: str) -> None:
    """TRUNCATE empties a table even for older snapshots, so the reading must not begin before it is over."""
    with engine.begin() as connection:
        connection.execute(insert(tables.asset_information).values(_asset("OLD")))
    loader = psycopg2.connect(database_url)
    cursor = loader.cursor()
    cursor.execute("TRUNCATE asset_information")
    answers: list[tuple[Asset, ...]] = []
    reader = threading.Thread(target=lambda: answers.append(postgres_store(engine).fetch_training_rows().rows.assets))
    reader.start()
    reader.join(0.5)
    waited = reader.is_alive()
    cursor.execute(
        "INSERT INTO asset_information (isin, asset_category, recorded_on) VALUES ('NEW', 'Stock', '2020-01-02')"
    )
    loader.commit()
    reader.join(10)
    loader.close()

    assert waited
    assert [asset.isin for asset in answers[0]] == ["NEW"]


def _asset(isin: str) -> dict[str, Any]:
    return {"isin": isin, "asset_category": "Stock", "recorded_on": date(2020, 1, 2)}


@pytest.mark.postgres
def test_one_process_has_the_lease_until_it_lets_go_or_its_session_ends(engine: Engine, database_url: str) -> None:
    other = build_engine(database_url, application_name="trainer", pool_size=4)
    mine, theirs = PostgresLease(engine), PostgresLease(other)
    assert mine.acquire()
    assert mine.acquire()
    assert not theirs.acquire()

    mine.release()
    assert theirs.acquire()
    assert not mine.acquire()

    with engine.begin() as connection:
        ended = text(
            "SELECT pg_terminate_backend(pid, 5000) FROM pg_locks JOIN pg_stat_activity USING (pid) "
            "WHERE locktype = 'advisory' AND granted AND datname = current_database()"  # tests share the server
        )
        connection.execute(ended)
    assert mine.acquire()
    with pytest.raises(DatabaseUnavailable):
        theirs.acquire()
    assert not theirs.acquire()
    mine.release()
    other.dispose()


@pytest.mark.postgres
def test_a_database_that_nobody_answers_for_is_unavailable() -> None:
    engine = build_engine("postgresql://nobody@127.0.0.1:1/nothing", application_name="trainer", pool_size=4)

    with pytest.raises(DatabaseUnavailable):
        postgres_store(engine).has_assets()
    with pytest.raises(DatabaseUnavailable):
        PostgresLease(engine).acquire()


@pytest.mark.postgres
def test_a_missing_table_is_no_fault_of_a_message_and_a_value_out_of_range_is(engine: Engine) -> None:
    store = postgres_store(engine)
    with engine.begin() as connection:
        connection.execute(text("DROP TABLE model_commands"))

    with pytest.raises(DatabaseUnavailable, match="model_commands"):
        store.queue_training("v1", command=build_command(1), reason="please")
    with pytest.raises(DataError):
        store.insert_dead_letter(Message(*COMMANDS, 2**70, None, b"x"), reason="a reason", next_offsets={})


@pytest.mark.postgres
def test_a_wrong_statement_is_a_bug_and_not_a_database_that_is_away(engine: Engine) -> None:
    store = postgres_store(engine)

    @event.listens_for(engine, "before_cursor_execute", retval=True)
    def misspell(*arguments: Any) -> tuple[str, Any]:
        return arguments[2].replace("INSERT INTO model_commands", "INSRT INTO model_commands"), arguments[3]

    with pytest.raises(DatabaseMisused, match="syntax error"):
        store.queue_training("v1", command=build_command(1), reason="please")


@pytest.mark.postgres
def test_a_session_that_ends_before_rows_are_copied_is_a_database_that_is_away(
    engine: Engine, database_url: str
) -> None:
    other = build_engine(database_url, application_name="trainer", pool_size=4)

    def end_session(connection: Connection, _: object, statement: str, *__: object) -> None:
        if statement.startswith("SELECT customer_id"):  # the COPY of the purchases comes next
            session: Any = connection.connection.driver_connection
            with other.begin() as second:
                second.execute(text("SELECT pg_terminate_backend(:pid, 5000)"), {"pid": session.info.backend_pid})

    event.listen(engine, "after_cursor_execute", end_session)
    with pytest.raises(DatabaseUnavailable):
        postgres_store(engine).fetch_training_rows()
    event.remove(engine, "after_cursor_execute", end_session)
    assert postgres_store(engine).fetch_training_rows().rows.assets == ()
    other.dispose()


@pytest.mark.postgres
def test_a_session_that_failed_while_it_asked_for_the_lease_does_not_count_as_the_lease(engine: Engine) -> None:
    lease, other = PostgresLease(engine), PostgresLease(engine)

    def refuse(*_: object) -> None:
        raise ZeroDivisionError

    event.listen(engine, "before_cursor_execute", refuse)
    with pytest.raises(ZeroDivisionError):
        lease.acquire()
    event.remove(engine, "before_cursor_execute", refuse)

    assert other.acquire()
    assert not lease.acquire()
    other.release()
