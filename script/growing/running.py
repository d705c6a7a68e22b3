"""What gateway and workers cost with the database and the model of one size; every process is a real one.

CPU time is that of the service processes, and of the database's processes that serve them. A broker is started for
each measurement that is given none.
"""

from __future__ import annotations

import os
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager, suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
from secrets import token_hex
from statistics import median

import httpx
import numpy as np
import psutil
import psycopg2
from prometheus_client.parser import text_string_to_metric_families

from script.local.kafka import LocalKafka
from script.local.owned_process import LocalServerError
from script.local.postgres import execute_statement
from script.local.service_processes import ServiceEnvironment, ServiceProcess
from script.speed.gateway import post_line
from script.speed.http_load import load
from script.speed.system import BenchSystem
from script.speed.worker import publish, wait_for_progress
from shared.events import RECOMMENDATIONS_REQUESTED
from shared.postgres.tables import decisions

Figures = dict[str, float]

ROUNDS, SECONDS = 3, 3.0
LISTED_CUSTOMERS, ASKED_CUSTOMERS, BURST = 5_000, 5_000, 20_000
GROUP_SIZES = (1, 2, 4)
GROUP_SECONDS = 120.0

# Every customer without a list gets that of another one, as a decision of its own.
_OWN = ("request_id", "customer_id")
_COPIED = ", ".join(f'"{column.name}"' for column in decisions.columns if column.name not in _OWN)
_COPY_LISTS = f"""
CREATE TEMPORARY TABLE samples AS
SELECT made.*, list.interaction_sequence, list.reference_snapshot AS list_snapshot, list.created_at,
       row_number() OVER () - 1 AS place
FROM recommendations AS list JOIN decisions AS made USING (request_id, requested_at);
CREATE TEMPORARY TABLE copies AS
SELECT customer_id, gen_random_uuid() AS request_id,
       row_number() OVER () % (SELECT count(*) FROM samples) AS place
FROM (SELECT DISTINCT customer_id FROM customer_information) AS customer
WHERE NOT EXISTS (SELECT FROM recommendations AS list WHERE list.customer_id = customer.customer_id);
INSERT INTO decisions (request_id, customer_id, {_COPIED})
SELECT copies.request_id, copies.customer_id, {_COPIED} FROM copies JOIN samples USING (place);
INSERT INTO recommendations
    (customer_id, request_id, requested_at, interaction_sequence, reference_snapshot, created_at)
SELECT copies.customer_id, copies.request_id, requested_at, interaction_sequence, list_snapshot, created_at
FROM copies JOIN samples USING (place);
ANALYZE decisions, recommendations
"""


@dataclass
class CpuTime:
    """Seconds of the processor that services and database used, once the block that measures them has ended."""

    services: dict[int, float] = field(default_factory=dict)
    database: dict[int, float] = field(default_factory=dict)

    def per(self, count: float, name: str) -> Figures:
        """Return the seconds for each of so many."""
        used = {f"{name}_seconds": self.services, f"{name}_database_seconds": self.database}
        return {key: sum(seconds.values()) / count for key, seconds in used.items()}


def measure_answers(folder: Path) -> Figures:
    """Lists of a worker, then GET and POST of one gateway process, with a list stored for every customer.

    The gateway keeps no lists in memory: how many it finds there would depend on the speed of the machine.
    """
    with _open_system(folder) as unprefixed:
        system = unprefixed.prefixed(f"answers-{token_hex(4)}-")  # no offsets of an earlier run
        figures = _make_lists(system)
        execute_statement(system.database_url, _COPY_LISTS)
        [(figures["lists"],)] = system.query("SELECT count(*) FROM recommendations")
        asked = np.random.default_rng(7).permutation(system.customers)[:ASKED_CUSTOMERS].tolist()
        reads = [f"GET /recommendations/{one}" for one in asked]
        requests = [post_line("/recommendations", customer_id=one, action="request_recs") for one in asked]
        with system.service("api", API_LIST_MEBIBYTES="0") as api:
            figures |= _load_gateway(system, api, reads, "get")
            figures |= _load_gateway(system, api, requests, "post")
            figures["gateway_mb"] = _memory_mb(api)
        return figures


def measure_consumer_group(folder: Path, *, bootstrap_servers: str = "") -> Figures:
    """A burst of requests for groups of one, two and four workers, by turns; medians, names end with the workers.

    Fewer customers than BURST have one round of a group of two. Without `bootstrap_servers` a broker is started.
    """
    with _open_system(folder, bootstrap_servers=bootstrap_servers) as system:
        customers = system.customers[:BURST]
        counts, rounds = (GROUP_SIZES, ROUNDS) if len(customers) == BURST else ((2,), 1)
        groups = {count: system.prefixed(f"group-{token_hex(4)}-{count}-") for count in counts}
        found: dict[int, list[Figures]] = {count: [] for count in counts}
        for number in range(rounds):
            for count in counts if number % 2 == 0 else reversed(counts):
                found[count].append(_answer_burst(groups[count], customers, workers=count))
    figures = {f"{name}_{count}": value for count, rows in found.items() for name, value in _medians(rows).items()}
    return {"requests": len(customers), **figures}


@contextmanager
def _open_system(folder: Path, *, bootstrap_servers: str = "") -> Iterator[BenchSystem]:
    """Yield a system with the database of DATABASE_URL and the model of the folder; a broker unless one is named."""
    with ExitStack() as stack:
        temporary = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="growth-system-")))
        (temporary / "logs").mkdir()
        servers = bootstrap_servers or stack.enter_context(LocalKafka(temporary / "kafka")).bootstrap_servers
        environment = ServiceEnvironment(servers, os.environ["DATABASE_URL"], folder / "models")
        system = BenchSystem(environment, folder, temporary, (), ())
        customers = system.query("SELECT DISTINCT customer_id FROM customer_information ORDER BY customer_id")
        if not customers:
            raise LocalServerError("the part `load` comes first: the database has no customers")
        yield replace(system, customers=tuple(customer_id for (customer_id,) in customers))


