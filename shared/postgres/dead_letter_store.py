"""The table dead_letters: services insert messages that no retry can help, operators find and replay them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from itertools import islice
from typing import Any
from uuid import UUID

from pydantic import BaseModel, ValidationError
from sqlalchemy import ColumnElement, Connection, Row, Select, Table, Text, cast, exists, func, select, text, update
from sqlalchemy.dialects.postgresql import insert

from shared.events import (
    AssetChanged,
    ClosePriceRecorded,
    CustomerChanged,
    Event,
    InteractionRecorded,
    RecommendationRequested,
    SuspensionChanged,
    TransactionRecorded,
)
from shared.ports import KeptEvent, Message
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.offset_store import GroupOffsets
from shared.postgres.tables import (
    dead_letters,
    decisions,
    model_commands,
    recorded_assets,
    recorded_close_prices,
    recorded_customers,
    recorded_suspensions,
    recorded_transactions,
    user_interactions,
)

_COLUMNS = dead_letters.c
_HAS_ASSET = "SELECT FROM latest_assets WHERE isin = :isin"
# Of an event that is one row: its table, the column of its key, that of its day (or of what else it is about), and the
# field of that.
_RECORDED: dict[type[Event], tuple[Table, str, str, str]] = {
    CustomerChanged: (recorded_customers, "customer_id", "recorded_on", "changed_on"),
    AssetChanged: (recorded_assets, "isin", "recorded_on", "changed_on"),
    ClosePriceRecorded: (recorded_close_prices, "isin", "priced_on", "priced_on"),
    SuspensionChanged: (recorded_suspensions, "subject", "kind", "kind"),
}
_PAGE_LETTERS = 500
_KEY_BYTES = 200
_REASON_CHARACTERS = 2000
_PLACE = (_COLUMNS.cluster_id, _COLUMNS.topic, _COLUMNS.partition, _COLUMNS.event_offset)


@dataclass(frozen=True)
class DeadLetter:
    """One row. `topic` is the name without prefix; key and value are the consumed bytes, or the first of them."""

    dead_letter_id: int
    cluster_id: str
    consumer_group: str
    topic: str
    partition: int
    event_offset: int
    key: bytes | None
    value: bytes | None
    value_bytes: int | None  # of the whole value
    reason: str
    failed_at: datetime
    replayed_at: datetime | None
    topic_id: str | None = None


@dataclass(frozen=True)
class LetterFilter:
    """Which letters to find. `reason` is a part of theirs, in any case; without `replayed_too` only unreplayed ones."""

    topic: str | None = None
    group: str | None = None
    reason: str | None = None
    replayed_too: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return the conditions on a row."""
        conditions = (
            (self.topic is not None, _COLUMNS.topic == self.topic),
            (self.group is not None, _COLUMNS.consumer_group == self.group),
            (self.reason is not None, _COLUMNS.reason.icontains(self.reason or "", autoescape=True)),
            (not self.replayed_too, _COLUMNS.replayed_at.is_(None)),
        )
        return [condition for is_wanted, condition in conditions if is_wanted]


def insert_dead_letters(
    connection: Connection, letters: Sequence[tuple[Message, str]], *, offsets: GroupOffsets
) -> None:
    """Store messages with the reason of each; a message of one consumer group is stored once."""
    rows = [
        {
            **offsets.owner,
            "topic": message.topic,
            "partition": message.partition,
            "event_offset": message.offset,
            "key": message.key,
            "value": message.value,
            "reason": reason,
            "topic_id": offsets.topic_id((message.topic, message.partition)),
            "event_id": _event_id(message.value),
        }
        for message, reason in letters
    ]
    # A trigger looks at every text of a letter (migration 0023): the time limit of a statement is for one message.
    for row in rows:
        connection.execute(insert(dead_letters).on_conflict_do_nothing(), row)


class _Identified(BaseModel):
    event_id: UUID


def _event_id(value: bytes | None) -> UUID | None:
    """Return the id that a message names, None where it is no event."""
    try:
        return _Identified.model_validate_json(value or b"").event_id
    except ValidationError:
        return None


