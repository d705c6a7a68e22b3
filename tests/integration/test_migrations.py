"""`python -m shared.migrations` on a real database and a real broker."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic
from sqlalchemy import Engine, create_engine, text

from shared import events
from shared.errors import DatabaseUnavailable
from shared.kafka.client_settings import producer_settings
from shared.kafka.topics import TopicDurability, TopicsUnusable, configure_topics, create_topics
from shared.postgres.engine import sqlalchemy_url
from shared.postgres.migrations.upgrade import MIGRATION_LOCK, upgrade_database
from shared.postgres.tables import metadata


@pytest.mark.postgres
def test_migrations_build_exactly_the_described_tables(empty_database_url: str) -> None:
    upgrade_database(empty_database_url)

    # A partition of decisions is a table of its own.
    opts = {"include_name": lambda name, kind, _: kind != "table" or not name.startswith("decisions_")}
    with create_engine(sqlalchemy_url(empty_database_url)).connect() as connection:
        assert compare_metadata(MigrationContext.configure(connection, opts=opts), metadata) == []


@pytest.mark.postgres
def test_upgrading_again_keeps_the_rows(empty_database_url: str) -> None:
    upgrade_database(empty_database_url)
    engine = create_engine(sqlalchemy_url(empty_database_url))
    with engine.begin() as connection:
        connection.execute(text("INSERT INTO markets (exchange_id, market_id) VALUES ('X', 'M')"))

    upgrade_database(empty_database_url)

    with engine.connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM markets")).scalar_one() == 1


@pytest.mark.postgres
def test_two_upgrades_at_once_wait_for_each_other(empty_database_url: str) -> None:
    engine = create_engine(sqlalchemy_url(empty_database_url))
    with ThreadPoolExecutor(1) as pool, engine.begin() as first:
        first.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": MIGRATION_LOCK})
        second = pool.submit(upgrade_database, empty_database_url)
        wait_for_a_waiting_session(engine)
        assert not second.done()
        first.commit()
        second.result(timeout=120)


def wait_for_a_waiting_session(engine: Engine) -> None:
    """Return once a session of this database waits for an advisory lock."""
    waiting = (
        "SELECT count(*) FROM pg_locks JOIN pg_database ON pg_database.oid = pg_locks.database "
        "WHERE locktype = 'advisory' AND NOT granted AND datname = current_database()"
    )
    deadline = time.monotonic() + 60
    with engine.connect() as connection:
        while not connection.execute(text(waiting)).scalar_one():
            assert time.monotonic() < deadline, "no session waits for the lock of the migrations"
            time.sleep(0.05)


def test_a_database_that_is_not_there_is_named() -> None:
    with pytest.raises(DatabaseUnavailable, match="refused"):
        upgrade_database("postgresql://nobody@127.0.0.1:1/none")


@pytest.mark.kafka
def test_creating_topics_again_creates_none(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    first = create_topics(kafka_bootstrap_servers, prefix=topic_prefix, partitions=3)
    second = create_topics(kafka_bootstrap_servers, prefix=topic_prefix, partitions=3)

    assert first == sorted(topic_prefix + name for name in events.EVENTS_OF_TOPIC)
    assert second == []
    topics = AdminClient({"bootstrap.servers": kafka_bootstrap_servers}).list_topics(timeout=10).topics
    assert len(topics[topic_prefix + events.RECOMMENDATIONS_REQUESTED].partitions) == 3
    assert len(topics[topic_prefix + events.INTERACTIONS_RECORDED].partitions) == 3


@pytest.mark.kafka
def test_topics_say_how_long_and_how_safely_events_are_kept(kafka_bootstrap_servers: str, topic_prefix: str) -> None:
    create_topics(
        kafka_bootstrap_servers, prefix=topic_prefix, partitions=1, durability=TopicDurability(1, 1, retention_hours=72)
    )

    hours = str(72 * 3_600_000)
    requests = topic_config(kafka_bootstrap_servers, topic_prefix + events.RECOMMENDATIONS_REQUESTED)
    assert (requests["retention.ms"], requests["min.insync.replicas"], requests["cleanup.policy"]) == (
        hours,
        "1",
        "delete",
    )
    assert topic_config(kafka_bootstrap_servers, topic_prefix + events.INTERACTIONS_RECORDED)["retention.ms"] == hours
    published = topic_config(kafka_bootstrap_servers, topic_prefix + events.MODELS_PUBLISHED)
    assert published["cleanup.policy"] == "compact"
    # More copies than there are brokers cannot be asked of this one; the setting itself arrives.
    strict = topic_prefix + "strict."
    create_topics(kafka_bootstrap_servers, prefix=strict, partitions=1, durability=TopicDurability(1, 2))
    assert topic_config(kafka_bootstrap_servers, strict + events.MODELS_COMMANDS)["min.insync.replicas"] == "2"


@pytest.mark.kafka
def test_every_topic_keeps_the_brokers_time_and_refuses_large_messages(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    create_topics(
        kafka_bootstrap_servers, prefix=topic_prefix, partitions=1, durability=TopicDurability(max_message_bytes=50_000)
    )

    for topic in events.EVENTS_OF_TOPIC:
        settings = topic_config(kafka_bootstrap_servers, topic_prefix + topic)
        assert settings["message.timestamp.type"] == "LogAppendTime"
        assert settings["max.message.bytes"] == "50000"
    producer = Producer(producer_settings(kafka_bootstrap_servers, client_id="test"))
    assert reports(producer, topic_prefix + events.MODELS_COMMANDS, [b"x" * 49_000]) == [None]
    assert reports(producer, topic_prefix + events.MODELS_COMMANDS, [b"x" * 51_000]) == [KafkaError.MSG_SIZE_TOO_LARGE]


@pytest.mark.kafka
def test_a_message_that_is_small_only_while_it_is_compressed_is_refused(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix, partitions=1)
    own = {"bootstrap.servers": kafka_bootstrap_servers, "compression.type": "gzip", "message.max.bytes": 100_000_000}
    producer, topic = Producer(own), topic_prefix + events.INTERACTIONS_RECORDED

    assert reports(producer, topic, [b"x" * 10_000_000]) == [KafkaError.MSG_SIZE_TOO_LARGE]
    assert reports(producer, topic, [b"x" * 10_000]) == [None]


@pytest.mark.kafka
def test_a_burst_of_events_is_never_refused_for_the_size_of_its_batches(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    create_topics(kafka_bootstrap_servers, prefix=topic_prefix, partitions=1)
    config = producer_settings(kafka_bootstrap_servers, client_id="test")

    # All of them wait for one batch to be filled.
    burst = reports(
        Producer({**config, "linger.ms": 500}), topic_prefix + events.INTERACTIONS_RECORDED, [b"x" * 300] * 5_000
    )

    assert set(burst) == {None}


def reports(producer: Producer, topic: str, values: list[bytes]) -> list[int | None]:
    """Publish at once and return what the broker said of each: an error's code, or None."""
    codes: list[int | None] = []
    for value in values:
        producer.produce(topic, value, on_delivery=lambda error, _: codes.append(error.code() if error else None))
    assert producer.flush(30) == 0
    return codes


