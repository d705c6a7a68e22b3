"""script/erase_customer.py: nothing of an erased customer is left, and nothing comes back."""

from __future__ import annotations

import io
import json
import os
import threading
from collections.abc import Callable
from contextlib import redirect_stderr, redirect_stdout
from datetime import date
from pathlib import Path
from unittest.mock import patch
from uuid import uuid4

import psycopg2
import pytest

from script.erase_customer import main
from script.erasing import DECISIONS, LETTERS, ROWS_OF_CUSTOMERS, WITHOUT_CUSTOMERS
from shared.events import (
    CUSTOMERS_CHANGED,
    CUSTOMERS_ERASED,
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    TRANSACTIONS_RECORDED,
    CustomerChanged,
    CustomerErased,
    decode,
    encode,
)
from shared.postgres.engine import build_engine
from tests.integration.gateway_process import read_topic
from tests.integration.loading import LOADER, load, query, write_rows
from tests.integration.trainer_process import postgres_store
from tests.integration.worker_process import WorkerWorld

pytestmark = [pytest.mark.kafka, pytest.mark.postgres]

ID, NEIGHBOUR = "C-1", "C-1.2"  # the one id begins with the other
_TEXTS = """
SELECT table_name, column_name FROM information_schema.columns
WHERE table_schema = 'public'
AND data_type IN ('text', 'character varying', 'character', 'bytea', 'json', 'jsonb', 'ARRAY')
AND table_name IN (SELECT relname FROM pg_class WHERE relkind IN ('r', 'p') AND NOT relispartition)
"""
_TABLES = "SELECT relname FROM pg_class WHERE relkind = 'r' AND relnamespace = 'public'::regnamespace"


@pytest.fixture
def erase(kafka_bootstrap_servers: str, database_url: str, topic_prefix: str) -> Callable[..., tuple[int, str, str]]:
    """Run the command; return exit code, standard output and standard error."""

    def run(*arguments: str) -> tuple[int, str, str]:
        settings = {
            "DATABASE_URL": database_url,
            "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
            "TOPIC_PREFIX": topic_prefix,
        }
        output, said = io.StringIO(), io.StringIO()
        with patch.dict(os.environ, settings), redirect_stdout(output), redirect_stderr(said):
            code = main([*arguments])
        return code, output.getvalue(), said.getvalue()

    return run


def execute(database_url: str, *statements: str) -> None:
    connection = psycopg2.connect(database_url)
    with connection, connection.cursor() as cursor:
        for statement in statements:
            cursor.execute(statement)
    connection.close()


def tables_with(database_url: str, customer_id: str) -> dict[str, int]:
    """Return how many rows of every table of the schema show this text, in bytes or in letters."""
    found = {}
    for (table,) in query(database_url, _TABLES):
        shown = f"row::text LIKE '%{customer_id}%' OR row::text LIKE '%{customer_id.encode().hex()}%'"
        [(count,)] = query(database_url, f"SELECT count(*) FROM {table} AS row WHERE {shown}")
        if count:
            found[table] = count
    return found


def letter(value: str, *, key: str = "other", offset: int = 0, reason: str = "ContractViolation: no") -> str:
    place = f"'k', 'worker', '{INTERACTIONS_RECORDED}', 0, {offset}"
    columns = "cluster_id, consumer_group, topic, partition, event_offset, key, value, reason"
    content = value.encode().hex()
    return (
        f"INSERT INTO dead_letters ({columns}) VALUES ({place}, convert_to('{key}', 'UTF8'),"
        f" '\\x{content}'::bytea, '{reason}')"
    )


def rows_of(customer_id: str, *, offset: int = 0) -> list[str]:
    """Return statements that put the customer into every table that can hold one."""
    key = uuid4()
    event = f"now(), 'digest-{key}', 0, {offset}"
    decision = f"'{key}', now(), now(), {offset}, 0, '{customer_id}', 'refresh_recs', 'scored', 'm1', 'personal'"
    return [
        *(
            f"INSERT INTO {table} (customer_id, recorded_on) VALUES ('{customer_id}', '2022-01-01')"
            for table in ("customer_information", "previous_customer_information")
        ),
        *(
            f"INSERT INTO {table} (customer_id, isin, transaction_id, transaction_type, traded_on)"
            f" VALUES ('{customer_id}', 'I1', 'T{offset}', 'Buy', '2022-01-01')"
            for table in ("transactions", "previous_transactions")
        ),
        "INSERT INTO user_interactions (event_id, customer_id, isin, interaction_type, occurred_at, partition,"
        f" event_offset) VALUES ('{key}', '{customer_id}', 'I1', 'click', now(), 0, {offset})",
        "INSERT INTO recorded_transactions (event_id, customer_id, isin, transaction_id, transaction_type, traded_on,"
        " total_value, units, executed_at, content_digest, partition, event_offset)"
        f" VALUES ('{key}', '{customer_id}', 'I1', 'T', 'Buy', '2022-01-01', 1, 1, {event})",
        "INSERT INTO recorded_customers (event_id, customer_id, recorded_on, occurred_at, content_digest, partition,"
        f" event_offset) VALUES ('{key}', '{customer_id}', '2022-01-01', {event})",
        "INSERT INTO decisions (request_id, requested_at, decided_at, event_offset, partition, customer_id, action,"
        f" answered_from, model_version, basis, fingerprint) VALUES ({decision}, 'print')",
        f"CREATE TABLE IF NOT EXISTS decisions_retired_{offset} (LIKE decisions)",
        f"INSERT INTO decisions_retired_{offset} SELECT * FROM decisions WHERE customer_id = '{customer_id}'",
        "INSERT INTO recommendations (customer_id, request_id, requested_at, created_at)"
        f" SELECT customer_id, request_id, requested_at, now() FROM decisions WHERE customer_id = '{customer_id}'",
        letter(json.dumps({"customer_id": customer_id}), key=customer_id, offset=offset),
    ]


