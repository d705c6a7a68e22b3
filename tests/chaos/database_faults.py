"""A database that lets nobody down and yet fails: cut connections, deadlocks, serialization failures."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator

import psycopg2
import psycopg2.extensions

from tests.chaos.campaign import Campaign

TRIES = 5


def close_connections(campaign: Campaign) -> None:
    """Every session of every service is terminated, idle or not."""
    since = time.monotonic()
    for _ in range(3):
        terminate_sessions(campaign)
        campaign.wait_randomly(0.5)
    campaign.recover("closed connections", since=since)


def deadlock(campaign: Campaign) -> None:
    """Another session locks rows in the opposite order of the worker's, until PostgreSQL ends the worker's one."""
    worker = campaign.system["worker"]
    position, since = worker.log_end(), time.monotonic()

    def happened() -> bool:
        return worker.logged_since(position, "deadlock detected") > 0

    for _ in range(TRIES):
        with session(campaign) as cursor:
            # So that the worker's session looks for a deadlock first, after a second, and is the victim.
            cursor.execute("SET deadlock_timeout = '10s'; SET statement_timeout = '8s'; BEGIN")
            cursor.execute("UPDATE recommendations SET created_at = created_at")
            time.sleep(0.5)
            with contextlib.suppress(psycopg2.Error):
                cursor.execute("SELECT 1 FROM consumer_offsets WHERE consumer_group = 'worker' FOR UPDATE")
            with contextlib.suppress(psycopg2.Error):
                cursor.execute("ROLLBACK")
        if happened():
            break
        time.sleep(0.5)
    campaign.expect(happened(), "no deadlock could be provoked")
    campaign.recover("deadlock", since=since)


def serialization_failure(campaign: Campaign) -> None:
    """The sessions are made REPEATABLE READ, and another one changes the rows that the worker is about to lock."""
    worker = campaign.system["worker"]
    position, since = worker.log_end(), time.monotonic()

    def happened() -> bool:
        return worker.logged_since(position, "could not serialize access") > 0

    campaign.system.execute("ALTER DATABASE recommender SET default_transaction_isolation TO 'repeatable read'")
    try:
        terminate_sessions(campaign)
        with session(campaign) as cursor:
            deadline = time.monotonic() + 15.0
            while not happened() and time.monotonic() < deadline:
                cursor.execute("BEGIN ISOLATION LEVEL READ COMMITTED")
                cursor.execute("UPDATE consumer_offsets SET updated_at = now() WHERE consumer_group = 'worker'")
                time.sleep(0.3)
                cursor.execute("COMMIT")
                time.sleep(0.05)
    finally:
        campaign.system.execute("ALTER DATABASE recommender RESET default_transaction_isolation")
        terminate_sessions(campaign)
    campaign.expect(happened(), "no serialization failure could be provoked")
    campaign.recover("serialization failure", since=since)


def terminate_sessions(campaign: Campaign) -> None:
    """End every other session of the campaign's database."""
    campaign.system.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid() AND application_name <> 'chaos'"
    )


@contextlib.contextmanager
def session(campaign: Campaign) -> Iterator[psycopg2.extensions.cursor]:
    """A session of the campaign's own that sends its own BEGIN and COMMIT."""
    connection = psycopg2.connect(campaign.system.environment.database_url, application_name="chaos", connect_timeout=5)
    connection.autocommit = True
    try:
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()
