"""The worker's database: one transaction holds the effects of a batch and its next offsets."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from datetime import UTC, date
from typing import Any, get_args
from uuid import UUID

from sqlalchemy import Connection, select, text

from shared.events import (
    RECOMMENDATIONS_REQUESTED,
    SUSPENSIONS_CHANGED,
    Event,
    InteractionRecorded,
    SuspensionKind,
    TransactionRecorded,
    content_digest,
)
from shared.far_trans.schema import build_customer
from shared.identifiers import is_customer_id
from shared.ports import KeptEvent, Message, Partition, StoredOffset
from shared.postgres.bulk_insert import build_array, insert_new
from shared.postgres.dead_letter_store import insert_dead_letters
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.notifications import CHANNEL, EVERYBODY, build_payloads
from shared.postgres.offset_store import GroupOffsets
from shared.postgres.prepared import execute_prepared
from shared.postgres.tables import CATALOGUE_VERSION, REFERENCE_SNAPSHOTS, recorded_transactions, user_interactions
from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.market import Market
from shared.recommender.types import CustomerHistory, Interaction, InteractionType
from worker import decision_rows, queries, reference_rows
from worker.asset_versions import AssetVersions
from worker.market_rows import fetch_market
from worker.ports import AssetDisplay, Decision, ServedList, Suspensions

# The locks of a frozen worker fall after 20 s, so that its successor can go on.
# A statement that is prepared once is planned once as well: its arrays are of any length.
_SESSION_SETTINGS = {
    "statement_timeout": "10s",
    "idle_in_transaction_session_timeout": "20s",
    "plan_cache_mode": "force_generic_plan",
}


class PostgresWorkerStore:
    """The WorkerStore on PostgreSQL, which documents every method, for one consumer group on one Kafka cluster."""

    def __init__(self, database_url: str, *, cluster_id: str, consumer_group: str) -> None:
        self._offsets = GroupOffsets(cluster_id=cluster_id, consumer_group=consumer_group)
        name = f"recommender-{consumer_group}"
        # Three: a batch is stored while the next one is read for; versions of assets have a transaction of their own.
        self._engine = build_engine(
            database_url, application_name=name, pool_size=3, session_settings=_SESSION_SETTINGS
        )
        self._asset_versions = AssetVersions(self._engine)

    @contextmanager
    def begin(self) -> Iterator[PostgresWorkerTransaction]:
        with self._connection() as connection:
            yield PostgresWorkerTransaction(connection, self._offsets, self._asset_versions)

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        with self._connection() as connection:
            return self._offsets.fetch(connection, partitions)

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self._offsets.note_topic_ids(topic_ids)

    def fetch_asset_displays(self, *, as_of: date | None = None) -> Mapping[str, AssetDisplay]:
        with self._connection() as connection:
            rows = connection.execute(text(queries.ASSET_DISPLAYS), {"as_of": as_of}).mappings()
            return {row["isin"]: AssetDisplay(**row) for row in rows}

    def fetch_suspensions(self) -> Suspensions:
        with self._connection() as connection:
            rows = connection.execute(text(queries.SUSPENSIONS)).all()
        of_kind = {
            kind: frozenset(row.subject for row in rows if row.kind == kind) for kind in get_args(SuspensionKind)
        }
        return Suspensions(of_kind["asset"], of_kind["category"], of_kind["model"])

    def fetch_snapshots(self) -> str:
        with self._connection() as connection:
            return str(connection.scalar(text(REFERENCE_SNAPSHOTS)))

    def fetch_catalogue_version(self) -> str:
        with self._connection() as connection:
            return str(connection.scalar(text(CATALOGUE_VERSION)))

    def fetch_market(self, id_map: AssetIdMap, *, as_of: date, days: int) -> Market:
        with self._connection() as connection:
            return fetch_market(connection, id_map, as_of=as_of, days=days)

    def fetch_decided_customers(self, *, days: int) -> list[str]:
        """Return the customers of the decisions of the last days, in order; of previews none."""
        with self._connection() as connection:
            return list(connection.scalars(text(queries.DECIDED_CUSTOMERS), {"days": days}))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection


class PostgresWorkerTransaction:
    """The WorkerTransaction on PostgreSQL, which documents every method; statements take whole batches."""

    def __init__(self, connection: Connection, offsets: GroupOffsets, asset_versions: AssetVersions) -> None:
        self._connection = connection
        self._offsets = offsets
        self._asset_versions = asset_versions

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        self._offsets.lock(self._connection, starts)

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        self._offsets.store(self._connection, next_offsets)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with translated(), self._connection.begin_nested():
            yield

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        rows = [_interaction_row(message, event) for message, event in interactions]
        # Numbers of impressions are negative: whatever asks for the last interaction does not see them.
        return insert_new(
            self._connection, user_interactions, rows, returning="event_id", computed={"sequence": queries.SEQUENCE}
        )

    def fetch_bases(self, request_ids: Sequence[UUID]) -> Mapping[tuple[str, UUID], str]:
        if not request_ids:
            return {}
        ids = {"request_ids": [str(request_id) for request_id in request_ids]}
        rows = self._connection.execute(text(queries.BASES), ids)
        return {(row.customer_id, row.request_id): row.basis for row in rows}

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        columns = user_interactions.c
        fields = (columns.customer_id, columns.isin, columns.interaction_type.label("type"))
        statement = select(columns.event_id, columns.fingerprint, *fields, columns.request_id, columns.rank).where(
            columns.event_id.in_(event_ids)
        )
        rows = [dict(row) for row in self._connection.execute(statement).mappings()]
        return {row.pop("event_id"): KeptEvent(fingerprint=row.pop("fingerprint"), fields=row) for row in rows}

    def insert_transactions(self, transactions: Sequence[tuple[Message, TransactionRecorded]]) -> frozenset[UUID]:
        rows = [_transaction_row(message, event) for message, event in transactions]
        return insert_new(self._connection, recorded_transactions, rows, returning="event_id")

    def fetch_kept_transactions(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        columns = recorded_transactions.c
        statement = select(
            columns.event_id, columns.customer_id, columns.isin, columns.fingerprint, columns.content_digest
        ).where(columns.event_id.in_(event_ids))
        return {
            event_id: KeptEvent({"customer_id": customer_id, "isin": isin}, fingerprint, digest)
            for event_id, customer_id, isin, fingerprint, digest in self._connection.execute(statement)
        }

    def insert_reference_events(self, topic: str, events: Sequence[tuple[Message, Event]]) -> frozenset[UUID]:
        new = reference_rows.insert_reference_events(self._connection, topic, events)
        if topic == SUSPENSIONS_CHANGED and new:
            self._notify([EVERYBODY])
        return new

    def fetch_kept_reference_events(self, topic: str, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        return reference_rows.fetch_kept_reference_events(self._connection, topic, event_ids)

    def find_recorded_isins(self, isins: Collection[str]) -> frozenset[str]:
        return reference_rows.find_recorded_isins(self._connection, isins)

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        insert_dead_letters(self._connection, letters, offsets=self._offsets)
        self._notify(_requesting_customers(message for message, _ in letters))

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        return decision_rows.fetch_decided(self._connection, request_ids)

    def fetch_load_marker(self) -> str:
        return str(self._connection.exec_driver_sql(queries.LOAD_MARKER).scalar_one())

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
        ids = sorted(set(customer_ids))
        found: dict[str, dict[str, Any]] = {customer_id: {} for customer_id in ids}
        rows = execute_prepared(self._connection, "read_histories", queries.build_histories, build_array(ids))
        for kind, customer_id, texts, types, times in rows:
            found[customer_id][kind] = zip(texts, types, times, strict=True) if kind == "interactions" else texts
        return {customer_id: _history(customer_id, of_customer) for customer_id, of_customer in found.items()}

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, ServedList]:
        return decision_rows.fetch_fresh_lists(self._connection, customer_ids, asset_versions=self._asset_versions)

    def insert_decisions(self, new: Sequence[Decision], *, reference_snapshot: str) -> frozenset[UUID]:
        return decision_rows.insert_decisions(
            self._connection, new, reference_snapshot=reference_snapshot, asset_versions=self._asset_versions
        )

    def _notify(self, customer_ids: Iterable[str]) -> None:
        """Let the commit tell listening gateways that these customers have something new to read."""
        if payloads := list(build_payloads(customer_ids)):
            self._connection.execute(text(queries.NOTIFY), {"channel": CHANNEL, "payloads": payloads})


def _requesting_customers(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        customer_id = (message.key or b"").decode(errors="replace")
        if message.topic == RECOMMENDATIONS_REQUESTED and is_customer_id(customer_id):
            yield customer_id


def _history(customer_id: str, found: Mapping[str, Any]) -> CustomerHistory:
    """Return the history of what `build_histories` found of a customer."""
    risk_level, capacity, asked = found.get("profile", (None, None, None))
    return CustomerHistory(
        build_customer(customer_id, risk_level, capacity, asked and date.fromisoformat(asked)),
        tuple(found.get("held", ())),
        tuple(Interaction(isin, InteractionType(kind), moment) for isin, kind, moment in found.get("interactions", ())),
        tuple(found.get("dismissed", ())),
        tuple(found.get("sold", ())),
    )


def _interaction_row(message: Message, event: InteractionRecorded) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "customer_id": event.customer_id,
        "isin": event.isin,
        "interaction_type": event.type.value,
        "occurred_at": event.occurred_at,
        "request_id": event.request_id,
        "rank": event.rank,
        "fingerprint": event.fingerprint,
        "partition": message.partition,
        "event_offset": message.offset,
    }


def _transaction_row(message: Message, event: TransactionRecorded) -> dict[str, Any]:
    columns = ("event_id", "customer_id", "isin", "transaction_id", "total_value", "units", "currency", "executed_at")
    return {
        **{name: getattr(event, name) for name in columns},
        "transaction_type": event.type,
        "traded_on": event.executed_at.astimezone(UTC).date(),
        "content_digest": content_digest(event),
        "fingerprint": event.fingerprint,
        "partition": message.partition,
        "event_offset": message.offset,
    }
