"""Old interactions and dead letters are removed in bounded batches; what a customer's lists still need stays.

A dismissal keeps its asset out of lists without a limit of time, and a watched asset is watched until the customer
says otherwise: the rows that say so are kept, whatever their age. The age counts by the clock of the database.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from contextlib import closing
from datetime import datetime

from sqlalchemy import Connection, text
from sqlalchemy.exc import DBAPIError

from shared.errors import RecommenderError, describe_error
from shared.logging import get_logger
from shared.postgres.engine import build_engine
from shared.postgres.tables import is_of
from shared.recommender.types import DISMISSAL_TYPES, InteractionType
from worker.decision_months import hold_lock, month_of

ROUND_SECONDS, FAILED_ROUND_SECONDS = 86_400.0, 60.0
ROWS_PER_BATCH = 2_000
PAUSE_SECONDS = 0.05  # between two batches, for those who wait
ONE_AT_A_TIME = 7_203_916  # any constant
_WATCHES = (InteractionType.WATCHLIST, InteractionType.UNWATCH)
_IS_LAST = """
NOT EXISTS (SELECT FROM user_interactions AS later
            WHERE later.customer_id = old.customer_id AND later.isin = old.isin AND later.sequence > old.sequence
              AND later.{types})
"""
# In the order of the log: a dismissal goes before the interaction that ended it, which would otherwise count again.
_OLD_INTERACTIONS = f"""
CREATE TEMP TABLE old_rows AS
SELECT event_id AS id, row_number() OVER (ORDER BY sequence) AS place FROM user_interactions AS old
WHERE recorded_at < :before
  AND NOT (interaction_type = '{InteractionType.DISMISS.value}' AND {_IS_LAST.format(types=is_of(DISMISSAL_TYPES))})
  AND NOT (interaction_type = '{InteractionType.WATCHLIST.value}' AND {_IS_LAST.format(types=is_of(_WATCHES))})
"""
_OLD_LETTERS = """
CREATE TEMP TABLE old_rows AS
SELECT dead_letter_id AS id, row_number() OVER (ORDER BY dead_letter_id) AS place FROM dead_letters
WHERE failed_at < :before
"""
_REMOVE = """
DELETE FROM {table} USING old_rows WHERE {key} = old_rows.id AND place > :after AND place <= :after + :rows
"""
# By table: its key, and what chooses the rows.
_JOBS = {"user_interactions": ("event_id", _OLD_INTERACTIONS), "dead_letters": ("dead_letter_id", _OLD_LETTERS)}

log = get_logger(__name__)


class Retention:
    """Removes rows by age; `months` are by table, None keeps everything."""

    def __init__(self, database_url: str, *, months: Mapping[str, int | None]) -> None:
        self._engine = build_engine(database_url, application_name="recommender-retention", pool_size=1)
        self._months = {table: count for table, count in months.items() if count is not None}

    def keep_forever(self, stop: threading.Event) -> None:
        """Do a round now and each day until `stop`; one that failed is repeated after a minute."""
        with closing(self):
            while self._months and not stop.is_set():
                seconds = ROUND_SECONDS
                try:
                    self.keep(stop=stop)
                except (RecommenderError, DBAPIError) as error:
                    log.warning("retention.failed", error=describe_error(error))
                    seconds = FAILED_ROUND_SECONDS
                stop.wait(seconds)

    def keep(self, *, stop: threading.Event) -> dict[str, int]:
        """Remove what is old now, unless another worker does it; return how many rows of each table."""
        removed: dict[str, int] = {}
        with hold_lock(self._engine, ONE_AT_A_TIME) as (connection, now):
            if now is None:
                return {}
            for table, count in self._months.items():
                removed[table] = _remove_old(connection, table, before=month_of(now, -count), stop=stop)
                if removed[table]:
                    log.info("retention.removed", table=table, rows=removed[table])
        return removed

    def close(self) -> None:
        """Close every connection."""
        self._engine.dispose()


def _remove_old(connection: Connection, table: str, *, before: datetime, stop: threading.Event) -> int:
    """Choose the rows once, then remove them batch by batch, each in a transaction of its own."""
    key, choose = _JOBS[table]
    with connection.begin():
        connection.execute(text("DROP TABLE IF EXISTS old_rows"))
        chosen = connection.execute(text(choose), {"before": before}).rowcount
        connection.execute(text("CREATE INDEX ON old_rows (place)"))
        connection.execute(text("ANALYZE old_rows"))
    removed = 0
    for after in range(0, chosen, ROWS_PER_BATCH):
        if stop.wait(PAUSE_SECONDS):
            break
        with connection.begin():
            batch = {"after": after, "rows": ROWS_PER_BATCH}
            removed += connection.execute(text(_REMOVE.format(table=table, key=key)), batch).rowcount
    return removed
