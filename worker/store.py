"""The worker's database: one transaction holds the effects of a batch and its next offsets."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from json import dumps
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Engine, bindparam, create_engine, func, select, text, tuple_, update
from sqlalchemy.dialects.postgresql import insert

from shared.errors import StaleOffsets
from shared.events import InteractionRecorded
from shared.ports import AssetDisplay, Decision, KeptEvent, Message, Partition, StoredList, StoredOffset
from shared.postgres import queries
from shared.postgres.errors import translated
from shared.postgres.tables import consumer_offsets, dead_letters, decisions, recommendations, user_interactions
from shared.postgres.urls import sqlalchemy_url
from shared.recommender.types import CustomerHistory, Interaction, InteractionType, Weights
from worker import rows as worker_rows

# A dead server is noticed in seconds; a frozen worker's locks fall after 20 s, so that its successor can go on.
_CONNECT_ARGUMENTS: dict[str, Any] = {
    "connect_timeout": 5,
    "keepalives_idle": 5,
    "keepalives_interval": 2,
    "keepalives_count": 3,
    "tcp_user_timeout": 10_000,
    "options": "-c statement_timeout=10s -c idle_in_transaction_session_timeout=20s -c timezone=UTC",
}


class PostgresWorkerStore:
    """As shared.ports.WorkerStore describes it, for one consumer group on one Kafka cluster.

    Every failure of server, connection or schema is DatabaseUnavailable: a message cannot be blamed for it.
    """

    def __init__(self, database_url: str, *, cluster_id: str, consumer_group: str) -> None:
        self._owner = {"cluster_id": cluster_id, "consumer_group": consumer_group}
        self._topic_ids: dict[Partition, str] = {}
        self._engine: Engine = create_engine(
            sqlalchemy_url(database_url),
            pool_size=1,
            max_overflow=1,
            pool_timeout=5,
            pool_pre_ping=True,
            connect_args={**_CONNECT_ARGUMENTS, "application_name": f"recommender-{consumer_group}"},
            json_serializer=partial(dumps, allow_nan=False, separators=(",", ":")),
        )

    @contextmanager
    def begin(self) -> Iterator[PostgresWorkerTransaction]:
        """Open a transaction: commits at the end, rolls back on an exception."""
        with self._connection() as connection:
            yield PostgresWorkerTransaction(connection, self._owner, self._topic_ids)

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        """Return the next offset of each partition that has one stored, and the topic that it belongs to."""
        with self._connection() as connection:
            return _stored_offsets(connection, self._owner, partitions)

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        """Store these ids with every next offset of these partitions from now on."""
        self._topic_ids.update(topic_ids)

    def fetch_asset_displays(self) -> Mapping[str, AssetDisplay]:
        """Return what lists show: the latest version of each asset, its latest close price, by ISIN."""
        with self._connection() as connection:
            rows = connection.execute(text(queries.ASSET_DISPLAYS)).mappings()
            return {row["isin"]: AssetDisplay(**row) for row in rows}

    def fetch_snapshots(self) -> str:
        """Return which reference data are loaded; an equal answer means unchanged data."""
        with self._connection() as connection:
            return str(connection.scalar(text(queries.SNAPSHOTS)))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection


class PostgresWorkerTransaction:
    """As shared.ports.WorkerTransaction describes it; statements take whole batches."""

    def __init__(self, connection: Connection, owner: Mapping[str, str], topic_ids: Mapping[Partition, str]) -> None:
        self._connection = connection
        self._owner = owner
        self._topic_ids = topic_ids

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        """Lock these partitions' rows and compare; raises StaleOffsets."""
        # A partition without a row gets one first: two consumers that both start it meet at this row.
        rows = [self._offset_row(partition, offset) for partition, offset in sorted(starts.items())]
        self._connection.execute(insert(consumer_offsets).on_conflict_do_nothing(), rows)
        stored = _stored_offsets(self._connection, self._owner, sorted(starts), lock=True)
        expected = {one: StoredOffset(offset, self._topic_ids.get(one)) for one, offset in starts.items()}
        moved = {one: row for one, row in stored.items() if not _continues(row, expected[one])}
        if moved:
            raise StaleOffsets(f"stored {moved}, expected { ({one: expected[one] for one in moved}) }")

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        """Write the offsets that a restart continues at."""
        statement = insert(consumer_offsets)
        statement = statement.on_conflict_do_update(
            index_elements=list(consumer_offsets.primary_key),
            set_={
                "next_offset": statement.excluded.next_offset,
                "topic_id": func.coalesce(statement.excluded.topic_id, consumer_offsets.c.topic_id),
                "updated_at": func.now(),
            },
        )
        rows = [self._offset_row(partition, offset) for partition, offset in sorted(next_offsets.items())]
        self._connection.execute(statement, rows)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        """Undo, when the block raises, what was done within it."""
        with translated(), self._connection.begin_nested():
            yield

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        """Keep interactions, each event_id once; return the event_ids that were new."""
        if not interactions:
            return frozenset()
        statement = insert(user_interactions).on_conflict_do_nothing().returning(user_interactions.c.event_id)
        rows = [worker_rows.interaction_row(message, event) for message, event in interactions]
        return frozenset(self._connection.execute(statement, rows).scalars())

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return what is kept of each of these interactions that is kept already."""
        columns = user_interactions.c
        statement = select(
            columns.event_id, columns.customer_id, columns.isin, columns.interaction_type, columns.fingerprint
        ).where(columns.event_id.in_(event_ids))
        return {
            event_id: KeptEvent({"customer_id": customer_id, "isin": isin, "type": kind}, fingerprint)
            for event_id, customer_id, isin, kind, fingerprint in self._connection.execute(statement)
        }

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        """Keep messages that no retry can mend, each once."""
        if letters:
            ids = self._topic_ids
            rows = [
                {**self._owner, **worker_rows.letter_row(one, reason), "topic_id": ids.get((one.topic, one.partition))}
                for one, reason in letters
            ]
            self._connection.execute(insert(dead_letters).on_conflict_do_nothing(), rows)

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return what is kept of each of these requests that has a decision already."""
        columns = decisions.c
        statement = select(
            columns.request_id, columns.customer_id, columns.action, columns.fingerprint, columns.content_digest
        ).where(columns.request_id.in_(request_ids))
        return {
            request_id: KeptEvent({"customer_id": customer_id, "action": action}, fingerprint, digest)
            for request_id, customer_id, action, fingerprint, digest in self._connection.execute(statement)
        }

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
        """Return customer and history for every id, in four statements for all of them."""
        ids = sorted(set(customer_ids))
        customers = {row.customer_id: row for row in self._rows(queries.CUSTOMERS, ids)}
        owned = {row.customer_id: row.isins for row in self._rows(queries.OWNED, ids)}
        dismissed = {row.customer_id: row.isins for row in self._rows(queries.DISMISSED, ids)}
        interactions: dict[str, list[Interaction]] = {}
        for row in self._rows(queries.INTERACTIONS, ids):
            interaction = Interaction(row.isin, InteractionType(row.interaction_type), row.occurred_at)
            interactions.setdefault(row.customer_id, []).append(interaction)
        return {
            customer_id: CustomerHistory(
                worker_rows.customer(customer_id, customers.get(customer_id)),
                tuple(owned.get(customer_id, ())),
                tuple(interactions.get(customer_id, ())),
                tuple(dismissed.get(customer_id, ())),
            )
            for customer_id in ids
        }

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, StoredList]:
        """Return stored lists that nothing newer contradicts, in the order of the log."""
        if not customer_ids:
            return {}
        rows = self._rows(queries.FRESH_LISTS, sorted(set(customer_ids)))
        return {row.customer_id: StoredList(**{**row._mapping, "weights": Weights(**row.weights)}) for row in rows}

    def insert_decisions(self, new: Sequence[Decision], *, reference_snapshot: str) -> frozenset[UUID]:
        """Keep one row per request and return the new request_ids; a customer's last scored one is their list.

        A stored list that answered a request once more names that request from now on.
        """
        if not new:
            return frozenset()
        statement = insert(decisions).on_conflict_do_nothing().returning(decisions.c.request_id)
        kept = frozenset(
            self._connection.execute(statement, [worker_rows.decision_row(decision) for decision in new]).scalars()
        )
        # One customer is one partition, consumed in order and fenced: the last one is the newest.
        in_order = [decision for decision in new if decision.request_id in kept]
        lists = {one.customer_id: worker_rows.list_row(one) for one in in_order if one.answered_from == "scored"}
        if lists:
            newest = {row.customer_id: row.sequence for row in self._rows(queries.NEWEST_INTERACTIONS, sorted(lists))}
            for customer_id, row in lists.items():
                row |= {"interaction_sequence": newest[customer_id], "reference_snapshot": reference_snapshot}
            self._upsert_lists([lists[customer_id] for customer_id in sorted(lists)])
        last = {decision.customer_id: decision for decision in in_order}
        answered = sorted((one.customer_id, one.request_id) for one in last.values() if one.answered_from == "stored")
        if answered:
            renamed = update(recommendations).where(recommendations.c.customer_id == bindparam("answered_customer_id"))
            rows = [{"answered_customer_id": name, "answered_request_id": request} for name, request in answered]
            self._connection.execute(renamed.values(request_id=bindparam("answered_request_id")), rows)
        return kept

    def _upsert_lists(self, rows: list[dict[str, Any]]) -> None:
        statement = insert(recommendations).values(created_at=func.now())
        names = [*rows[0].keys() - {"customer_id"}, "created_at"]
        statement = statement.on_conflict_do_update(
            index_elements=["customer_id"], set_={name: statement.excluded[name] for name in names}
        )
        # With RETURNING all rows go in one statement; without it, one by one (measured: 44 ms for 85 rows).
        self._connection.execute(statement.returning(recommendations.c.customer_id), rows)

    def _rows(self, query: str, customer_ids: Sequence[str]) -> Sequence[Any]:
        return self._connection.execute(text(query), {"customer_ids": list(customer_ids)}).all()

    def _offset_row(self, partition: Partition, offset: int) -> dict[str, Any]:
        place = {"topic": partition[0], "partition": partition[1], "topic_id": self._topic_ids.get(partition)}
        return {**self._owner, **place, "next_offset": offset}


def _stored_offsets(
    connection: Connection, owner: Mapping[str, str], partitions: Sequence[Partition], *, lock: bool = False
) -> dict[Partition, StoredOffset]:
    columns = consumer_offsets.c
    statement = (
        select(columns.topic, columns.partition, columns.next_offset, columns.topic_id)
        .where(columns.cluster_id == owner["cluster_id"], columns.consumer_group == owner["consumer_group"])
        .where(tuple_(columns.topic, columns.partition).in_(list(partitions)))
        .order_by(columns.topic, columns.partition)
    )
    rows = connection.execute(statement.with_for_update() if lock else statement)
    return {(row.topic, row.partition): StoredOffset(row.next_offset, row.topic_id) for row in rows}


def _continues(stored: StoredOffset, expected: StoredOffset) -> bool:
    """Return whether both mean the same place of the same log."""
    return stored.is_of(expected.topic_id) and stored.next_offset == expected.next_offset