@pytest.mark.kafka
def test_topics_of_an_older_version_get_what_is_needed_and_keep_everything_else(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap_servers})
    old = [
        NewTopic(topic_prefix + topic, num_partitions=1, replication_factor=1, config={"retention.ms": "3600000"})
        for topic in events.EVENTS_OF_TOPIC
    ]
    for future in admin.create_topics(old).values():
        future.result(timeout=60)

    changed = configure_topics(kafka_bootstrap_servers, prefix=topic_prefix)

    assert changed.keys() == {topic.topic for topic in old}
    for topic, changes in changed.items():
        assert changes == {
            "message.timestamp.type": "CreateTime -> LogAppendTime",
            "max.message.bytes": "1048588 -> 131072",
            "compression.type": "producer -> uncompressed",
        }
        wait_for_setting(kafka_bootstrap_servers, topic, "max.message.bytes", "131072")
        settings = topic_config(kafka_bootstrap_servers, topic)
        assert (settings["message.timestamp.type"], settings["retention.ms"]) == ("LogAppendTime", "3600000")
    assert configure_topics(kafka_bootstrap_servers, prefix=topic_prefix) == {}


def wait_for_setting(bootstrap_servers: str, topic: str, name: str, value: str) -> None:
    """Return once the broker says so: it learns from the controller."""
    deadline = time.monotonic() + 60
    while topic_config(bootstrap_servers, topic)[name] != value:
        assert time.monotonic() < deadline, f"{topic}: {name} is not {value}"
        time.sleep(0.1)


def topic_config(bootstrap_servers: str, topic: str) -> dict[str, str]:
    """Ask for a topic's settings; the broker may not know yet what the controller has just made."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    deadline = time.monotonic() + 60
    while True:
        [answer] = admin.describe_configs([ConfigResource(ConfigResource.Type.TOPIC, topic)]).values()
        try:
            return {name: entry.value for name, entry in answer.result(timeout=60).items()}
        except KafkaException:
            assert time.monotonic() < deadline, f"the broker does not know {topic}"
            time.sleep(0.2)


@pytest.mark.kafka
def test_customer_topics_with_other_partition_counts_are_refused(
    kafka_bootstrap_servers: str, topic_prefix: str
) -> None:
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap_servers})
    topic = NewTopic(topic_prefix + events.INTERACTIONS_RECORDED, num_partitions=2, replication_factor=1)
    admin.create_topics([topic])[topic.topic].result(timeout=60)

    with pytest.raises(TopicsUnusable, match="same number of partitions"):
        create_topics(kafka_bootstrap_servers, prefix=topic_prefix, partitions=3)


@pytest.mark.kafka
@pytest.mark.postgres
def test_the_command_does_both_and_is_repeatable(
    kafka_bootstrap_servers: str, topic_prefix: str, empty_database_url: str
) -> None:
    environment = os.environ | {
        "KAFKA_BOOTSTRAP_SERVERS": kafka_bootstrap_servers,
        "TOPIC_PREFIX": topic_prefix,
        "DATABASE_URL": empty_database_url,
    }
    admin = AdminClient({"bootstrap.servers": kafka_bootstrap_servers})
    old = NewTopic(topic_prefix + events.MODELS_COMMANDS, num_partitions=1, replication_factor=1)
    admin.create_topics([old])[old.topic].result(timeout=60)
    for changes in (1, 0):
        command = [sys.executable, "-m", "shared.migrations"]
        result = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=180, check=False)
        assert result.returncode == 0, result.stderr
        assert "migration.done" in result.stderr
        assert result.stderr.count("migration.topic_changed") == changes
    with create_engine(sqlalchemy_url(empty_database_url)).connect() as connection:
        assert connection.execute(text("SELECT count(*) FROM decisions")).scalar_one() == 0
