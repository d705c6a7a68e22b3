"""The WorkerStore: offsets, transactions, dead letters and reference data."""

from __future__ import annotations

import contextlib
import threading
import time
from dataclasses import replace
from uuid import uuid4

import psycopg2
import pytest
from sqlalchemy.exc import DataError

from shared.errors import (
    DatabaseUnavailable,
    StaleOffsets,
)
from shared.events import RECOMMENDATIONS_REQUESTED
from shared.ports import (
    Message,
    StoredOffset,
)
from shared.postgres.dead_letter_store import DeadLetterBox, LetterFilter
from tests.fakes_store import display_of
from tests.integration.ports.store_world import (
    CLICKS,
    REQUESTS,
    StoreWorld,
    click,
    decision,
    message,
)
from worker.store import PostgresWorkerStore


def test_stored_offsets_are_found_again(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0, CLICKS: 7})
        transaction.store_offsets({REQUESTS: 5, CLICKS: 9})
    found = database.other.fetch_offsets([REQUESTS, CLICKS, ("recommendations.requested.v1", 1)])
    assert found == {REQUESTS: StoredOffset(5), CLICKS: StoredOffset(9)}


def test_a_start_that_is_not_the_stored_offset_is_refused(database: StoreWorld) -> None:
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        transaction.store_offsets({REQUESTS: 5})
    for start in (0, 4, 6):
        with pytest.raises(StaleOffsets), database.other.begin() as transaction:
            transaction.lock_offsets({CLICKS: 0, REQUESTS: start})
    assert database.store.fetch_offsets([REQUESTS, CLICKS]) == {REQUESTS: StoredOffset(5)}


def test_an_offset_is_stored_with_the_topic_that_was_read(database: StoreWorld) -> None:
    database.store.note_topic_ids({REQUESTS: "first"})
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0, CLICKS: 0})
        transaction.store_offsets({REQUESTS: 5, CLICKS: 5})
    assert database.other.fetch_offsets([REQUESTS, CLICKS]) == {
        REQUESTS: StoredOffset(5, "first"),
        CLICKS: StoredOffset(5),
    }
    # One that knows no ids keeps what is there; a row without an id gets one with the next offset.
    database.store.note_topic_ids({CLICKS: "second"})
    with database.other.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 5})
        transaction.store_offsets({REQUESTS: 6})
    with database.store.begin() as transaction:
        transaction.lock_offsets({CLICKS: 5})
        transaction.store_offsets({CLICKS: 7})
    assert database.other.fetch_offsets([REQUESTS, CLICKS]) == {
        REQUESTS: StoredOffset(6, "first"),
        CLICKS: StoredOffset(7, "second"),
    }


def test_a_batch_of_another_topic_of_that_name_is_refused(database: StoreWorld) -> None:
    database.store.note_topic_ids({REQUESTS: "first"})
    database.other.note_topic_ids({REQUESTS: "second"})
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        transaction.store_offsets({REQUESTS: 5})
    with pytest.raises(StaleOffsets), database.other.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 5})
    assert database.store.fetch_offsets([REQUESTS]) == {REQUESTS: StoredOffset(5, "first")}


def test_a_transaction_that_fails_leaves_nothing(database: StoreWorld) -> None:
    def fail_at_the_end() -> None:
        with database.store.begin() as transaction:
            transaction.lock_offsets({REQUESTS: 0})
            transaction.insert_interactions([click()])
            transaction.insert_decisions([decision()], reference_snapshot="")
            transaction.insert_dead_letters([(message(), "reason")])
            transaction.store_offsets({REQUESTS: 5})
            raise KeyError

    with pytest.raises(KeyError):
        fail_at_the_end()
    assert database.store.fetch_offsets([REQUESTS]) == {}
    with database.store.begin() as transaction:
        assert transaction.fetch_histories(["C1"])["C1"].interactions == ()
        assert transaction.fetch_fresh_lists(["C1"]) == {}


def test_what_fails_within_a_savepoint_is_undone_and_the_transaction_goes_on(database: StoreWorld) -> None:
    good, bad = click("GR1"), click("GR2", offset=1)
    with database.store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        with transaction.savepoint():
            transaction.insert_interactions([good])
        with contextlib.suppress(KeyError), transaction.savepoint():
            transaction.insert_interactions([bad])
            raise KeyError
        transaction.store_offsets({REQUESTS: 2})
    assert database.store.fetch_offsets([REQUESTS]) == {REQUESTS: StoredOffset(2)}
    with database.store.begin() as transaction:
        assert [kept.isin for kept in transaction.fetch_histories(["C1"])["C1"].interactions] == ["GR1"]


@pytest.mark.postgres
def test_a_statement_that_the_database_refuses_within_a_savepoint_is_a_messages_fault(database_url: str) -> None:
    store = PostgresWorkerStore(database_url, cluster_id=str(uuid4()), consumer_group="worker")
    refused = replace(decision(), event_offset=2**70)
    with store.begin() as transaction:
        with pytest.raises(DataError), transaction.savepoint():
            transaction.insert_decisions([refused], reference_snapshot="")
        transaction.insert_dead_letters([(message(offset=0), "DataError: refused")])
    store.close()


