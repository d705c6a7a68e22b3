"""How long a look-up of request ids takes by the number of months that `decisions` has."""

from __future__ import annotations

from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import psycopg2
from psycopg2 import extensions

from script.growing.running import read_session_cpu
from script.speed.system import bench_database
from worker.decision_months import month_of
from worker.store import PostgresWorkerStore

MONTHS, DECISIONS_A_MONTH, LOOKED_UP = (2, 13, 26), 30_000, 500
LOOK_UPS = 100
_FIRST = datetime(2100, 1, 1, tzinfo=UTC)  # no partition of the migrations has it

_FILL = """
INSERT INTO decisions (request_id, requested_at, decided_at, event_offset, partition, is_preview, customer_id, action,
                       answered_from, model_version, basis, asset_versions, contributions)
SELECT gen_random_uuid(), %s::timestamptz + number * interval '60 s', now(), number, 0, false, 'C' || number,
       'refresh_recs', 'scored', 'v1', 'history', array_fill(1::bigint, ARRAY[10]), array_fill(1, ARRAY[30])
FROM generate_series(1, %s) AS number
"""


def measure_months(folder: Path) -> dict[str, float]:
    """Return the milliseconds of the database's processor for a look-up of 500 new ids, by months.

    The folder is named after its scale, which decides how many decisions a month has, up to those of scale 1. The
    database is one of its own, on the server of DATABASE_URL.
    """
    decisions = min(DECISIONS_A_MONTH, int(DECISIONS_A_MONTH * float(folder.name.partition("-")[0])))
    with bench_database() as url:
        return _measure(url, decisions)


def _measure(url: str, decisions: int) -> dict[str, float]:
    figures: dict[str, float] = {"decisions_a_month": decisions}
    with closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        made = 0
        for months in MONTHS:
            for number in range(made, months):
                _add_month(connection, number, decisions)
            made = months
            with connection.cursor() as cursor:
                cursor.execute("VACUUM ANALYZE decisions")
            figures[f"look_up_database_ms_{months}"] = _time_look_ups(url)
    return figures


def _add_month(connection: extensions.connection, number: int, decisions: int) -> None:
    start, end = month_of(_FIRST, number), month_of(_FIRST, number + 1)
    with connection.cursor() as cursor:
        name = f"decisions_{start:%Y_%m}"
        cursor.execute(f"CREATE TABLE {name} PARTITION OF decisions FOR VALUES FROM (%s) TO (%s)", (start, end))
        cursor.execute(_FILL, (start, decisions))


def _time_look_ups(url: str) -> float:
    store = PostgresWorkerStore(url, cluster_id="growth", consumer_group="growth")
    with closing(store), store.begin() as transaction:
        transaction.fetch_decided([uuid4()])
        before = read_session_cpu(url)
        for _ in range(LOOK_UPS):
            assert not transaction.fetch_decided([uuid4() for _ in range(LOOKED_UP)])
        used = sum(seconds - before.get(pid, 0.0) for pid, seconds in read_session_cpu(url).items())
    return 1000 * used / LOOK_UPS
