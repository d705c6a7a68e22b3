"""The gateway's legs: POST of both kinds beside a no-op and beside an unawaited produce, GET beside a bare handler."""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import replace

import httpx
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
    requests = [
        post_line("/recommendations", customer_id=one, action="request_recs") for one in system.customers[:5000]
    ]
    isin = system.isins[0]
    clicks = [
        post_line("/user_interactions", customer_id=one, isin=isin, type="click") for one in system.customers[:5000]
    ]
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
    """Return the legs of GET one list, with and without kept answers; the lists are made before."""
    listed = system.customers[:_LISTED_CUSTOMERS]
    store_lists(system.prefixed("lists-"), listed)
    with closing(psycopg2.connect(system.database_url)) as connection, connection, connection.cursor() as cursor:
        cursor.execute(_BARE_ROWS)
    reads = [f"GET /recommendations/{one}" for one in listed]
    command = [sys.executable, "-m", "uvicorn", "--factory", "script.speed.limit_apps:read_row", "--no-access-log"]
    limit: tuple[str, float | None] = "a bare ASGI handler that fetches one row, same server", GET_TO_BARE
    name = "GET /recommendations/{customer_id}"
    legs = []
    with _program(system, [*command, "--log-level", "warning", "--port"]) as bare:
        with system.service("api") as api:
            leg = _leg(name, (api.url, reads), (bare, reads), limit, rounds=rounds, seconds=seconds)
            kept_share = round(_kept_share(api.metrics_url), 4)
            legs.append(replace(leg, details={**leg.details, "customers": len(reads), "kept_share": kept_share}))
        with system.service("api", API_LIST_MEBIBYTES="0") as api:
            name, limit = f"{name}, no answer kept", (limit[0], None)
            legs.append(_leg(name, (api.url, reads), (bare, reads), limit, rounds=rounds, seconds=seconds))
    return legs


def _kept_share(metrics_url: str) -> float:
    """Return the share of the lists that were answered from memory since the gateway started."""
    text = httpx.get(metrics_url, timeout=5.0, trust_env=False).raise_for_status().text
    found = re.findall(r'list_reads_total\{source="(\w+)"\} (\S+)', text)
    counts = {source: float(count) for source, count in found}
    return counts["kept"] / (counts["kept"] + counts["built"])


def _leg(
    name: str,
    ours: tuple[str, Sequence[str]],
    limit: tuple[str, Sequence[str]],
    expected: tuple[str, float | None],
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


def post_line(path: str, **body: str) -> str:
    """Return a POST as a line of the load generator."""
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
