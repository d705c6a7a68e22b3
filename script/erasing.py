"""Remove everything that the database has of one customer, and keep it out: what script/erase_customer.py does.

1. The tombstone is committed: from then on triggers remove whatever anybody writes of the customer (migration 0023).
2. Transactions that began to write before it are waited for; loaders and the keeper of months stay out meanwhile.
3. The rows are removed, one table after the other, and looked for again.
"""

from __future__ import annotations

import json
import re
import secrets
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from uuid import UUID, uuid4

from sqlalchemy import Connection, Engine, text

from shared.errors import DatabaseUnavailable, RecommenderError
from shared.postgres.errors import translated
from shared.postgres.notifications import CHANNEL

# Tables whose rows are one customer's; of the reference tables before the generation that a load keeps of them.
ROWS_OF_CUSTOMERS = (
    *("customer_information", "transactions", "previous_customer_information", "previous_transactions"),
    *("user_interactions", "recorded_transactions", "recorded_customers", "recommendations"),
)
DECISIONS, LETTERS = "decisions", "dead_letters"
# Columns of text that no customer is named in: a test compares them with the schema, so a new one must be decided on.
WITHOUT_CUSTOMERS = {
    **dict.fromkeys(("asset_information", "limit_prices", "close_prices", "markets"), "about assets and markets"),
    **dict.fromkeys(
        ("previous_asset_information", "previous_limit_prices", "previous_close_prices", "previous_markets"),
        "about assets and markets",
    ),
    **dict.fromkeys(("recorded_assets", "recorded_close_prices"), "events about assets"),
    "recorded_suspensions": "events about assets, categories and models, with the operator's reason",
    "shown_asset_versions": "contents of assets",
    **dict.fromkeys(("reference_snapshots", "previous_snapshots"), "names of tables and files"),
    **dict.fromkeys(("reference_changes", "consumer_offsets"), "names of topics and counts"),
    **dict.fromkeys(("model_versions", "model_commands"), "about models, with the operator's reason"),
    "erased_customers": "the tombstone: a digest of the id, which keeps the customer out",
    "alembic_version": "the revision of the schema",
}
_LOADER_LOCK = 0x4641525F54524E53  # of shared/far_trans/store.py
_MONTHS_LOCK = 7_203_915  # of worker/decision_months.py
_POLL_SECONDS = 0.2
_PAGE_LETTERS = 200
_ROUNDS = 3
_ESCAPED = re.compile(r"\\u00([0-9a-fA-F]{2})")  # every character of an id is ASCII

_TOMBSTONE = """
INSERT INTO erased_customers AS gone (customer_digest, event_id, pseudonym)
VALUES (customer_digest(:customer_id), :event_id, :pseudonym)
ON CONFLICT (customer_digest) DO UPDATE SET
    event_id = CASE WHEN (gone.pseudonym IS NULL) = (excluded.pseudonym IS NULL) THEN gone.event_id
                    ELSE excluded.event_id END,
    published_at = CASE WHEN (gone.pseudonym IS NULL) = (excluded.pseudonym IS NULL) THEN gone.published_at END,
    pseudonym = CASE WHEN excluded.pseudonym IS NOT NULL THEN coalesce(gone.pseudonym, excluded.pseudonym) END
RETURNING event_id, erased_at, published_at, pseudonym
"""
_KNOWN = "SELECT pseudonym FROM erased_customers WHERE customer_digest = customer_digest(:customer_id)"
# A transaction that wrote one of these tables holds this lock until its end.
_WRITERS = """
SELECT DISTINCT lock.virtualtransaction || ' of ' || coalesce(nullif(session.application_name, ''), 'a session')
FROM pg_locks AS lock JOIN pg_stat_activity AS session ON session.pid = lock.pid
WHERE lock.locktype = 'relation' AND lock.mode = 'RowExclusiveLock' AND lock.granted AND lock.pid <> pg_backend_pid()
  AND lock.database = (SELECT oid FROM pg_database WHERE datname = current_database())
  AND lock.relation IN (SELECT oid FROM pg_class WHERE relkind IN ('r', 'p')
                        AND (relname = ANY(:tables) OR starts_with(relname, 'decisions')))
"""
_DECISION_TABLES = """
SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)
AND (starts_with(relname, 'decisions_retired_') OR relname = 'decisions_past_next')
"""
_PSEUDONYMISE = """
UPDATE {table} SET customer_id = :pseudonym, fingerprint = NULL, digest = NULL, content_digest = NULL
WHERE customer_id = :customer_id
"""
# A text in JSON may be escaped, so that only a parser finds the id in it.
_LETTERS = """
SELECT dead_letter_id, key, value, reason FROM dead_letters
WHERE dead_letter_id > :after AND (
    position(:id IN key) > 0 OR position(:id IN value) > 0 OR position('\\x5c75'::bytea IN value) > 0
    OR position(:customer_id IN reason) > 0)
ORDER BY dead_letter_id LIMIT :limit
"""


