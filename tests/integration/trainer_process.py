"""Trainers as processes on a real broker and database, and what they leave there."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, TypeVar

import psycopg2
import psycopg2.extras
from confluent_kafka import Consumer, TopicPartition
from sqlalchemy import Engine

from script.local.service_processes import ServiceEnvironment, ServiceProcess
from shared.artifacts.publication import FileArtifacts
from shared.events import (
    INTERACTIONS_RECORDED,
    MODEL_NAME,
    MODELS_COMMANDS,
    MODELS_PUBLISHED,
    Event,
    InteractionRecorded,
    ModelPublished,
    decode,
)
from shared.kafka.client_settings import producer_settings
from shared.kafka.metadata import fetch_cluster_id
from shared.kafka.producer import SyncKafkaEventPublisher
from shared.kafka.topics import create_topics
from trainer.service.store import PostgresTrainerStore

REPOSITORY = Path(__file__).resolve().parents[2]
PARTITIONS = 3
WAIT_SECONDS = 60.0
Answer = TypeVar("Answer")


class System:
    """Broker, database and volume of one test, and trainers on them."""

    def __init__(self, bootstrap_servers: str, database_url: str, folder: Path, prefix: str) -> None:
        self.folder = folder
        self.prefix = prefix
        self.bootstrap_servers = bootstrap_servers
        self.database_url = database_url
        self.models = folder / "models"
        self.trainers: list[ServiceProcess] = []
        self._clicked: list[InteractionRecorded] = []  # what the worker has not stored
        create_topics(bootstrap_servers, prefix=prefix, partitions=PARTITIONS)
        config = producer_settings(bootstrap_servers, client_id="test")
        self.publisher = SyncKafkaEventPublisher(config, topic_prefix=prefix)

    def trainer(self, **settings: str) -> ServiceProcess:
        """Start a trainer in a folder of its own."""
        more = {"RETRAIN_AFTER_INTERACTIONS": "50", **settings}
        environment = ServiceEnvironment(self.bootstrap_servers, self.database_url, self.models, self.prefix, more)
        trainer = ServiceProcess("trainer", environment, folder=self.folder / f"trainer{len(self.trainers)}")
        self.trainers.append(trainer)
        trainer.start()
        return trainer

    def rows(self, where: str = "true") -> list[dict[str, Any]]:
        """Return rows of model_versions, the oldest first."""
        return self.query(f"SELECT * FROM model_versions WHERE {where} ORDER BY version")

    def query(self, statement: str) -> list[dict[str, Any]]:
        with psycopg2.connect(self.database_url) as connection:
            cursor = connection.cursor(cursor_factory=psycopg2.extras.RealDictCursor)
            cursor.execute(statement)
            rows = [dict(row) for row in cursor.fetchall()] if cursor.description else []
        connection.close()
        return rows

    def execute(self, statement: str) -> None:
        self.query(statement)

    def click(self, count: int, *, first: int = 0, stored: bool = True) -> None:
        """Publish clicks; `stored`: rows and offsets are as after the worker has stored them."""
        for number in range(first, first + count):
            event = InteractionRecorded(customer_id=f"C{number}", isin="GRS000000000", type="click")
            self.publisher.publish(INTERACTIONS_RECORDED, key=event.customer_id, event=event)
            self._clicked.append(event)
        if stored:
            self.store_as_worker()

    def store_as_worker(self) -> None:
        """Store the clicks, and let the worker's offsets be at the end of the log of interactions."""
        for event in self._clicked:
            # Of a customer of the bank: a new one would change the figures of an evaluation.
            self.execute(
                "INSERT INTO user_interactions"
                " (event_id, customer_id, isin, interaction_type, occurred_at, partition, event_offset)"
                f" SELECT '{event.event_id}', min(customer_id), '{event.isin}', 'click', '{event.occurred_at}', 0, 0"
                " FROM customer_information"
            )
        self._clicked.clear()
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": f"{self.prefix}ends"})
        place = f"'{fetch_cluster_id(self.bootstrap_servers)}', 'worker', '{INTERACTIONS_RECORDED}'"
        for partition in range(PARTITIONS):
            log = TopicPartition(self.prefix + INTERACTIONS_RECORDED, partition)
            _, end = consumer.get_watermark_offsets(log, timeout=10.0)
            self.execute(
                "INSERT INTO consumer_offsets (cluster_id, consumer_group, topic, partition, next_offset) "
                f"VALUES ({place}, {partition}, {end}) "
                f"ON CONFLICT (cluster_id, consumer_group, topic, partition) DO UPDATE SET next_offset = {end}"
            )
        consumer.close()

    def command(self, event: Event) -> None:
        self.publisher.publish(MODELS_COMMANDS, key=MODEL_NAME, event=event)

    def pointer(self) -> Mapping[str, Any]:
        """Return what CURRENT says, as a worker reads it."""
        pointer = FileArtifacts(self.models).read_pointer()
        return vars(pointer) if pointer else {}

    def announced(self) -> list[tuple[str, int]]:
        """Return version and sequence of every announcement."""
        consumer = Consumer({"bootstrap.servers": self.bootstrap_servers, "group.id": f"{self.prefix}reader"})
        consumer.assign([TopicPartition(self.prefix + MODELS_PUBLISHED, 0, 0)])
        messages = consumer.consume(100, timeout=2.0)
        consumer.close()
        events = [decode(MODELS_PUBLISHED, message.value()) for message in messages if message.error() is None]
        return [(event.version, event.sequence) for event in events if isinstance(event, ModelPublished)]


def eventually(probe: Callable[[], Answer], *, seconds: float = WAIT_SECONDS) -> Answer:
    """Return the probe's first true answer."""
    deadline = time.monotonic() + seconds
    while True:
        answer = probe()
        if answer:
            return answer
        assert time.monotonic() < deadline, f"never happened: {probe}"
        time.sleep(0.05)


def load(system: System, folder: Path) -> None:
    """Load reference tables as an operator does."""
    command = [sys.executable, str(REPOSITORY / "FAR-Trans" / "script.py"), "--data", str(folder)]
    environment = ServiceEnvironment(system.bootstrap_servers, system.database_url, system.models).variables()
    subprocess.run(command, check=True, capture_output=True, env=environment, cwd=REPOSITORY)


def stop_code(trainer: ServiceProcess) -> int | None:
    """Send SIGTERM and return the exit code."""
    trainer.terminate()
    eventually(lambda: not trainer.is_running, seconds=20)
    return trainer.exit_code


def postgres_store(engine: Engine, group: str = "trainer", **groups: str) -> PostgresTrainerStore:
    """Return the store of a trainer on the cluster of that name."""
    return PostgresTrainerStore(engine, cluster_id="cluster", consumer_group=group, **groups)
