"""The right to train, as an advisory lock: one process has it, and loses it with its database session."""

from __future__ import annotations

import contextlib

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import SQLAlchemyError

from shared.postgres.errors import translated

TRAINER_LOCK = 0x5452_4149_4E45_52  # "TRAINER"


class PostgresLease:
    """An advisory lock of one database session: gone when the session is, by whatever cause."""

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._connection: Connection | None = None

    def acquire(self) -> bool:
        """Take the lease, or keep it; False when another session has it. Raises DatabaseUnavailable."""
        try:
            with translated():
                return self._take()
        except Exception:
            # A connection that is kept counts as the lease: none may be kept of which that is not known.
            self.release()
            raise

    def release(self) -> None:
        """Let another trainer take over; never raises."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(SQLAlchemyError):
                connection.invalidate()  # ends the session, and its lock with it
                connection.close()

    def _take(self) -> bool:
        if self._connection is not None:
            self._connection.execute(text("SELECT 1"))
            return True
        connection = self._engine.connect().execution_options(isolation_level="AUTOCOMMIT")
        self._connection = connection
        if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": TRAINER_LOCK}):
            return True
        self.release()
        return False
