"""Workers as processes on a real broker and database, and what a test does to them."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any
from uuid import uuid4

import psycopg2
import psycopg2.extras
from confluent_kafka import Producer
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy.engine import make_url

from shared.artifacts.publication import FileArtifacts
from shared.events import (
    INTERACTIONS_RECORDED,
    RECOMMENDATIONS_REQUESTED,
    TRANSACTIONS_RECORDED,
    WORKER_TOPICS,
    Event,
    InteractionRecorded,
    RecommendationRequested,
    TransactionRecorded,
    encode,
)
from shared.kafka.client_settings import producer_settings
from shared.kafka.topics import create_topics
from shared.recommender.model import Model
from tests.builders import build_model
from tests.integration.gateway_process import unused_port

PATIENCE_SECONDS = 60.0


@dataclass
class WorkerProcess:
    """A running `python -m worker`."""

    process: subprocess.Popen[bytes]
    port: int
    log_file: Path

    def get(self, path: str) -> tuple[int, str]:
        """Return status and body; status 0 when nothing answers."""
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}", timeout=5) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError as error:
            return 0, str(error)

    def is_ready(self) -> bool:
        return self.get("/health/ready")[0] == 200

    def unready_reason(self) -> str:
        """Return why the worker is not ready, an empty string when it is."""
        status, body = self.get("/health/ready")
        return "" if status == 200 else str(json.loads(body)["reason"]) if status else "nothing answers"

    def metric(self, name: str, **labels: str) -> float:
        """Return one of the worker's metrics, 0 when there is no such sample or no answer."""
        status, body = self.get("/metrics")
        families = text_string_to_metric_families(body if status == 200 else "")
        samples = (sample for family in families for sample in family.samples)
        wanted = (sample for sample in samples if sample.name == f"recommender_worker_{name}")
        return sum(sample.value for sample in wanted if labels.items() <= sample.labels.items())

    def log_lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log_file.read_text().splitlines() if line.startswith("{")]

    def terminate(self) -> tuple[int, float]:
        """Send SIGTERM; return exit code and seconds until the exit."""
        started = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(timeout=30), time.monotonic() - started

    def kill(self) -> None:
        """End it as a crash does."""
        self.process.kill()
        self.process.wait()


