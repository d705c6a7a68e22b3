"""The dead letters as an operator sees them: find, look at, and mark as replayed."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import ColumnElement, Connection, create_engine, func, select, tuple_, update
from sqlalchemy.exc import DBAPIError

from shared.adapters.tables import dead_letters
from shared.adapters.urls import sqlalchemy_url
from shared.errors import DatabaseUnavailable

_COLUMNS = dead_letters.c
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

    def find(self, wanted: LetterFilter, *, limit: int | None = None) -> list[DeadLetter]:
        """Return the letters of the filter, the oldest first."""
        statement = select(dead_letters).where(*wanted.conditions()).order_by(_COLUMNS.dead_letter_id).limit(limit)
        with self._begin() as connection:
            return [DeadLetter(**row._mapping) for row in connection.execute(statement)]

    def count(self, wanted: LetterFilter) -> int:
        """Return how many letters the filter finds."""
        with self._begin() as connection:
            statement = select(func.count()).select_from(dead_letters).where(*wanted.conditions())
            return int(connection.execute(statement).scalar_one())

    def fetch(self, dead_letter_id: int) -> DeadLetter | None:
        """Return one letter."""
        with self._begin() as connection:
            return _one(connection, dead_letter_id)

    @contextmanager
    def replaying(self, dead_letter_id: int) -> Iterator[DeadLetter | None]:
        """Lock one letter while it is published; leaving without an exception marks it as replayed.

        A message reaches every consumer group, so the letters that other groups wrote of it are marked with it.
        """
        with self._begin() as connection:
            same_message = tuple_(*_PLACE).in_(select(*_PLACE).where(_COLUMNS.dead_letter_id == dead_letter_id))
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


def _one(connection: Connection, dead_letter_id: int) -> DeadLetter | None:
    row = connection.execute(select(dead_letters).where(_COLUMNS.dead_letter_id == dead_letter_id)).one_or_none()
    return None if row is None else DeadLetter(**row._mapping)
