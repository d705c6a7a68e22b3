"""Which database errors a message can be blamed for; every other one is DatabaseUnavailable, in worker and trainer."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import psycopg2
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from shared.errors import DatabaseUnavailable

# SQLSTATE class 54: a value is beyond a limit of the server.
_LIMIT_EXCEEDED = "54"


@contextmanager
def translated() -> Iterator[None]:
    """Raise DatabaseUnavailable for a failure of server, connection, schema or privileges.

    Errors of a value stay what they are: DataError, IntegrityError, and a value beyond a limit of the server.
    """
    try:
        yield
    except (DBAPIError, psycopg2.Error) as error:
        cause = error.orig if isinstance(error, DBAPIError) else error
        if isinstance(cause, psycopg2.DataError | psycopg2.IntegrityError) or _sqlstate(cause).startswith(
            _LIMIT_EXCEEDED
        ):
            raise
        raise DatabaseUnavailable(f"the database: {str(cause).strip()}") from error
    except PoolTimeout as error:
        raise DatabaseUnavailable(f"the database: {error}") from error


def _sqlstate(error: BaseException | None) -> str:
    return str(getattr(error, "pgcode", None) or "")
