"""The gateway's legs: POST of both kinds beside a no-op and beside an unawaited produce, GET beside a bare handler."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager

import psycopg2

from script.local.owned_process import free_port
from script.speed.http_load import LoadResult, load
from script.speed.legs import Leg, alternate
from script.speed.system import BenchSystem
from script.speed.worker import store_lists

POST_TO_NO_OP, POST_TO_PRODUCE, GET_TO_BARE = 0.45, 0.80, 0.85
_LISTED_CUSTOMERS = 2000
# What the bare handler reads: the whole list in one row.
_BARE_ROWS = """
DROP TABLE IF EXISTS bench_lists;
CREATE TABLE bench_lists AS SELECT customer_id, jsonb_agg(item ORDER BY rank) AS items
FROM recommendations JOIN decision_items USING (customer_id, request_id, requested_at) GROUP BY customer_id;
ALTER TABLE bench_lists ADD PRIMARY KEY (customer_id)
"""


def measure_gateway(system: BenchSystem, *, rounds: int, seconds: float) -> list[Leg]:
    """Return the legs of the gateway; no worker runs."""
    requests = [_post("/recommendations", customer_id=one, action="request_recs") for one in system.customers[:5000]]
    isin = system.isins[0]
    clicks = [_post("/user_interactions", customer_id=one, isin=isin, type="click") for one in system.customers[:5000]]
    legs = []
    with (
        system.service("api") as api,
        _limit(system, "no_op") as no_op,
        _limit(system, "produce_without_waiting") as produce,
    ):
        for name, ours, url, limit_name, target in (
            ("POST /recommendations", requests, no_op, "validated no-op POST on Granian", POST_TO_NO_OP),
            ("POST /recommendations", requests, produce, "the no-op that produces and does not wait", POST_TO_PRODUCE),
            ("POST /user_interactions", clicks, no_op, "validated no-op POST on Granian", POST_TO_NO_OP),
            ("POST /user_interactions", clicks, produce, "the no-op that produces and does not wait", POST_TO_PRODUCE),
        ):
            legs.append(
                _leg(name, (api.url, ours), (url, requests), (limit_name, target), rounds=rounds, seconds=seconds)
            )
    return legs


def measure_reads(system: BenchSystem, *, rounds: int, seconds: float) -> list[Leg]:
    """Return the leg of GET one list; the lists are made before."""
    listed = system.customers[:_LISTED_CUSTOMERS]
    store_lists(system.prefixed("lists-"), listed)
    with closing(psycopg2.connect(system.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_BARE_ROWS)
    reads = [f"GET /recommendations/{one}" for one in listed]
    command = [sys.executable, "-m", "uvicorn", "--factory", "script.speed.limit_apps:read_row", "--no-access-log"]
    with system.service("api") as api, _program(system, [*command, "--log-level", "warning", "--port"]) as bare:
        sides = (api.url, reads), (bare, reads)
        limit = "a bare ASGI handler that fetches one row, same server", GET_TO_BARE
        return [_leg("GET /recommendations/{customer_id}", *sides, limit, rounds=rounds, seconds=seconds)]


def _leg(
    name: str,
    ours: tuple[str, Sequence[str]],
    limit: tuple[str, Sequence[str]],
    expected: tuple[str, float],
    *,
    rounds: int,
    seconds: float,
) -> Leg:
    results: list[LoadResult] = []

    def measure(side: tuple[str, Sequence[str]], *, keep: bool) -> float:
        result = load(*side, seconds=seconds)
        if keep:
            results.append(result)
        return result.per_second

    values = alternate(lambda: measure(ours, keep=True), lambda: measure(limit, keep=False), rounds=rounds)
    p99 = sorted(result.p99_ms for result in results)[len(results) // 2]
    return Leg(name, "requests/s", *values, expected[0], expected[1], details={"p99_ms": round(p99, 1)})


def _post(path: str, **body: str) -> str:
    return f"POST {path} {json.dumps(body, separators=(',', ':'))}"


@contextmanager
def _limit(system: BenchSystem, app: str) -> Iterator[str]:
    command = [sys.executable, "-m", "granian", "--interface", "asgi", "--factory", f"script.speed.limit_apps:{app}"]
    with _program(system, [*command, "--host", "127.0.0.1", "--no-access-log", "--port"]) as url:
        yield url


@contextmanager
def _program(system: BenchSystem, command: Sequence[str]) -> Iterator[str]:
    port = free_port()
    with system.program([*command, str(port)], port=port) as url:
        yield url