def test_every_column_of_the_schema_is_erased_or_holds_no_customer(database_url: str) -> None:
    covered = {*ROWS_OF_CUSTOMERS, DECISIONS, LETTERS}
    columns = query(database_url, _TEXTS)
    undecided = {f"{table}.{column}" for table, column in columns if table not in covered | WITHOUT_CUSTOMERS.keys()}
    assert undecided == set(), "erase it in script/erasing.py, or say there why it names no customer"
    named = {table for table, column in columns if column == "customer_id"}
    assert named <= covered
    assert covered | WITHOUT_CUSTOMERS.keys() == {table for table, _ in columns}


def test_a_column_for_customers_in_another_table_is_noticed(database_url: str) -> None:
    execute(database_url, "ALTER TABLE markets ADD COLUMN customer_id text", "CREATE TABLE new_table (a text)")
    with pytest.raises(AssertionError):
        test_every_column_of_the_schema_is_erased_or_holds_no_customer(database_url)


@pytest.mark.usefixtures("world")
def test_no_row_of_any_table_names_an_erased_customer_and_every_other_row_stays(
    database_url: str, erase: Callable[..., tuple[int, str, str]]
) -> None:
    execute(database_url, *rows_of(NEIGHBOUR, offset=1))
    before = tables_with(database_url, NEIGHBOUR)
    execute(database_url, *rows_of(ID, offset=2))

    code, output, said = erase(ID, "--json")

    assert (code, said) == (0, "")
    evidence = json.loads(output)
    assert evidence["removed"] == {
        **dict.fromkeys((*ROWS_OF_CUSTOMERS, DECISIONS, LETTERS, "decisions_retired_2"), 1),
        "decisions_retired_1": 0,
    }
    assert set(evidence["found_afterwards"].values()) == {0}
    assert ID not in output
    assert tables_with(database_url, ID) == tables_with(database_url, NEIGHBOUR) == before
    assert erase(ID)[0] == 0
    assert query(database_url, "SELECT count(*) FROM erased_customers") == [(1,)]


def test_the_event_is_published_once_and_names_the_customer(
    world: WorkerWorld, erase: Callable[..., tuple[int, str, str]]
) -> None:
    execute(world.database_url, *rows_of(ID))
    for _ in range(2):
        assert erase(ID)[0] == 0
    [message] = read_topic(world.bootstrap_servers, world.topic_prefix + CUSTOMERS_ERASED)
    event = decode(CUSTOMERS_ERASED, message.value())
    assert message.key() == ID.encode()
    assert isinstance(event, CustomerErased)
    assert (event.customer_id, event.legal_hold) == (ID, False)


@pytest.mark.usefixtures("world")
def test_an_unknown_customer_is_refused_and_nothing_is_written(
    database_url: str, erase: Callable[..., tuple[int, str, str]]
) -> None:
    execute(database_url, *rows_of(NEIGHBOUR, offset=1))
    before = tables_with(database_url, NEIGHBOUR)
    code, output, said = erase(ID)
    assert (code, output) == (1, "")
    assert "nothing is known of customer C-1" in said
    assert query(database_url, "SELECT count(*) FROM erased_customers") == [(0,)]
    assert tables_with(database_url, NEIGHBOUR) == before
    assert erase("no id")[0] == 2


@pytest.mark.usefixtures("world")
def test_decisions_stay_under_a_pseudonym_until_the_legal_hold_ends(
    database_url: str, erase: Callable[..., tuple[int, str, str]]
) -> None:
    execute(database_url, *rows_of(ID))
    evidence = json.loads(erase(ID, "--legal-hold", "--json")[1])
    pseudonym = evidence["pseudonym"]
    assert evidence["pseudonymous_decisions"] == 1
    rows = query(database_url, "SELECT customer_id, fingerprint, digest, content_digest FROM decisions")
    assert rows == [(pseudonym, None, None, None)]
    assert tables_with(database_url, ID) == {}
    assert json.loads(erase(ID, "--legal-hold", "--json")[1])["pseudonym"] == pseudonym

    assert json.loads(erase(ID, "--json")[1])["removed"][DECISIONS] == 1
    assert query(database_url, "SELECT count(*) FROM decisions") == [(0,)]


