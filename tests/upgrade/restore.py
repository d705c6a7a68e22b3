"""Put the database and the topics that tests.upgrade.make_fixture kept onto a broker and a database server."""

from __future__ import annotations

import gzip
import json
import os
import subprocess
from pathlib import Path
from typing import Any

import psycopg2
from confluent_kafka import KafkaError, Message, Producer
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from script.local.postgres_install import installed_package
from shared.events import INTERACTIONS_RECORDED, MODELS_COMMANDS, MODELS_PUBLISHED, RECOMMENDATIONS_REQUESTED
from tests.e2e.system import System

FIXTURE = Path(__file__).parent / "fixture"
DATABASE_FILE, TOPICS_FILE, EXPECTED_FILE = "database.sql.gz", "topics.jsonl", "expected.json"
PARTITIONS = 2
PARTITIONS_OF_TOPIC = {
    RECOMMENDATIONS_REQUESTED: PARTITIONS,
    INTERACTIONS_RECORDED: PARTITIONS,
    MODELS_COMMANDS: 1,
    MODELS_PUBLISHED: 1,
}
LIST_HEADERS = ("X-Request-ID", "X-Model-Version", "X-Recommendation-Basis")


def load_expected() -> dict[str, Any]:
    """Return what the old code answered, how many rows it kept, and which messages it had not read."""
    expected: dict[str, Any] = json.loads((FIXTURE / EXPECTED_FILE).read_text(encoding="utf-8"))
    return expected


def count_rows(system: System, *, without: str) -> dict[str, int]:
    """Return the rows of the worker's tables; the decisions and the list of one customer are left out."""
    counts = {
        "user_interactions": "SELECT count(*) FROM user_interactions",
        "decisions": f"SELECT count(*) FROM decisions WHERE customer_id <> '{without}'",
        "recommendations": f"SELECT count(*) FROM recommendations WHERE customer_id <> '{without}'",
        "dead_letters": "SELECT count(*) FROM dead_letters",
    }
    return {table: system.query(statement)[0][0] for table, statement in counts.items()}


def run_postgres_program(name: str, url: str, *options: str, standard_input: bytes = b"") -> bytes:
    """Run pg_dump or psql and return its output; raises CalledProcessError."""
    program = installed_package() / "pginstall" / "bin" / name
    command = [str(program), *options, "--dbname", url]
    return subprocess.run(
        command, check=True, input=standard_input, stdout=subprocess.PIPE, env={"PATH": os.defpath}
    ).stdout


def restore_database(url: str, *, bootstrap_servers: str) -> None:
    """Fill an empty database with the tables of the old code, and let its offsets belong to this broker.

    Stored offsets and dead letters name the id of their Kafka cluster. The messages are restored to another cluster,
    so without this change its offsets would be unknown.
    """
    dump = gzip.decompress((FIXTURE / DATABASE_FILE).read_bytes())
    run_postgres_program("psql", url, "--no-psqlrc", "--quiet", "--set", "ON_ERROR_STOP=1", standard_input=dump)
    cluster_id = AdminClient({"bootstrap.servers": bootstrap_servers}).list_topics(timeout=10).cluster_id
    connection = psycopg2.connect(url)
    try:
        with connection, connection.cursor() as cursor:
            for table in ("consumer_offsets", "dead_letters"):
                cursor.execute(f"UPDATE {table} SET cluster_id = %s", (cluster_id,))
    finally:
        connection.close()


def restore_topics(bootstrap_servers: str, *, prefix: str) -> None:
    """Create the topics as the old code did and publish their messages, each at its old offset."""
    _create_topics(bootstrap_servers, prefix)
    producer = Producer({"bootstrap.servers": bootstrap_servers, "enable.idempotence": True})
    published: list[tuple[KafkaError | None, int | None, int]] = []
    messages = [json.loads(line) for line in (FIXTURE / TOPICS_FILE).read_text(encoding="utf-8").splitlines()]
    for message in messages:

        def note(error: KafkaError | None, stored: Message, wanted: int = message["offset"]) -> None:
            published.append((error, stored.offset(), wanted))

        place = {"partition": message["partition"], "timestamp": message["timestamp"]}
        producer.produce(prefix + message["topic"], message["value"], message["key"], on_delivery=note, **place)
    assert producer.flush(20) == 0
    assert len(published) == len(messages)
    assert [one for one in published if one[0] is not None or one[1] != one[2]] == []


def _create_topics(bootstrap_servers: str, prefix: str) -> None:
    # The old code kept messages for 168 hours. Those of the fixture are older, and the broker would delete them.
    topics = [
        NewTopic(
            prefix + topic,
            num_partitions=partitions,
            replication_factor=1,
            config={"cleanup.policy": "compact"} if topic == MODELS_PUBLISHED else {"retention.ms": "-1"},
        )
        for topic, partitions in PARTITIONS_OF_TOPIC.items()
    ]
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    for created in admin.create_topics(topics).values():
        created.result(timeout=20)