class DeadLetterBox:
    """The table for operators; every method may raise DatabaseUnavailable."""

    def __init__(self, database_url: str) -> None:
        self._engine = build_engine(database_url, application_name="dead-letters")

    def find(self, wanted: LetterFilter, *, limit: int, value_bytes: int = 0) -> Iterator[DeadLetter]:
        """Yield the letters of the filter, the oldest first, with at most `value_bytes` bytes of each value."""
        statement = select(*_columns(value_bytes)).where(*wanted.conditions())
        for row in islice(self._rows(statement), limit):
            yield DeadLetter(**row._mapping)

    def find_ids(self, wanted: LetterFilter) -> Iterator[int]:
        """Yield the ids of the letters that the filter finds now, the oldest first."""
        with self._begin() as connection:
            newest = connection.scalar(select(func.max(_COLUMNS.dead_letter_id)))
        statement = select(_COLUMNS.dead_letter_id).where(*wanted.conditions(), _COLUMNS.dead_letter_id <= newest)
        for row in self._rows(statement):
            yield row.dead_letter_id

    def count(self, wanted: LetterFilter) -> int:
        """Return how many letters the filter finds."""
        with self._begin() as connection:
            statement = select(func.count()).select_from(dead_letters).where(*wanted.conditions())
            return int(connection.execute(statement).scalar_one())

    def fetch(self, dead_letter_id: int) -> DeadLetter | None:
        """Return one whole letter, None when it does not exist."""
        with self._begin() as connection:
            return _one(connection, dead_letter_id)

    def has_asset(self, isin: str) -> bool:
        """Return whether the catalogue has this asset, from a file or from an event."""
        with self._begin() as connection:
            return connection.execute(text(_HAS_ASSET), {"isin": isin}).first() is not None

    def has_successor(self, event: Event, *, after: DeadLetter) -> bool:
        """Return whether a later message of the log changed the same thing on the same day, and had its effect."""
        recorded = _RECORDED.get(type(event))
        if recorded is None:
            return False
        table, key, day, field = recorded
        same = (table.c[key] == getattr(event, key), table.c[day] == getattr(event, field))
        place = (table.c.partition == after.partition, table.c.event_offset > after.event_offset)
        with self._begin() as connection:
            return bool(connection.scalar(select(exists().where(*same, *place))))

    def fetch_kept(self, event: Event) -> KeptEvent | None:
        """Return what is kept of the event that had its effect under this event_id, None for no such event."""
        statement: Any  # of rows with different columns
        if isinstance(event, InteractionRecorded):
            kept = user_interactions.c
            content = (kept.interaction_type.label("type"), kept.request_id, kept.rank)
            statement = select(kept.customer_id, kept.isin, *content, kept.fingerprint)
            statement = statement.where(kept.event_id == event.event_id)
        elif isinstance(event, TransactionRecorded):
            order = recorded_transactions.c
            statement = select(order.customer_id, order.isin, order.fingerprint, order.content_digest)
            statement = statement.where(order.event_id == event.event_id)
        elif recorded := _RECORDED.get(type(event)):
            version = recorded[0].c
            statement = select(version[recorded[1]], version.fingerprint, version.content_digest)
            statement = statement.where(version.event_id == event.event_id)
        elif isinstance(event, RecommendationRequested):
            made = decisions.c
            digest = func.coalesce(func.replace(cast(made.digest, Text), "-", ""), made.content_digest)
            statement = select(made.customer_id, made.action, made.fingerprint, digest.label("content_digest"))
            statement = statement.where(made.request_id == event.event_id)
        else:
            done = model_commands.c
            statement = select(done.content_digest).where(done.event_id == event.event_id)
        with self._begin() as connection:
            row = connection.execute(statement).first()
        if row is None:
            return None
        columns = dict(row._mapping)
        # The fingerprint of a command is not kept: its content alone identifies it.
        fingerprint, content_digest = columns.pop("fingerprint", None), columns.pop("content_digest", None)
        return KeptEvent(columns, fingerprint, content_digest)

    @contextmanager
    def replaying(self, dead_letter_id: int) -> Iterator[DeadLetter | None]:
        """Lock one letter while it is published; a block that ends without an exception marks it as replayed.

        The replayed message reaches every consumer group, so the letters of other groups for it are marked too.
        """
        with self._begin() as connection:
            same_message = _same_message(dead_letter_id)
            # All letters of the message, in one order: two replays of it wait for each other.
            locked = connection.execute(
                select(_COLUMNS.dead_letter_id).where(same_message).order_by(_COLUMNS.dead_letter_id).with_for_update()
            )
            locked.all()
            yield _one(connection, dead_letter_id)
            connection.execute(update(dead_letters).where(same_message).values(replayed_at=func.now()))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _rows(self, statement: Select[Any]) -> Iterator[Row[Any]]:
        """Yield the rows in the order of their ids; no transaction is open while the caller handles one."""
        ordered, after = statement.order_by(_COLUMNS.dead_letter_id).limit(_PAGE_LETTERS), 0
        while True:
            with self._begin() as connection:
                rows = connection.execute(ordered.where(_COLUMNS.dead_letter_id > after)).all()
            yield from rows
            if len(rows) < _PAGE_LETTERS:
                return
            after = rows[-1].dead_letter_id

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        with translated(), self._engine.begin() as connection:
            yield connection


def _columns(value_bytes: int | None = None) -> list[ColumnElement[Any]]:
    """Return the columns of DeadLetter; with `value_bytes` the server cuts the large ones."""
    changed: dict[str, ColumnElement[Any]] = {"value_bytes": func.octet_length(_COLUMNS.value)}
    if value_bytes is not None:
        changed |= {
            "key": func.substring(_COLUMNS.key, 1, _KEY_BYTES, type_=_COLUMNS.key.type),
            "value": func.substring(_COLUMNS.value, 1, value_bytes, type_=_COLUMNS.value.type),
            "reason": func.left(_COLUMNS.reason, _REASON_CHARACTERS),
        }
    names = [field.name for field in fields(DeadLetter)]
    return [changed[name].label(name) if name in changed else _COLUMNS[name] for name in names]


def _same_message(dead_letter_id: int) -> ColumnElement[bool]:
    """Return the condition on letters of the same message: the same place and the same bytes.

    A topic that was deleted and created again can have another message at the same place.
    """
    this = dead_letters.alias().c
    same_place = (this[column.name] == column for column in _PLACE)
    return exists().where(
        this.dead_letter_id == dead_letter_id, *same_place, this.value.is_not_distinct_from(_COLUMNS.value)
    )


def _one(connection: Connection, dead_letter_id: int) -> DeadLetter | None:
    row = connection.execute(select(*_columns()).where(_COLUMNS.dead_letter_id == dead_letter_id)).one_or_none()
    return None if row is None else DeadLetter(**row._mapping)