@pytest.mark.parametrize(
    ("value", "is_theirs"),
    [
        ('{"customer_id":"C-1","type":"click"}', True),
        ('{"customer_id":"\\u0043-1"}', True),
        ('{"customer_id":"C-1","customer_id":"C-9"}', True),
        ('{"customer_id":"C-1', True),
        ("of C-1: nothing", True),
        ('{"customer_id":"C-1.2"}', False),
        ('{"customer_id":"C-12"}', False),
        ('{"customer_id":"AC-1"}', False),
        ('{"customer_id":"C-1-', False),
    ],
)
def test_a_letter_is_the_customers_where_it_names_the_whole_id(
    world: WorkerWorld, erase: Callable[..., tuple[int, str, str]], value: str, is_theirs: bool
) -> None:
    execute(
        world.database_url,
        letter(value, offset=1),
        letter("{}", key=ID, offset=2),
        letter("{}", offset=3, reason="EventIdReused: kept of C-1."),
    )
    assert erase(ID)[0] == 0
    assert world.count("dead_letters") == (0 if is_theirs else 1)


def test_what_arrives_again_after_the_erasure_has_no_effect(
    world: WorkerWorld, erase: Callable[..., tuple[int, str, str]]
) -> None:
    world.start(worker_history_mebibytes=8)
    isin = world.model.id_map.isins[0]
    profile = CustomerChanged(customer_id=ID, risk_level="Aggressive", changed_on=date(2022, 1, 1))
    world.publish(CUSTOMERS_CHANGED, profile)
    click, order = world.click(ID, isin), world.order(ID, isin)
    request = world.ask(ID)
    world.answers([request])
    assert tables_with(world.database_url, ID).keys() >= {"user_interactions", "recorded_customers", "recommendations"}

    assert erase(ID)[0] == 0
    again = [
        (CUSTOMERS_CHANGED, encode(profile)),
        (INTERACTIONS_RECORDED, encode(click)),
        (TRANSACTIONS_RECORDED, encode(order)),
        (INTERACTIONS_RECORDED, b'{"customer_id":"C-1", broken'),
        (RECOMMENDATIONS_REQUESTED, encode(request)),
    ]
    for topic, value in again:
        world.send(topic, key=ID, value=value)
    late = world.ask(ID)
    ended = "SELECT count(*) FROM dead_letters WHERE event_id = %s AND reason LIKE 'CustomerErased%%'"
    world.wait(lambda: world.rows(ended, str(late.event_id)) == [(1,)], "the late request has an end")
    assert tables_with(world.database_url, ID) == {}
    world.answers([world.ask("another")])


def test_a_transaction_that_began_before_is_waited_for(
    world: WorkerWorld, erase: Callable[..., tuple[int, str, str]]
) -> None:
    execute(world.database_url, *rows_of(ID))
    connection = psycopg2.connect(world.database_url)
    connection.cursor().execute(rows_of(ID, offset=5)[5])
    codes: list[int] = []
    thread = threading.Thread(target=lambda: codes.append(erase(ID)[0]))
    thread.start()
    world.wait(lambda: world.count("erased_customers") == 1, "the tombstone is there")
    connection.commit()
    connection.close()
    thread.join(60)
    assert codes == [0]
    assert tables_with(world.database_url, ID) == {}


def test_a_transaction_that_does_not_end_is_named_and_a_repetition_goes_on(
    world: WorkerWorld, erase: Callable[..., tuple[int, str, str]]
) -> None:
    execute(world.database_url, *rows_of(ID))
    connection = psycopg2.connect(world.database_url, application_name="long-one")
    connection.cursor().execute(rows_of(NEIGHBOUR, offset=5)[5])
    code, _, said = erase(ID, "--wait-seconds", "1")
    assert code == 3
    assert "long-one" in said
    connection.rollback()
    connection.close()
    assert erase(ID)[0] == 0
    assert tables_with(world.database_url, ID) == {}


@pytest.mark.usefixtures("world")
def test_no_load_append_or_undo_brings_the_customer_back_and_no_training_reads_it(
    database_url: str, erase: Callable[..., tuple[int, str, str]], tmp_path: Path
) -> None:
    folder, customer_id = write_rows(tmp_path / "all", count=70), "C69"
    others = f"SELECT count(*) FROM customer_information WHERE customer_id <> '{customer_id}'"
    for _ in range(2):  # the second load keeps the rows of the first one
        assert load(folder, database_url) == 0
    assert erase(customer_id)[0] == 0
    assert tables_with(database_url, customer_id) == {}

    for arguments in (("--undo",), (), ("--append",), ("--undo",)):
        more = () if arguments == ("--undo",) else ("--data", str(folder))
        assert LOADER.main([*more, "--database-url", database_url, *arguments]) == 0, arguments
        assert tables_with(database_url, customer_id) == {}, arguments
        assert query(database_url, others) == [(69,)]
    engine = build_engine(database_url, application_name="trainer")
    rows = postgres_store(engine).fetch_training_rows().rows
    engine.dispose()
    assert customer_id not in {customer.customer_id for customer in rows.customers}
    assert customer_id not in set(rows.purchases["customer_id"])
