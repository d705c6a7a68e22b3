"""Old interactions and dead letters are removed; what a list or a watchlist still needs is not."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import closing
from uuid import uuid4

import psycopg2
import pytest

from tests.integration.loading import query
from worker import retention
from worker.retention import Retention

pytestmark = pytest.mark.postgres

OLD, NEW = "now() - interval '5 months'", "now()"


@pytest.fixture
def connection(database_url: str) -> Iterator[psycopg2.extensions.connection]:
    connection = psycopg2.connect(database_url)
    connection.autocommit = True
    yield connection
    connection.close()


def interact(connection: psycopg2.extensions.connection, isin: str, kind: str, recorded_at: str = OLD) -> None:
    """Store an interaction; the numbers are those of the calls."""
    connection.cursor().execute(
        "INSERT INTO user_interactions (event_id, customer_id, isin, interaction_type, occurred_at, recorded_at,"
        f" partition, event_offset) VALUES (%s, 'C1', %s, %s, {NEW}, {recorded_at}, 0, 0)",
        (str(uuid4()), isin, kind),
    )


def letter(connection: psycopg2.extensions.connection, offset: int, failed_at: str) -> None:
    connection.cursor().execute(
        "INSERT INTO dead_letters (cluster_id, consumer_group, topic, partition, event_offset, reason, failed_at)"
        f" VALUES ('k', 'worker', 't', 0, {offset}, 'r', {failed_at})"
    )


def keep(database_url: str, *, interactions: int | None = 3, letters: int | None = 3) -> dict[str, int]:
    months = {"user_interactions": interactions, "dead_letters": letters}
    with closing(Retention(database_url, months=months)) as job:
        return job.keep(stop=threading.Event())


def left(database_url: str) -> list[tuple[str, str]]:
    rows = query(database_url, "SELECT isin, interaction_type FROM user_interactions ORDER BY isin, sequence")
    return [(isin, kind) for isin, kind in rows]


def test_only_old_rows_are_removed_and_without_a_setting_none(
    database_url: str, connection: psycopg2.extensions.connection
) -> None:
    for recorded_at in (OLD, NEW):
        interact(connection, "I1", "click", recorded_at)
        letter(connection, 1 if recorded_at == OLD else 2, recorded_at)
    assert keep(database_url, interactions=None, letters=None) == {}
    assert keep(database_url, interactions=9, letters=9) == {"user_interactions": 0, "dead_letters": 0}
    assert keep(database_url) == {"user_interactions": 1, "dead_letters": 1}
    assert left(database_url) == [("I1", "click")]
    assert query(database_url, "SELECT event_offset FROM dead_letters") == [(2,)]


def test_a_dismissal_and_a_watched_asset_stay_until_something_ends_them(
    database_url: str, connection: psycopg2.extensions.connection
) -> None:
    for isin, kinds in {
        "I1": ("view", "dismiss"),
        "I2": ("dismiss", "undismiss"),
        "I3": ("dismiss", "impression", "unwatch"),
        "I4": ("watchlist", "click"),
        "I5": ("watchlist", "unwatch"),
        "I6": ("impression",),
    }.items():
        for kind in kinds:
            interact(connection, isin, kind)
    interact(connection, "I7", "dismiss")
    interact(connection, "I7", "click", NEW)
    keep(database_url)
    assert left(database_url) == [("I1", "dismiss"), ("I3", "dismiss"), ("I4", "watchlist"), ("I7", "click")]


def test_rows_go_batch_by_batch_in_the_order_of_the_log(
    database_url: str, connection: psycopg2.extensions.connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(retention, "ROWS_PER_BATCH", 1)
    interact(connection, "I1", "dismiss")
    interact(connection, "I1", "click")

    class StopAfterOne(threading.Event):
        """Is set from the second question on."""

        asked = 0

        def wait(self, timeout: float | None = None) -> bool:
            self.asked += 1
            return self.asked > 1

    with closing(Retention(database_url, months={"user_interactions": 3})) as job:
        assert job.keep(stop=StopAfterOne()) == {"user_interactions": 1}
    # The other way round the dismissal would count again.
    assert left(database_url) == [("I1", "click")]


def test_one_worker_does_it_at_a_time(database_url: str, connection: psycopg2.extensions.connection) -> None:
    interact(connection, "I1", "click")
    connection.cursor().execute(f"SELECT pg_advisory_lock({retention.ONE_AT_A_TIME})")
    assert keep(database_url) == {}
    assert left(database_url) == [("I1", "click")]
