"""The partitions of `decisions`: months are made ahead, and those after their retention are dropped (decision 43).

`decisions_past` has everything before the first month, `decisions_other` what no partition is for. One worker does
this at a time. Only short locks are asked for, which nobody waits for longer than `LOCK_TIMEOUT`.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from datetime import UTC, datetime

from sqlalchemy import Connection, Engine, text
from sqlalchemy.exc import DBAPIError

from shared.errors import DatabaseUnavailable, RecommenderError, describe_error
from shared.logging import get_logger
from shared.postgres.engine import build_engine
from shared.postgres.errors import translated
from shared.postgres.tables import decisions

ROUND_SECONDS, FAILED_ROUND_SECONDS = 3600.0, 60.0
LOCK_TIMEOUT = "100ms"
LOCK_ATTEMPTS, LOCK_PAUSE_SECONDS = 60, 1.0
ONE_AT_A_TIME = 7_203_915  # any constant
_MONTHS_AHEAD = 2  # this one and the next
_PAST, _NEXT_PAST, _OTHER, _RETIRED = "decisions_past", "decisions_past_next", "decisions_other", "decisions_retired_"
_PARTITIONS = """
SELECT part.relname, pg_get_expr(part.relpartbound, part.oid) AS bounds
FROM pg_inherits JOIN pg_class AS part ON part.oid = inhrelid WHERE inhparent = 'decisions'::regclass
"""
_LEFT_OVER = f"""
SELECT relname FROM pg_class WHERE relkind = 'r' AND NOT relispartition AND pg_table_is_visible(oid)
AND starts_with(relname, '{_RETIRED}')
"""
_IN_OTHER = f"SELECT EXISTS (SELECT FROM {_OTHER} WHERE requested_at >= :start AND requested_at < :end)"
_END = re.compile(r"TO \('([^']+)'\)")
# A list names its decision by request_id, also where an older worker wrote no more than that.
_IS_CURRENT = "EXISTS (SELECT FROM recommendations AS list WHERE list.request_id = decision.request_id)"
_COLUMNS = ", ".join(f'"{column.name}"' for column in decisions.columns)  # partitions may have another order

log = get_logger(__name__)


@contextmanager
def hold_lock(engine: Engine, number: int) -> Iterator[tuple[Connection, datetime | None]]:
    """Yield a connection and the time of the database, or None where another process has the advisory lock.

    The lock and temporary tables end with the session, which is not used again.
    """
    with translated(), engine.connect() as connection:
        now = connection.scalar(text(f"SELECT CASE WHEN pg_try_advisory_lock({number}) THEN now() END"))
        connection.commit()
        try:
            yield connection, now
        finally:
            connection.invalidate()


class DecisionMonths:
    """Keeps the partitions in order; `retention_months` None keeps every decision."""

    def __init__(self, database_url: str, *, retention_months: int | None) -> None:
        self._engine = build_engine(database_url, application_name="recommender-months", pool_size=2)
        self._retention_months = retention_months

    def keep_forever(self, stop: threading.Event) -> None:
        """Do a round now and each hour until `stop`; one that failed is repeated after a minute."""
        with closing(self):
            while not stop.is_set():
                seconds = ROUND_SECONDS
                try:
                    self.keep(stop=stop)
                except (RecommenderError, DBAPIError) as error:
                    log.warning("decisions.months_failed", error=describe_error(error))
                    seconds = FAILED_ROUND_SECONDS
                stop.wait(seconds)

    def keep(self, now: datetime | None = None, *, stop: threading.Event) -> None:
        """Make the months ahead of now and drop those after their retention, unless another worker does it.

        `now` is the time of the database unless given: a worker's clock that is wrong drops nothing.
        """
        with hold_lock(self._engine, ONE_AT_A_TIME) as (_, database_time):
            if database_time is None:
                return
            now = now or database_time
            for ahead in range(_MONTHS_AHEAD):
                self._make_month(month_of(now, ahead), stop)
            self._finish_retired()
            if self._retention_months is not None:
                self._retire(month_of(now, -self._retention_months), stop)

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()

    def _make_month(self, start: datetime, stop: threading.Event) -> None:
        end, name = month_of(start, 1), f"decisions_{start:%Y_%m}"
        with translated(), self._engine.begin() as connection:
            partitions = _fetch_partitions(connection)
            if name in partitions or start < _end_of_past(partitions):
                return
            if connection.scalar(text(_IN_OTHER), {"start": start, "end": end}):
                log.warning("decisions.month_not_made", table=name)
                return
        create = f"CREATE TABLE {name} (LIKE decisions INCLUDING DEFAULTS INCLUDING INDEXES)"
        self._execute_with_locks([create, _attach(name, f"'{start}'", f"'{end}'")], stop)
        log.info("decisions.month_made", table=name)

    def _retire(self, cutoff: datetime, stop: threading.Event) -> None:
        """Let `decisions_past` end at `cutoff` and have no rows but the decisions of current lists."""
        with translated(), self._engine.begin() as connection:
            partitions = _fetch_partitions(connection)
            if _end_of_past(partitions) >= cutoff:
                return
            old = [_PAST, *(name for name in partitions if _is_month_before(name, cutoff))]
            bound = f"requested_at IS NOT NULL AND requested_at < '{cutoff}'"
            connection.execute(text(f"DROP TABLE IF EXISTS {_NEXT_PAST}"))
            like = f"LIKE decisions INCLUDING DEFAULTS INCLUDING INDEXES, CONSTRAINT in_past CHECK ({bound})"
            connection.execute(text(f"CREATE TABLE {_NEXT_PAST} ({like})"))
            for name in (*old, _OTHER):
                connection.execute(text(f"{_copy_current(name, _NEXT_PAST)} AND {bound}"))
        with translated(), self._engine.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
            connection.execute(text(f"ANALYZE {_NEXT_PAST}"))
        self._swap(old, cutoff, stop)
        self._finish_retired()
        log.info("decisions.months_dropped", before=f"{cutoff:%Y-%m-%d}", tables=len(old))

    def _swap(self, old: list[str], cutoff: datetime, stop: threading.Event) -> None:
        """Put the new `decisions_past` in the place of the old partitions, which are kept until `_finish_retired`.

        The check of the table saves a scan under the lock.
        """
        statements = ["LOCK TABLE decisions IN ACCESS EXCLUSIVE MODE"]
        for name in old:
            statements.append(f"ALTER TABLE decisions DETACH PARTITION {name}")
            statements.append(f"ALTER TABLE {name} RENAME TO {_RETIRED}{name.removeprefix('decisions_')}")
        statements += [
            f"{_copy_current(_OTHER, _NEXT_PAST)} AND requested_at < '{cutoff}' ON CONFLICT DO NOTHING",
            f"DELETE FROM {_OTHER} WHERE requested_at < '{cutoff}'",
            f"ALTER TABLE {_NEXT_PAST} RENAME TO {_PAST}",
            _attach(_PAST, "MINVALUE", f"'{cutoff}'"),
        ]
        self._execute_with_locks(statements, stop)

    def _execute_with_locks(self, statements: list[str], stop: threading.Event) -> None:
        """Execute in one transaction, again and again while a lock is not free; raises DatabaseUnavailable."""
        for attempt in range(LOCK_ATTEMPTS):
            try:
                with translated(), self._engine.begin() as connection:
                    for statement in (f"SET LOCAL lock_timeout = '{LOCK_TIMEOUT}'", *statements):
                        connection.execute(text(statement))
                return
            except DatabaseUnavailable:
                if attempt + 1 == LOCK_ATTEMPTS or stop.wait(LOCK_PAUSE_SECONDS):
                    raise

    def _finish_retired(self) -> None:
        """Drop detached tables; a decision of theirs that became current since it was copied goes back first."""
        with translated(), self._engine.begin() as connection:
            for name in connection.scalars(text(_LEFT_OVER)).all():
                connection.execute(text(f"{_copy_current(name, 'decisions')} ON CONFLICT DO NOTHING"))
                connection.execute(text(f"DROP TABLE {name}"))


def month_of(moment: datetime, months: int) -> datetime:
    """Return the start of the month, `months` after that of the moment (UTC)."""
    number = 12 * moment.year + moment.month - 1 + months
    return datetime(number // 12, number % 12 + 1, 1, tzinfo=UTC)


def _fetch_partitions(connection: Connection) -> dict[str, str]:
    return {row.relname: row.bounds for row in connection.execute(text(_PARTITIONS))}


def _end_of_past(partitions: dict[str, str]) -> datetime:
    if (found := _END.search(partitions.get(_PAST, ""))) is None:
        raise DatabaseUnavailable("decisions has no partitions: the migrations have not run")
    return datetime.fromisoformat(found[1])


def _is_month_before(name: str, cutoff: datetime) -> bool:
    return bool(re.fullmatch(r"decisions_\d{4}_\d\d", name)) and name < f"decisions_{cutoff:%Y_%m}"


def _attach(name: str, start: str, end: str) -> str:
    return f"ALTER TABLE decisions ATTACH PARTITION {name} FOR VALUES FROM ({start}) TO ({end})"


def _copy_current(source: str, target: str) -> str:
    return f"INSERT INTO {target} ({_COLUMNS}) SELECT {_COLUMNS} FROM {source} AS decision WHERE {_IS_CURRENT}"
