"""The worker's database: one transaction holds the effects of a batch and its next offsets."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from typing import Any
from uuid import UUID

from pydantic import ValidationError
from sqlalchemy import Connection, select, text
from sqlalchemy.dialects.postgresql import insert

from shared.errors import InvalidWeights
from shared.events import RECOMMENDATIONS_REQUESTED, InteractionRecorded
from shared.far_trans.schema import parse_investment_capacity, parse_risk_level
from shared.identifiers import is_customer_id
from shared.ports import KeptEvent, Message, Partition, StoredOffset
from shared.postgres.dead_letter_store import insert_dead_letters
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.notifications import CHANNEL, build_payloads
from shared.postgres.offset_store import GroupOffsets
from shared.postgres.tables import REFERENCE_SNAPSHOTS, decisions, user_interactions
from shared.recommender.types import Customer, CustomerHistory, Interaction, InteractionType, Weights
from shared.served_list import RecommendationItem
from worker import queries
from worker.ports import AssetDisplay, Decision, ServedList

# The locks of a frozen worker fall after 20 s, so that its successor can go on.
_SESSION_SETTINGS = {"statement_timeout": "10s", "idle_in_transaction_session_timeout": "20s"}


class PostgresWorkerStore:
    """The WorkerStore on PostgreSQL, which documents every method, for one consumer group on one Kafka cluster."""

    def __init__(self, database_url: str, *, cluster_id: str, consumer_group: str) -> None:
        self._offsets = GroupOffsets(cluster_id=cluster_id, consumer_group=consumer_group)
        name = f"recommender-{consumer_group}"
        self._engine = build_engine(database_url, application_name=name, session_settings=_SESSION_SETTINGS)

    @contextmanager
    def begin(self) -> Iterator[PostgresWorkerTransaction]:
        with self._connection() as connection:
            yield PostgresWorkerTransaction(connection, self._offsets)

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        with self._connection() as connection:
            return self._offsets.fetch(connection, partitions)

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        self._offsets.note_topic_ids(topic_ids)

    def fetch_asset_displays(self) -> Mapping[str, AssetDisplay]:
        with self._connection() as connection:
            rows = connection.execute(text(queries.ASSET_DISPLAYS)).mappings()
            return {row["isin"]: AssetDisplay(**row) for row in rows}

    def fetch_snapshots(self) -> str:
        with self._connection() as connection:
            return str(connection.scalar(text(REFERENCE_SNAPSHOTS)))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _connection(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection


class PostgresWorkerTransaction:
    """The WorkerTransaction on PostgreSQL, which documents every method; statements take whole batches."""

    def __init__(self, connection: Connection, offsets: GroupOffsets) -> None:
        self._connection = connection
        self._offsets = offsets

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        self._offsets.lock(self._connection, starts)

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        self._offsets.store(self._connection, next_offsets)

    @contextmanager
    def savepoint(self) -> Iterator[None]:
        with translated(), self._connection.begin_nested():
            yield

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        if not interactions:
            return frozenset()
        statement = insert(user_interactions).on_conflict_do_nothing().returning(user_interactions.c.event_id)
        rows = [_interaction_row(message, event) for message, event in interactions]
        return frozenset(self._connection.execute(statement, rows).scalars())

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        columns = user_interactions.c
        statement = select(
            columns.event_id, columns.customer_id, columns.isin, columns.interaction_type, columns.fingerprint
        ).where(columns.event_id.in_(event_ids))
        return {
            event_id: KeptEvent({"customer_id": customer_id, "isin": isin, "type": kind}, fingerprint)
            for event_id, customer_id, isin, kind, fingerprint in self._connection.execute(statement)
        }

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        insert_dead_letters(self._connection, letters, offsets=self._offsets)
        self._notify(_requesting_customers(message for message, _ in letters))

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        columns = decisions.c
        statement = select(
            columns.request_id, columns.customer_id, columns.action, columns.fingerprint, columns.content_digest
        ).where(columns.request_id.in_(request_ids))
        return {
            request_id: KeptEvent({"customer_id": customer_id, "action": action}, fingerprint, digest)
            for request_id, customer_id, action, fingerprint, digest in self._connection.execute(statement)
        }

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
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
                _customer(customer_id, customers.get(customer_id)),
                tuple(owned.get(customer_id, ())),
                tuple(interactions.get(customer_id, ())),
                tuple(dismissed.get(customer_id, ())),
            )
            for customer_id in ids
        }

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, ServedList]:
        if not customer_ids:
            return {}
        lists: dict[str, ServedList] = {}
        for row in self._rows(queries.FRESH_LISTS, sorted(set(customer_ids))):
            # A list that cannot be read is not fresh: its customer is scored again, and the batch goes on.
            with suppress(ValidationError, TypeError, InvalidWeights):
                items = tuple(RecommendationItem.model_validate(item) for item in row.items)
                lists[row.customer_id] = ServedList(row.model_version, row.basis, Weights(**row.weights), items)
        return lists

    def insert_decisions(self, new: Sequence[Decision], *, reference_snapshot: str) -> frozenset[UUID]:
        if not new:
            return frozenset()
        statement = insert(decisions).on_conflict_do_nothing().returning(decisions.c.request_id)
        stored = frozenset(self._connection.execute(statement, [_decision_row(one) for one in new]).scalars())
        # One customer is one partition, consumed in order and fenced: the last decision is the newest.
        in_order = [decision for decision in new if decision.request_id in stored]
        scored = {one.customer_id: str(one.request_id) for one in in_order if one.answered_from == "scored"}
        last = {one.customer_id: one for one in in_order}
        renamed = [str(one.request_id) for one in last.values() if one.answered_from == "stored"]
        if scored:
            ids = {"request_ids": list(scored.values()), "customer_ids": list(scored)}
            self._connection.execute(text(queries.STORE_LISTS), {**ids, "reference_snapshot": reference_snapshot})
        if renamed:
            self._connection.execute(text(queries.RENAME_LISTS), {"request_ids": renamed})
        self._notify(last)
        return stored

    def _notify(self, customer_ids: Iterable[str]) -> None:
        """Let the commit tell listening gateways that these customers have something new to read."""
        if payloads := list(build_payloads(customer_ids)):
            self._connection.execute(text(queries.NOTIFY), {"channel": CHANNEL, "payloads": payloads})

    def _rows(self, query: str, customer_ids: Sequence[str]) -> Sequence[Any]:
        return self._connection.execute(text(query), {"customer_ids": list(customer_ids)}).all()


def _requesting_customers(messages: Iterable[Message]) -> Iterator[str]:
    for message in messages:
        customer_id = (message.key or b"").decode(errors="replace")
        if message.topic == RECOMMENDATIONS_REQUESTED and is_customer_id(customer_id):
            yield customer_id


def _customer(customer_id: str, row: Any) -> Customer:
    if row is None:
        return Customer(customer_id)
    return Customer(customer_id, parse_risk_level(row.risk_level), parse_investment_capacity(row.investment_capacity))


def _interaction_row(message: Message, event: InteractionRecorded) -> dict[str, Any]:
    return {
        "event_id": event.event_id,
        "customer_id": event.customer_id,
        "isin": event.isin,
        "interaction_type": event.type.value,
        "occurred_at": event.occurred_at,
        "fingerprint": event.fingerprint,
        "partition": message.partition,
        "event_offset": message.offset,
    }


def _decision_row(decision: Decision) -> dict[str, Any]:
    columns = {**vars(decision), **vars(decision.answer), "weights": vars(decision.answer.weights)}
    del columns["answer"]
    return {**columns, "items": [item.model_dump() for item in decision.answer.items]}