@pytest.mark.postgres
def test_a_connection_that_breaks_within_a_savepoint_is_no_messages_fault(database_url: str) -> None:
    store = PostgresWorkerStore(database_url, cluster_id=str(uuid4()), consumer_group="worker")

    def lose_the_connection() -> None:
        with store.begin() as transaction:
            transaction.lock_offsets({REQUESTS: 0})
            with psycopg2.connect(database_url) as other, other.cursor() as cursor:
                cursor.execute(
                    "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                    " WHERE datname = current_database() AND pid <> pg_backend_pid()"
                )
            with transaction.savepoint():
                transaction.insert_interactions([click()])

    with pytest.raises(DatabaseUnavailable):
        lose_the_connection()
    store.close()


def test_a_dead_letter_is_kept_once_with_any_bytes(database: StoreWorld) -> None:
    poison = Message(RECOMMENDATIONS_REQUESTED, 3, 4, None, b"\x00\xff")
    for _ in range(2):
        with database.store.begin() as transaction:
            transaction.insert_dead_letters([(poison, "reason"), (message(), "another")])


def test_what_lists_show_is_the_latest_version_and_price(database: StoreWorld) -> None:
    database.add_asset("GR1")
    shown = database.store.fetch_asset_displays()["GR1"]
    assert replace(shown, price_date=None) == display_of("GR1")  # the fake has no tables of prices


def test_snapshots_change_when_a_table_is_loaded(database: StoreWorld) -> None:
    before = database.store.fetch_snapshots()
    database.load_transactions()
    first = database.store.fetch_snapshots()
    database.load_transactions()
    assert before != first != database.store.fetch_snapshots()


def test_a_database_that_cannot_be_reached_is_unavailable() -> None:
    store = PostgresWorkerStore("postgresql://nobody@127.0.0.1:1/none", cluster_id="cluster", consumer_group="worker")
    with pytest.raises(DatabaseUnavailable):
        store.fetch_offsets([REQUESTS])
    with pytest.raises(DatabaseUnavailable), store.begin():
        pass


@pytest.mark.postgres
def test_a_database_without_tables_is_unavailable_and_no_message_is_blamed(empty_database_url: str) -> None:
    store = PostgresWorkerStore(empty_database_url, cluster_id="cluster", consumer_group="worker")
    with pytest.raises(DatabaseUnavailable), store.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
    store.close()


@pytest.mark.postgres
@pytest.mark.parametrize("stored_before", [False, True])
def test_two_consumers_of_the_same_partition_meet_at_its_row(database_url: str, stored_before: bool) -> None:
    stores = [PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker") for _ in range(2)]
    if stored_before:
        with stores[0].begin() as transaction:
            transaction.lock_offsets({REQUESTS: 0})
    outcomes: list[str] = []

    def second() -> None:
        try:
            with stores[1].begin() as transaction:
                transaction.lock_offsets({REQUESTS: 0})
                transaction.store_offsets({REQUESTS: 3})
            outcomes.append("stored")
        except StaleOffsets:
            outcomes.append("refused")

    with stores[0].begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        thread = threading.Thread(target=second)
        thread.start()
        wait_until_blocked(database_url)
        assert outcomes == []
        transaction.store_offsets({REQUESTS: 5})
    thread.join()
    assert outcomes == ["refused"]
    assert stores[0].fetch_offsets([REQUESTS]) == {REQUESTS: StoredOffset(5)}
    for store in stores:
        store.close()


@pytest.mark.postgres
def test_a_letter_of_a_topic_that_was_made_anew_is_kept_beside_the_one_at_its_place(database_url: str) -> None:
    store = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    box = DeadLetterBox(database_url)
    for topic_id, value in (("first", b"old"), ("first", b"old"), ("second", b"new")):
        store.note_topic_ids({REQUESTS: topic_id})
        with store.begin() as transaction:
            transaction.insert_dead_letters([(replace(message(REQUESTS), value=value), "reason")])
    kept = list(box.find(LetterFilter(), limit=10, value_bytes=10))
    assert [(one.topic_id, one.value) for one in kept] == [("first", b"old"), ("second", b"new")]
    with box.replaying(kept[0].dead_letter_id) as letter:
        assert letter is not None
    assert [one.value for one in box.find(LetterFilter(), limit=10, value_bytes=10)] == [b"new"]
    box.close()
    store.close()


@pytest.mark.postgres
def test_offsets_of_another_cluster_or_group_are_not_ours(database_url: str) -> None:
    ours = PostgresWorkerStore(database_url, cluster_id="cluster", consumer_group="worker")
    with ours.begin() as transaction:
        transaction.lock_offsets({REQUESTS: 0})
        transaction.store_offsets({REQUESTS: 5})
    for cluster_id, group in (("cluster", "trainer"), ("another", "worker")):
        theirs = PostgresWorkerStore(database_url, cluster_id=cluster_id, consumer_group=group)
        assert theirs.fetch_offsets([REQUESTS]) == {}
        theirs.close()
    ours.close()


def wait_until_blocked(database_url: str) -> None:
    """Wait until a session of this database waits for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
    deadline = time.monotonic() + 20.0
    with contextlib.closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        connection.autocommit = True
        cursor.execute(waiting)
        while cursor.fetchone() == (0,):
            assert time.monotonic() < deadline, "no session waits for a lock"
            time.sleep(0.01)
            cursor.execute(waiting)