def _make_lists(system: BenchSystem) -> Figures:
    """Have a worker make lists for a half of the customers at most; the first hundred pay for what is made once."""
    topic = system.environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    customers = system.customers[: min(LISTED_CUSTOMERS, len(system.customers) // 2)]
    first = min(100, len(customers) // 2)
    with system.service("worker", WORKER_CONSUMER_GROUP=topic) as worker:
        publish(system, customers[:first])
        wait_for_progress(system, topic, workers=[worker], least=first)
        with _measured(system, [worker]) as used:
            publish(system, customers[first:])
            wait_for_progress(system, topic, workers=[worker], least=len(customers))
        return used.per(len(customers) - first, "list") | {"worker_mb": _memory_mb(worker)}


def _load_gateway(system: BenchSystem, api: ServiceProcess, requests: Sequence[str], name: str) -> Figures:
    """Each round begins with other customers; fewer than ASKED_CUSTOMERS have one round of a second."""
    rounds, seconds = (ROUNDS, SECONDS) if len(requests) == ASKED_CUSTOMERS else (1, 1.0)
    rows = []
    load(api.url, requests, seconds=1.0, warm_up=False)
    for number in range(1, rounds + 1):
        first = number * len(requests) // (rounds + 1)
        turned = [*requests[first:], *requests[:first]]
        with _measured(system, [api]) as used:
            result = load(api.url, turned, seconds=seconds, warm_up=False)
        figures = used.per(result.per_second * seconds, name)
        rows.append(figures | {f"{name}_per_second": result.per_second, f"{name}_p50_ms": result.p50_ms})
    return _medians(rows)


def _answer_burst(system: BenchSystem, customers: Sequence[str], *, workers: int) -> Figures:
    topic = system.environment.topic_prefix + RECOMMENDATIONS_REQUESTED
    with ExitStack() as stack:
        group = [
            stack.enter_context(system.service("worker", process_name=f"worker-{number}", WORKER_CONSUMER_GROUP=topic))
            for number in range(workers)
        ]
        _wait_until(lambda: all(_read_metric(group, "recommender_worker_assigned_partitions")), group)
        _, before = wait_for_progress(system, topic, workers=group, least=0)
        with _measured(system, group) as used:
            started = time.monotonic()
            publish(system, customers)
            ended, _ = wait_for_progress(system, topic, workers=group, least=before + len(customers))
        # A worker counts its answers after it stored them.
        _wait_until(lambda: sum(_read_metric(group, "recommender_worker_answers")) >= len(customers), group)
        answered = _read_metric(group, "recommender_worker_answers")
    return {
        "lists_per_second": len(customers) / (ended - started),
        **used.per(len(customers), "list"),
        "least_share": min(answered) / (sum(answered) / workers),
    }


@contextmanager
def _measured(system: BenchSystem, services: Sequence[ServiceProcess]) -> Iterator[CpuTime]:
    before, used = _read_cpu(system, services), CpuTime()
    yield used
    after = _read_cpu(system, services)
    for kind in ("services", "database"):
        earlier = getattr(before, kind)
        getattr(used, kind).update({pid: now - earlier.get(pid, 0.0) for pid, now in getattr(after, kind).items()})


def _read_cpu(system: BenchSystem, services: Sequence[ServiceProcess]) -> CpuTime:
    pids = [pid for service in services for pid in _tree(service)]
    return CpuTime(_cpu_of(pids), read_session_cpu(system.database_url))


def read_session_cpu(database_url: str) -> dict[int, float]:
    """Return the seconds of the processor of each other session of the database, by process."""
    sessions = "SELECT pid FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
    with closing(psycopg2.connect(database_url)) as connection, connection.cursor() as cursor:
        cursor.execute(sessions)
        return _cpu_of([pid for (pid,) in cursor.fetchall()])


def _cpu_of(pids: Sequence[int]) -> dict[int, float]:
    seconds = {}
    for pid in pids:
        with suppress(psutil.NoSuchProcess):  # a session that ended
            times = psutil.Process(pid).cpu_times()
            seconds[pid] = times.user + times.system
    return seconds


def _tree(service: ServiceProcess) -> list[int]:
    return [service.pid, *(child.pid for child in psutil.Process(service.pid).children(recursive=True))]


def _memory_mb(service: ServiceProcess) -> float:
    return sum(float(psutil.Process(pid).memory_info().rss) for pid in _tree(service)) / 1e6


def _read_metric(group: Sequence[ServiceProcess], family: str) -> list[float]:
    """Return the sum of all labels of a metric for each service."""
    return [_sum_of(httpx.get(one.metrics_url, timeout=10.0, trust_env=False).text, family) for one in group]


def _sum_of(text: str, family: str) -> float:
    samples = (
        one for metric in text_string_to_metric_families(text) if metric.name == family for one in metric.samples
    )
    return sum(one.value for one in samples if not one.name.endswith("_created"))


def _wait_until(condition: Callable[[], bool], group: Sequence[ServiceProcess]) -> None:
    deadline = time.monotonic() + GROUP_SECONDS
    while not condition():
        if time.monotonic() > deadline:
            raise group[-1].failure(f"and its group did not share or count their work within {GROUP_SECONDS:g} s")
        time.sleep(0.1)


def _medians(rows: Sequence[Figures]) -> Figures:
    return {name: median(row[name] for row in rows) for name in rows[0]}
