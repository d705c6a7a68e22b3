"""The partitions of decisions: what they hold, when they are made, and what is dropped after the retention."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import psycopg2
import pytest
from structlog.testing import capture_logs

from shared.errors import DatabaseUnavailable
from tests.integration.test_stored_lists import PARTS, displays, list_of, made, read_list, rows
from worker.decision_months import ONE_AT_A_TIME, DecisionMonths, month_of
from worker.ports import Decision
from worker.store import PostgresWorkerStore

pytestmark = pytest.mark.postgres

NOW = datetime.now(UTC)
THIS, NEXT = month_of(NOW, 0), month_of(NOW, 1)
RETENTION = 2
# When the month of NOW is after its retention.
LATER = month_of(NOW, RETENTION + 1) + timedelta(days=3)


@pytest.fixture
def store(database_url: str) -> Iterator[PostgresWorkerStore]:
    store = PostgresWorkerStore(database_url, cluster_id="test", consumer_group="worker")
    yield store
    store.close()


@pytest.fixture
def months(database_url: str) -> Iterator[DecisionMonths]:
    months = DecisionMonths(database_url, retention_months=RETENTION)
    yield months
    months.close()


def asked(requested_at: datetime, customer_id: str = "C1", **fields: object) -> Decision:
    return replace(made(list_of(PARTS, displays(3)), customer_id), requested_at=requested_at, **fields)  # type: ignore[arg-type]


def keep(store: PostgresWorkerStore, *decisions: Decision) -> set[str]:
    with store.begin() as transaction:
        return {str(one) for one in transaction.insert_decisions(decisions, reference_snapshot="")}


def tables(database_url: str) -> dict[str, int]:
    """Return the decisions of each table that has some."""
    found = rows(database_url, "SELECT tableoid::regclass::text, count(*) FROM decisions GROUP BY 1")
    return dict(found)


def table_of(month: datetime) -> str:
    return f"decisions_{month:%Y_%m}"


def ids(database_url: str) -> set[str]:
    return {request_id for (request_id,) in rows(database_url, "SELECT request_id::text FROM decisions")}


def test_a_decision_is_in_the_month_of_its_request_whatever_its_time(
    database_url: str, store: PostgresWorkerStore
) -> None:
    times = [
        datetime(2000, 1, 1, tzinfo=UTC),
        THIS - timedelta(microseconds=1),
        THIS,
        NEXT,
        datetime(9000, 1, 1, tzinfo=UTC),
    ]
    keep(store, *(asked(moment, f"C{number}") for number, moment in enumerate(times)))
    assert tables(database_url) == {
        "decisions_past": 2,
        table_of(THIS): 1,
        table_of(NEXT): 1,
        "decisions_other": 1,
    }
    assert [len(read_list(database_url, f"C{number}").items or ()) for number in range(5)] == [3] * 5


@pytest.mark.parametrize("moment", [THIS, datetime(2000, 1, 1, tzinfo=UTC), datetime(9000, 1, 1, tzinfo=UTC)])
def test_a_redelivered_request_has_one_decision(
    database_url: str, store: PostgresWorkerStore, moment: datetime
) -> None:
    first = asked(moment)
    assert keep(store, first) == {str(first.request_id)}
    assert keep(store, first, asked(moment, request_id=first.request_id)) == set()
    with store.begin() as transaction:
        assert set(transaction.fetch_decided([first.request_id])) == {first.request_id}
    assert len(ids(database_url)) == 1


def test_a_request_of_another_month_is_found_by_its_id(store: PostgresWorkerStore) -> None:
    """As after the repetition of an Idempotency-Key, whose event has a time of its own."""
    first = asked(THIS - timedelta(days=40))
    keep(store, first)
    again, new = asked(THIS, "C2", request_id=first.request_id), asked(THIS, "C3")
    assert keep(store, again, new) == {str(new.request_id)}
    with store.begin() as transaction:
        [kept] = transaction.fetch_decided([first.request_id]).values()
    assert kept.fields == {"customer_id": "C1", "action": "refresh_recs"}


def test_months_are_made_ahead_and_once(database_url: str, months: DecisionMonths) -> None:
    of_partitions = "SELECT count(*) FROM pg_inherits WHERE inhparent = 'decisions'::regclass"
    [(before,)] = rows(database_url, of_partitions)
    months.keep(NOW, stop=threading.Event())
    assert rows(database_url, of_partitions) == [(before,)]  # the migration made them
    for _ in range(2):
        months.keep(NEXT, stop=threading.Event())
        assert rows(database_url, of_partitions) == [(before + 1,)]


def test_a_month_is_made_once_its_lock_is_free_and_stops_nobody(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as transaction:
            transaction.insert_decisions([asked(THIS)], reference_snapshot="")
            transaction.fetch_decided([asked(THIS).request_id])  # looks into every partition
            making = pool.submit(months.keep, NEXT, stop=threading.Event())
            for _ in range(5):
                transaction.fetch_decided([asked(THIS).request_id])
            transaction.insert_decisions([asked(THIS, "C2")], reference_snapshot="")
        making.result(timeout=120)
    keep(store, asked(month_of(NEXT, 1)))
    assert tables(database_url) == {table_of(THIS): 2, table_of(month_of(NEXT, 1)): 1}


def test_a_month_whose_decisions_lie_in_the_default_partition_is_not_made(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    late = month_of(NEXT, 3)
    keep(store, asked(late))
    with capture_logs() as logs:
        months.keep(late, stop=threading.Event())
    assert [(log["event"], log["table"]) for log in logs if log["log_level"] == "warning"] == [
        ("decisions.month_not_made", table_of(late))
    ]
    assert tables(database_url) == {"decisions_other": 1}


def test_a_month_after_its_retention_goes_but_for_the_decisions_of_current_lists(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    replaced, current, late = (
        asked(THIS),
        asked(THIS + timedelta(hours=1)),
        asked(datetime(2000, 1, 1, tzinfo=UTC), "C2"),
    )
    old, newer = asked(THIS, "C3"), asked(LATER, "C3")
    preview = asked(THIS, "C1", is_preview=True)
    keep(store, replaced, current, preview, late, old, newer)
    before = {name: read_list(database_url, name) for name in ("C1", "C2", "C3")}

    months.keep(month_of(LATER, -1), stop=threading.Event())
    assert len(ids(database_url)) == 6  # not yet
    months.keep(LATER, stop=threading.Event())
    assert ids(database_url) == {str(one.request_id) for one in (current, late, newer)}
    assert {name: read_list(database_url, name) for name in before} == before
    assert "decisions_past" in tables(database_url)
    assert table_of(THIS) not in {name for (name,) in rows(database_url, "SELECT relname FROM pg_class")}
    with store.begin() as transaction:
        assert transaction.fetch_fresh_lists(["C1", "C2", "C3"]).keys() == before.keys()
    # A request of a dropped month has its place, and its redelivery conflicts.
    again = asked(THIS, "C4")
    assert (keep(store, again), keep(store, again)) == ({str(again.request_id)}, set())

    # A month later the decisions of lists that were replaced since are dropped, too.
    keep(store, asked(LATER, "C1"))
    months.keep(month_of(LATER, 1), stop=threading.Event())
    assert str(current.request_id) not in ids(database_url)
    assert str(late.request_id) in ids(database_url)


def test_nothing_is_dropped_without_a_retention(database_url: str, store: PostgresWorkerStore) -> None:
    keep(store, asked(THIS), asked(THIS))
    months = DecisionMonths(database_url, retention_months=None)
    months.keep(month_of(NOW, 60), stop=threading.Event())
    months.close()
    assert len(ids(database_url)) == 2


def test_a_list_of_an_older_worker_keeps_its_decision(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    """It names the decision by request_id alone."""
    current = asked(THIS)
    keep(store, current)
    rows(database_url, "UPDATE recommendations SET requested_at = NULL")
    months.keep(LATER, stop=threading.Event())
    assert ids(database_url) == {str(current.request_id)}


def test_one_worker_drops_at_a_time(database_url: str, store: PostgresWorkerStore, months: DecisionMonths) -> None:
    keep(store, asked(THIS), asked(THIS))
    other = psycopg2.connect(database_url)
    with other.cursor() as cursor:
        cursor.execute("SELECT pg_advisory_lock(%s)", [ONE_AT_A_TIME])
    months.keep(LATER, stop=threading.Event())
    assert len(ids(database_url)) == 2
    other.close()
    months.keep(LATER, stop=threading.Event())
    assert len(ids(database_url)) == 1


def test_a_reader_that_stays_delays_the_dropping_and_no_other_reader(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    keep(store, asked(THIS), asked(THIS))
    with ThreadPoolExecutor(1) as pool:
        with store.begin() as transaction:
            transaction.fetch_decided([asked(THIS).request_id])
            dropping = pool.submit(months.keep, LATER, stop=threading.Event())
            for _ in range(10):
                assert len(read_list(database_url).items or ()) == 3
            assert not dropping.done()
        dropping.result(timeout=120)
    assert len(ids(database_url)) == 1


def test_what_was_detached_before_a_crash_is_looked_through_and_dropped(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    """A decision that became current while the others were copied is in no partition."""
    current, replaced = asked(THIS), asked(THIS, "C2")
    keep(store, current, replaced, asked(NEXT, "C2"))
    for table in ("decisions_past", table_of(THIS)):
        rows(database_url, f"ALTER TABLE decisions DETACH PARTITION {table}")
    rows(database_url, f"ALTER TABLE {table_of(THIS)} RENAME TO decisions_retired_{THIS:%Y_%m}")
    rows(
        database_url,
        f"ALTER TABLE decisions ATTACH PARTITION decisions_past FOR VALUES FROM (MINVALUE) TO ('{NEXT}')",
    )
    months.keep(NEXT, stop=threading.Event())
    assert str(current.request_id) in ids(database_url)
    assert str(replaced.request_id) not in ids(database_url)


def test_a_stopping_worker_does_not_wait_for_the_lock(
    database_url: str, store: PostgresWorkerStore, months: DecisionMonths
) -> None:
    keep(store, asked(THIS), asked(THIS))
    stop = threading.Event()
    stop.set()
    with store.begin() as transaction:
        transaction.fetch_decided([asked(THIS).request_id])
        with pytest.raises(DatabaseUnavailable):
            months.keep(LATER, stop=stop)
    assert len(ids(database_url)) == 2
    months.keep(LATER, stop=threading.Event())
    assert len(ids(database_url)) == 1