class UnknownCustomer(RecommenderError):
    """Nothing is known of this customer."""


@dataclass(frozen=True)
class Tombstone:
    """What keeps a customer out. `published_at`: of the event about it, None while it is not sent."""

    event_id: UUID
    erased_at: datetime
    published_at: datetime | None
    pseudonym: str | None


@dataclass(frozen=True)
class Erasure:
    """What was done: rows removed by table, decisions that stay under the pseudonym, and rows found afterwards (0)."""

    tombstone: Tombstone
    removed: dict[str, int]
    pseudonymous: int
    found_after: dict[str, int]


def erase(engine: Engine, customer_id: str, *, legal_hold: bool, wait_seconds: float) -> Erasure:
    """Remove everything of this customer; can be repeated.

    Raises UnknownCustomer, and then nothing is changed; DatabaseUnavailable when a transaction or a load that began
    before does not end in time: then the tombstone holds, and a repetition goes on.
    """
    with translated(), engine.connect() as connection, _alone(connection, wait_seconds):
        with connection.begin():
            before = count_rows(connection, customer_id)
            known = connection.execute(text(_KNOWN), {"customer_id": customer_id}).first()
            if not any(before.values()) and known is None:
                raise UnknownCustomer(f"nothing is known of customer {customer_id}: nothing was changed")
            names = [customer_id, *([known.pseudonym] if known and known.pseudonym and not legal_hold else [])]
            tombstone = _bury(connection, customer_id, legal_hold=legal_hold)
        _wait_for_writers(connection, wait_seconds)
        removed: dict[str, int] = {}
        for _ in range(_ROUNDS):
            for table, count in _remove_all(connection, names, tombstone.pseudonym).items():
                removed[table] = removed.get(table, 0) + count
            with connection.begin():
                found_after = count_rows(connection, customer_id)
            if not any(found_after.values()):
                break
        with connection.begin():
            pseudonymous = _count_decisions(connection, tombstone.pseudonym)
    return Erasure(tombstone, removed, pseudonymous, found_after)


def note_published(engine: Engine, tombstone: Tombstone) -> None:
    """Note that the event about this tombstone was acknowledged."""
    statement = "UPDATE erased_customers SET published_at = now() WHERE event_id = :event_id"
    with translated(), engine.begin() as connection:
        connection.execute(text(statement), {"event_id": tombstone.event_id})


def count_rows(connection: Connection, customer_id: str) -> dict[str, int]:
    """Return how many rows of each table are of this customer, or name them."""
    counts = {
        table: connection.scalar(
            text(f"SELECT count(*) FROM {table} WHERE customer_id = :customer_id"), {"customer_id": customer_id}
        )
        or 0
        for table in (*ROWS_OF_CUSTOMERS, *_decision_tables(connection))
    }
    return {**counts, LETTERS: sum(1 for _ in find_letters(connection, customer_id))}


def find_letters(connection: Connection, customer_id: str) -> Iterator[int]:
    """Yield the dead letters whose key, value or reason names this customer, and no longer id that contains it."""
    named = _pattern(customer_id)
    asked: dict[str, Any] = {"customer_id": customer_id, "id": customer_id.encode(), "limit": _PAGE_LETTERS, "after": 0}
    while rows := connection.execute(text(_LETTERS), asked).all():
        for row in rows:
            texts = (*_texts(bytes(row.key or b"")), *_texts(bytes(row.value or b"")), row.reason)
            if any(named.search(one) for one in texts):
                yield row.dead_letter_id
        asked["after"] = rows[-1].dead_letter_id


def _pattern(customer_id: str) -> re.Pattern[str]:
    """Return what finds the id as a word: a full stop or a colon after it ends it, unless the id goes on."""
    return re.compile(rf"(?<![A-Za-z0-9_.:-]){re.escape(customer_id)}(?![A-Za-z0-9_-])(?![.:]+[A-Za-z0-9_-])")


