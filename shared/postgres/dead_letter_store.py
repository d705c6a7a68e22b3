"""The dead letters as an operator sees them: find, look at, and mark as replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import datetime
from typing import Any

from sqlalchemy import ColumnElement, Connection, create_engine, exists, func, select, update
from sqlalchemy.exc import DBAPIError

from shared.errors import DatabaseUnavailable
from shared.events import Event, InteractionRecorded, RecommendationRequested
from shared.ports import KeptEvent
from shared.postgres.tables import asset_information, dead_letters, decisions, model_commands, user_interactions
from shared.postgres.urls import sqlalchemy_url

_COLUMNS = dead_letters.c
_PAGE_LETTERS = 500
_KEY_BYTES = 200
_REASON_CHARACTERS = 2000
_PLACE = (_COLUMNS.cluster_id, _COLUMNS.topic, _COLUMNS.partition, _COLUMNS.event_offset)


@dataclass(frozen=True)
class DeadLetter:
    """One row; `topic` is the name without prefix, key and value are the bytes that were consumed."""

    dead_letter_id: int
    cluster_id: str
    consumer_group: str
    topic: str
    partition: int
    event_offset: int
    key: bytes | None
    value: bytes | None
    reason: str
    failed_at: datetime
    replayed_at: datetime | None
    topic_id: str | None = None


@dataclass(frozen=True)
class LetterSummary:
    """One row without what may be large: the first bytes of key and value, and how many the value has."""

    dead_letter_id: int
    cluster_id: str
    consumer_group: str
    topic: str
    partition: int
    event_offset: int
    key: bytes | None
    value: bytes | None
    value_bytes: int | None
    reason: str
    failed_at: datetime
    replayed_at: datetime | None
    topic_id: str | None = None


@dataclass(frozen=True)
class LetterFilter:
    """Which letters; `reason` is any part of theirs, in any case. Replayed ones only where asked for."""

    topic: str | None = None
    group: str | None = None
    reason: str | None = None
    replayed_too: bool = False

    def conditions(self) -> list[ColumnElement[bool]]:
        """Return what must hold of a row."""
        wanted: list[ColumnElement[bool]] = []
        if self.topic is not None:
            wanted.append(_COLUMNS.topic == self.topic)
        if self.group is not None:
            wanted.append(_COLUMNS.consumer_group == self.group)
        if self.reason is not None:
            wanted.append(_COLUMNS.reason.icontains(self.reason, autoescape=True))
        if not self.replayed_too:
            wanted.append(_COLUMNS.replayed_at.is_(None))
        return wanted


class DeadLetterBox:
    """The table dead_letters, for reading and for `replayed_at`; every method may raise DatabaseUnavailable."""

    def __init__(self, database_url: str) -> None:
        connect_arguments = {"connect_timeout": 5, "application_name": "dead-letters", "options": "-c timezone=UTC"}
        self._engine = create_engine(sqlalchemy_url(database_url), connect_args=connect_arguments)

    def find(self, wanted: LetterFilter, *, limit: int, value_bytes: int = 0) -> Iterator[LetterSummary]:
        """Return the letters of the filter, the oldest first, with at most so many bytes of each value."""
        statement = select(*_summary_columns(value_bytes)).where(*wanted.conditions())
        statement = statement.order_by(_COLUMNS.dead_letter_id)
        after = 0
        while limit > 0:
            with self._begin() as connection:
                page = statement.where(_COLUMNS.dead_letter_id > after).limit(min(limit, _PAGE_LETTERS))
                rows = [LetterSummary(**row._mapping) for row in connection.execute(page)]
            yield from rows
            if not rows:
                return
            after, limit = rows[-1].dead_letter_id, limit - len(rows)

    def find_ids(self, wanted: LetterFilter) -> Iterator[int]:
        """Return the ids of the letters that the filter finds now, the oldest first; no letter is loaded."""
        with self._begin() as connection:
            newest = connection.scalar(select(func.max(_COLUMNS.dead_letter_id)).where(*wanted.conditions())) or 0
        after = 0
        while after < newest:
            page = select(_COLUMNS.dead_letter_id).where(*wanted.conditions(), _COLUMNS.dead_letter_id > after)
            with self._begin() as connection:
                ids = list(
                    connection.scalars(
                        page.where(_COLUMNS.dead_letter_id <= newest)
                        .order_by(_COLUMNS.dead_letter_id)
                        .limit(_PAGE_LETTERS)
                    )
                )
            if not ids:
                return
            yield from ids
            after = ids[-1]

    def count(self, wanted: LetterFilter) -> int:
        """Return how many letters the filter finds."""
        with self._begin() as connection:
            statement = select(func.count()).select_from(dead_letters).where(*wanted.conditions())
            return int(connection.execute(statement).scalar_one())

    def fetch(self, dead_letter_id: int) -> DeadLetter | None:
        """Return one letter."""
        with self._begin() as connection:
            return _one(connection, dead_letter_id)

    def has_asset(self, isin: str) -> bool:
        """Return whether the catalogue has this asset."""
        with self._begin() as connection:
            statement = select(asset_information.c.isin).where(asset_information.c.isin == isin).limit(1)
            return connection.execute(statement).first() is not None

    def fetch_kept(self, event: Event) -> KeptEvent | None:
        """Return the event that had its effect under this event_id; None when none had, or it cannot be known."""
        if isinstance(event, InteractionRecorded):
            kept = user_interactions.c
            statement = select(kept.customer_id, kept.isin, kept.interaction_type.label("type"), kept.fingerprint)
            statement = statement.where(kept.event_id == event.event_id)
        elif isinstance(event, RecommendationRequested):
            made = decisions.c
            statement = select(made.customer_id, made.action, made.fingerprint, made.content_digest)
            statement = statement.where(made.request_id == event.event_id)
        else:
            done = model_commands.c
            statement = select(done.content_digest).where(done.event_id == event.event_id)
        with self._begin() as connection:
            row = connection.execute(statement).one_or_none()
        if row is None:
            return None
        columns = dict(row._mapping)
        # Of commands the fingerprint is not kept: their content alone tells them apart.
        fingerprint, content_digest = columns.pop("fingerprint", None), columns.pop("content_digest", None)
        return KeptEvent(columns, fingerprint, content_digest)

    @contextmanager
    def replaying(self, dead_letter_id: int) -> Iterator[DeadLetter | None]:
        """Lock one letter while it is published; leaving without an exception marks it as replayed.

        A message reaches every consumer group, so the letters that other groups wrote of it are marked with it.
        """
        with self._begin() as connection:
            same_message = _same_message(dead_letter_id)
            # All of them, in one order: two replays of one message wait for each other.
            locked = connection.execute(
                select(_COLUMNS.dead_letter_id).where(same_message).order_by(_COLUMNS.dead_letter_id).with_for_update()
            )
            locked.all()
            yield _one(connection, dead_letter_id)
            connection.execute(update(dead_letters).where(same_message).values(replayed_at=func.now()))

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    @contextmanager
    def _begin(self) -> Iterator[Connection]:
        try:
            with self._engine.begin() as connection:
                yield connection
        except DBAPIError as error:
            raise DatabaseUnavailable(f"the database: {str(error.orig).strip()}") from error


def _summary_columns(value_bytes: int) -> list[ColumnElement[Any]]:
    """Return the columns of LetterSummary; the server cuts what may be large."""
    cut: dict[str, ColumnElement[Any]] = {
        "key": func.substring(_COLUMNS.key, 1, _KEY_BYTES, type_=_COLUMNS.key.type),
        "value": func.substring(_COLUMNS.value, 1, value_bytes, type_=_COLUMNS.value.type),
        "value_bytes": func.octet_length(_COLUMNS.value),
        "reason": func.left(_COLUMNS.reason, _REASON_CHARACTERS),
    }
    return [
        cut[field.name].label(field.name) if field.name in cut else _COLUMNS[field.name]
        for field in fields(LetterSummary)
    ]


def _same_message(dead_letter_id: int) -> ColumnElement[bool]:
    """Return what holds of every letter of this letter's message: its place, and its bytes.

    In a topic that was made anew another message may have the same place.
    """
    this = dead_letters.alias().c
    same_place = (this[column.name] == column for column in _PLACE)
    return exists().where(
        this.dead_letter_id == dead_letter_id, *same_place, this.value.is_not_distinct_from(_COLUMNS.value)
    )


def _one(connection: Connection, dead_letter_id: int) -> DeadLetter | None:
    row = connection.execute(select(dead_letters).where(_COLUMNS.dead_letter_id == dead_letter_id)).one_or_none()
    return None if row is None else DeadLetter(**row._mapping)
