"""The one table that translates errors of the database, for every adapter (docs/decisions/0021).

A server, connection or resource fails, or the operator has not prepared the schema: DatabaseUnavailable, worth a
retry. The server rejects a value: the error stays as it is, and the message that brings the value is to blame. Any
other error is a bug in a statement: DatabaseMisused.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import asyncpg
import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import DatabaseBusy, DatabaseMisused, DatabaseUnavailable, RecommenderError

# SQLSTATE classes (two characters) and codes (five): PostgreSQL documentation, appendix A.
TRANSIENT_STATES = (
    "08",  # connection
    "25006",  # the server became read-only
    "25P03",  # the session was idle in a transaction for too long
    "28",  # authorization: roles and passwords are the operator's
    "3D",  # no such database
    "3F",  # no such schema
    "40",  # serialization failure, deadlock
    "42501",  # missing privilege
    "42703",  # missing column, as before a migration
    "42P01",  # missing table, as before a migration
    "53",  # resources: connections, memory, disk
    "55",  # a lock or an object is not available now
    "57",  # shutdown, or a statement that was cancelled or took too long
    "58",  # operating system
    "F0",  # configuration file
    "XX",  # internal error
)
# Data, integrity, and limits of the server: a value is at fault.
VALUE_STATES = ("22", "23", "54")

_DRIVER_ERRORS = (psycopg2.Error, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# Without a SQLSTATE: the connection broke, or never was. asyncpg raises InternalClientError when a connection breaks
# while it changes its state, as at a shutdown of the server.
_CONNECTION_ERRORS = (
    psycopg2.OperationalError,
    psycopg2.InterfaceError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
)


@contextmanager
def translated() -> Iterator[None]:
    """Raise the errors of psycopg2, asyncpg and SQLAlchemy in the block as the table says."""
    try:
        yield
    except (DBAPIError, PoolTimeout, *_DRIVER_ERRORS) as error:
        translation = translate_error(error)
        if translation is None:
            raise
        raise translation from error


def translate_error(error: Exception) -> RecommenderError | None:
    """Return our error for one of the database's; None when a value is at fault."""
    if isinstance(error, PoolTimeout):
        return DatabaseBusy(f"the database: {error}")
    cause = (error.orig if isinstance(error, DBAPIError) else error) or error
    state = str(getattr(cause, "pgcode", None) or getattr(cause, "sqlstate", None) or "")
    if state.startswith(VALUE_STATES) or (
        not state and isinstance(cause, psycopg2.DataError | psycopg2.IntegrityError)
    ):
        return None
    message = f"the database: {str(cause).strip()}"
    if state.startswith(TRANSIENT_STATES) or (not state and isinstance(cause, _CONNECTION_ERRORS)):
        return DatabaseUnavailable(message)
    return DatabaseMisused(message)