def _texts(content: bytes) -> Iterator[str]:
    """Yield every text of a JSON document, names and repeated names included, or else the bytes as one text."""
    try:
        yield from _strings(json.loads(content, object_pairs_hook=list))
    except (ValueError, RecursionError):
        raw = content.decode(errors="replace")
        yield _ESCAPED.sub(lambda found: chr(int(found[1], 16)), raw)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, list | tuple):
        for one in value:
            yield from _strings(one)
    else:
        yield str(value)


def _bury(connection: Connection, customer_id: str, *, legal_hold: bool) -> Tombstone:
    pseudonym = f"erased-{secrets.token_hex(12)}" if legal_hold else None
    values = {"customer_id": customer_id, "event_id": uuid4(), "pseudonym": pseudonym}
    return Tombstone(**connection.execute(text(_TOMBSTONE), values).one()._mapping)


@contextmanager
def _alone(connection: Connection, wait_seconds: float) -> Iterator[None]:
    """Keep loaders, other erasures and the keeper of months out: they copy rows from table to table."""
    deadline, held = time.monotonic() + wait_seconds, []
    try:
        for lock in (_LOADER_LOCK, _MONTHS_LOCK):
            while not _try_lock(connection, lock):
                if time.monotonic() >= deadline:
                    raise DatabaseUnavailable("a load or another erasure is at work: wait for it, then repeat")
                time.sleep(_POLL_SECONDS)
            held.append(lock)
        yield
    finally:
        if held:
            connection.invalidate()  # the locks end with the session


def _try_lock(connection: Connection, lock: int) -> bool:
    with connection.begin():
        return bool(connection.scalar(text("SELECT pg_try_advisory_lock(:lock)"), {"lock": lock}))


def _wait_for_writers(connection: Connection, wait_seconds: float) -> None:
    """Wait for the transactions that may have written before they could see the tombstone."""
    tables = {"tables": [*ROWS_OF_CUSTOMERS, LETTERS]}
    deadline = time.monotonic() + wait_seconds
    with connection.begin():
        earlier = set(connection.scalars(text(_WRITERS), tables))
    while earlier:
        if time.monotonic() >= deadline:
            raise DatabaseUnavailable(f"a transaction does not end: {', '.join(sorted(earlier))}; repeat the command")
        time.sleep(_POLL_SECONDS)
        with connection.begin():
            earlier &= set(connection.scalars(text(_WRITERS), tables))


def _remove_all(connection: Connection, names: list[str], pseudonym: str | None) -> dict[str, int]:
    """Remove the rows of each table in a transaction of its own, so that no lock is held for long."""
    removed = {}
    for table in ROWS_OF_CUSTOMERS:
        with connection.begin():
            removed[table] = _remove_rows(connection, table, names)
    with connection.begin():
        tables = _decision_tables(connection)
    for table in tables:
        with connection.begin():
            if pseudonym is not None:
                values = {"customer_id": names[0], "pseudonym": pseudonym}
                connection.execute(text(_PSEUDONYMISE.format(table=table)), values)
            removed[table] = _remove_rows(connection, table, names)
    with connection.begin():
        ids = list(find_letters(connection, names[0]))
        connection.execute(text("DELETE FROM dead_letters WHERE dead_letter_id = ANY(:ids)"), {"ids": ids})
        # Workers read again: a history that was kept since the tombstone may be of rows that are gone now.
        number = "UPDATE erased_customers SET number = DEFAULT WHERE customer_digest = customer_digest(:customer)"
        connection.execute(text(number), {"customer": names[0]})
        # Clients that wait, streams and caches read again.
        connection.execute(text("SELECT pg_notify(:channel, :customer)"), {"channel": CHANNEL, "customer": names[0]})
    return {**removed, LETTERS: len(ids)}


def _remove_rows(connection: Connection, table: str, names: list[str]) -> int:
    count = connection.execute(text(f"DELETE FROM {table} WHERE customer_id = ANY(:names)"), {"names": names}).rowcount
    if table.startswith("previous_"):  # an undo compares it with the rows that it finds
        kept = "UPDATE previous_snapshots SET kept_count = kept_count - :count WHERE table_name = :table"
        connection.execute(text(kept), {"count": count, "table": table.removeprefix("previous_")})
    return count


def _decision_tables(connection: Connection) -> list[str]:
    """Return `decisions`, and what the keeper of months has not dropped or not attached yet."""
    return [DECISIONS, *connection.scalars(text(_DECISION_TABLES))]


def _count_decisions(connection: Connection, pseudonym: str | None) -> int:
    statement = "SELECT count(*) FROM decisions WHERE customer_id = :pseudonym"
    return int(connection.scalar(text(statement), {"pseudonym": pseudonym}) or 0)