@dataclass
class WorkerWorld:
    """One database, topics of its own, a models volume, and the workers on them."""

    bootstrap_servers: str
    database_url: str
    topic_prefix: str
    folder: Path
    partitions: int = 4
    model: Model = field(default_factory=lambda: build_model(assets=60))
    workers: list[WorkerProcess] = field(default_factory=list)

    @property
    def all_partitions(self) -> int:
        """Of every topic that a worker consumes."""
        return len(WORKER_TOPICS) * self.partitions

    def __post_init__(self) -> None:
        create_topics(self.bootstrap_servers, prefix=self.topic_prefix, partitions=self.partitions)
        self.artifacts = FileArtifacts(self.folder / "models")
        config = producer_settings(self.bootstrap_servers, client_id="test")
        self.producer = Producer({**config, "linger.ms": 0})
        self.connection = psycopg2.connect(self.database_url)
        self.connection.autocommit = True
        # The worker takes risk levels from the database: they are those of the model.
        kinds = {1: ("MTF", "Money Market"), 2: ("Bond", None), 3: ("Stock", None), 4: ("Stock", None)}
        rows = [
            (isin, f"Name of {isin}", *kinds[int(level)])
            for isin, level in zip(self.model.id_map.isins, self.model.asset_risk_level, strict=True)
        ]
        with self.connection.cursor() as cursor:
            psycopg2.extras.execute_values(
                cursor,
                "INSERT INTO asset_information (isin, asset_name, asset_category, asset_sub_category, recorded_on)"
                " VALUES %s",
                rows,
                template="(%s, %s, %s, %s, '2022-01-01')",
            )

    @property
    def group(self) -> str:
        """The consumer group of these workers: tests that run at the same time share the broker, never a group."""
        return f"{self.topic_prefix}worker"

    def publish_model(self, model: Model | None = None) -> None:
        """Save a model and let CURRENT name it."""
        model = model or self.model
        self.artifacts.save_model(model)
        self.artifacts.activate(model.version)

    def start(self, *, ready: bool = True, program: str | None = None, **settings: object) -> WorkerProcess:
        """Start one more worker; `settings` are environment variables in lower case.

        `program` is what Python runs instead of `-m worker`.
        """
        port, log_file = unused_port(), self.folder / f"worker-{len(self.workers)}.log"
        environment = {
            **os.environ,
            "KAFKA_BOOTSTRAP_SERVERS": self.bootstrap_servers,
            "DATABASE_URL": self.database_url,
            "TOPIC_PREFIX": self.topic_prefix,
            "WORKER_CONSUMER_GROUP": self.group,
            "MODELS_DIR": str(self.artifacts.models_dir),
            "WORKER_HEALTH_PORT": str(port),
            "MODEL_POLL_SECONDS": "0.1",
            "SESSION_TIMEOUT_SECONDS": "6",
            "LOG_FORMAT": "json",
            **{name.upper(): str(value) for name, value in settings.items()},
        }
        with log_file.open("wb") as log:
            what = ["-m", "worker"] if program is None else ["-c", program]
            process = subprocess.Popen([sys.executable, *what], env=environment, stderr=log)
        worker = WorkerProcess(process, port, log_file)
        self.workers.append(worker)
        if ready:
            self.wait(worker.is_ready, "the worker is ready")
        return worker

    def click(
        self, customer_id: str, isin: str, kind: Any = "click", *, acknowledged: bool = True, **fields: Any
    ) -> InteractionRecorded:
        """Publish an interaction and return once it is acknowledged, unless that is not asked for."""
        event = InteractionRecorded(customer_id=customer_id, isin=isin, type=kind, **fields)
        if acknowledged:
            self.send(INTERACTIONS_RECORDED, key=customer_id, value=encode(event))
        else:
            self.producer.produce(self.topic_prefix + INTERACTIONS_RECORDED, encode(event), customer_id)
        return event

    def order(self, customer_id: str, isin: str, kind: Any = "Buy", **fields: Any) -> TransactionRecorded:
        """Publish an executed order of ten units and return once it is acknowledged."""
        known: dict[str, Any] = {
            "units": 10.0,
            "total_value": 100.0,
            "executed_at": datetime.now(UTC),
            "transaction_id": uuid4().hex,
        }
        event = TransactionRecorded(customer_id=customer_id, isin=isin, type=kind, **{**known, **fields})
        self.send(TRANSACTIONS_RECORDED, key=customer_id, value=encode(event))
        return event

    def publish(self, topic: str, event: Event) -> None:
        """Publish an event under its key and return once it is acknowledged."""
        self.send(topic, key=(event.key() or b"").decode(), value=encode(event))

    def ask(self, customer_id: str, action: Any = "refresh_recs", **fields: Any) -> RecommendationRequested:
        """Publish a request and return once it is acknowledged."""
        event = RecommendationRequested(customer_id=customer_id, action=action, **fields)
        self.send(RECOMMENDATIONS_REQUESTED, key=customer_id, value=encode(event))
        return event

    def send(self, topic: str, *, key: str, value: bytes | None, partition: int | None = None) -> None:
        """Publish any bytes and return once they are acknowledged."""
        failures: list[Any] = []
        place: dict[str, Any] = {} if partition is None else {"partition": partition}
        self.producer.produce(
            self.topic_prefix + topic, value, key, on_delivery=lambda error, _: failures.append(error), **place
        )
        while not failures:
            self.producer.poll(0.1)
        assert failures == [None]

    def rows(self, query: str, *parameters: Any) -> list[tuple[Any, ...]]:
        with self.connection.cursor() as cursor:
            cursor.execute(query, parameters)
            return cursor.fetchall() if cursor.description else []

    def count(self, table: str) -> int:
        return int(self.rows(f"SELECT count(*) FROM {table}")[0][0])

    def answers(self, requests: Sequence[RecommendationRequested]) -> dict[str, list[str]]:
        """Wait until every request is decided; return the ISINs of each, by request id."""
        ids = [str(request.event_id) for request in requests]

        def decided() -> bool:
            query = "SELECT count(*) FROM decisions WHERE request_id = ANY(%s::uuid[])"
            return bool(self.rows(query, ids)[0][0] == len(ids))

        self.wait(decided, f"{len(ids)} requests are decided")
        shown = (
            "ARRAY(SELECT isin FROM decision_items shown WHERE shown.request_id = decisions.request_id ORDER BY rank)"
        )
        rows = self.rows(f"SELECT request_id, {shown} FROM decisions WHERE request_id = ANY(%s::uuid[])", ids)
        return {str(request_id): isins for request_id, isins in rows}

    @contextmanager
    def database_outage(self) -> Iterator[None]:
        """End every worker's connection, and let the server refuse new ones, as while it restarts."""
        url = make_url(self.database_url)
        admin = psycopg2.connect(url.set(database="postgres").render_as_string(hide_password=False))
        admin.autocommit = True
        with contextlib.closing(admin), admin.cursor() as cursor:
            cursor.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS false')
            cursor.execute(
                "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
                " WHERE datname = %s AND application_name LIKE 'recommender-%%'",
                (url.database,),
            )
            yield
            cursor.execute(f'ALTER DATABASE "{url.database}" ALLOW_CONNECTIONS true')

    def wait(self, condition: Callable[[], object], what: str, *, seconds: float = PATIENCE_SECONDS) -> None:
        """Return as soon as the condition holds."""
        deadline = time.monotonic() + seconds
        while not condition():
            states = [worker.unready_reason() for worker in self.workers if worker.process.poll() is None]
            assert time.monotonic() < deadline, f"not within {seconds} s: {what}; workers: {states}"
            time.sleep(0.05)


@contextmanager
def worker_world(
    *, bootstrap_servers: str, database_url: str, topic_prefix: str, folder: Path
) -> Iterator[WorkerWorld]:
    """Everything for workers; those that still run at the end are killed."""
    world = WorkerWorld(bootstrap_servers, database_url, topic_prefix, folder)
    try:
        yield world
    finally:
        for worker in world.workers:
            with contextlib.suppress(OSError):
                worker.process.send_signal(signal.SIGCONT)
            worker.kill()
        world.connection.close()
