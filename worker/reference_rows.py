"""The rows of prices, assets, customers and suspensions that arrived as events: one for each event, never changed.

Which row is the latest is the rule of the views `latest_customers`, `latest_assets`, `latest_close_prices` and
`all_close_prices` (migration 0017).
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any
from uuid import UUID

from sqlalchemy import Connection, Table, select
from sqlalchemy.dialects.postgresql import insert

from shared.events import (
    ASSETS_CHANGED,
    CLOSE_PRICES_RECORDED,
    CUSTOMERS_CHANGED,
    EVENTS_OF_TOPIC,
    SUSPENSIONS_CHANGED,
    Event,
    content_digest,
)
from shared.ports import KeptEvent, Message
from shared.postgres.bulk_insert import insert_new
from shared.postgres.tables import (
    recorded_assets,
    recorded_close_prices,
    recorded_customers,
    recorded_suspensions,
    reference_changes,
)

_TABLES: Mapping[str, Table] = {
    CUSTOMERS_CHANGED: recorded_customers,
    ASSETS_CHANGED: recorded_assets,
    CLOSE_PRICES_RECORDED: recorded_close_prices,
    SUSPENSIONS_CHANGED: recorded_suspensions,
}
_GIVEN_BY_DATABASE = frozenset({"recorded_at", "sequence"})


def insert_reference_events(
    connection: Connection, topic: str, events: Sequence[tuple[Message, Event]]
) -> frozenset[UUID]:
    """Store each event_id once, in the order of the log; return the event_ids that were new."""
    if not events:
        return frozenset()
    table = _TABLES[topic]
    rows = [_row(table, message, event) for message, event in events]
    new = insert_new(connection, table, rows, returning="event_id")
    if topic != CUSTOMERS_CHANGED:
        _note_changes(connection, topic, {message.partition for message, event in events if event.event_id in new})
    return new


def fetch_kept_reference_events(
    connection: Connection, topic: str, event_ids: Sequence[UUID]
) -> Mapping[UUID, KeptEvent]:
    """Return those of these events of the topic that are stored."""
    columns, [event_type] = _TABLES[topic].c, EVENTS_OF_TOPIC[topic]
    key = columns[str(event_type.key_field)]
    statement = select(columns.event_id, key, columns.fingerprint, columns.content_digest)
    return {
        event_id: KeptEvent({key.name: value}, fingerprint, digest)
        for event_id, value, fingerprint, digest in connection.execute(statement.where(columns.event_id.in_(event_ids)))
    }


def find_recorded_isins(connection: Connection, isins: Collection[str]) -> frozenset[str]:
    """Return those of these assets that arrived as events, this transaction included."""
    isin = recorded_assets.c.isin
    return frozenset(connection.scalars(select(isin).where(isin.in_(sorted(isins))).distinct()))


def _note_changes(connection: Connection, topic: str, partitions: Collection[int]) -> None:
    """Let caches of the catalogue notice the commit; a sequence would not do, as later numbers may commit first."""
    if not partitions:
        return
    table = reference_changes
    rows = [{"topic": topic, "partition": number, "changes": 1} for number in sorted(partitions)]
    statement = insert(table).on_conflict_do_update(
        index_elements=["topic", "partition"], set_={"changes": table.c.changes + 1}
    )
    connection.execute(statement, rows)


def _row(table: Table, message: Message, event: Event) -> dict[str, Any]:
    fields = {**vars(event), "content_digest": content_digest(event)}
    fields |= {"partition": message.partition, "event_offset": message.offset}
    fields["recorded_on"] = fields.get("changed_on")
    return {column.name: fields[column.name] for column in table.columns if column.name not in _GIVEN_BY_DATABASE}
