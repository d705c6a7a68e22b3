"""Each port in turn as a fake and as its adapter."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from typing import cast

import psycopg2
import pytest
from confluent_kafka import Producer

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.kafka.client_settings import ConsumerSettings, producer_settings
from shared.kafka.consumer import KafkaEventConsumer
from shared.kafka.topics import create_topics
from shared.ports import EventConsumer, Partition
from tests.fakes import FakeBroker, FakeConsumer
from tests.integration.ports.broker_world import BrokerWorld, Offsets, replace_topic
from tests.integration.ports.store_world import StoreWorld, fake_database, real_database
from worker.store import PostgresWorkerStore

REAL_DATABASE = pytest.param("real", marks=pytest.mark.postgres)
REAL_BROKER = pytest.param("real", marks=[pytest.mark.kafka, pytest.mark.postgres])

CONSUMED = [RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED]


@pytest.fixture(params=["fake", REAL_DATABASE])
def database(request: pytest.FixtureRequest) -> Iterator[StoreWorld]:
    if request.param == "fake":
        yield fake_database()
        return
    url = request.getfixturevalue("database_url")
    stores = [PostgresWorkerStore(url, cluster_id="cluster", consumer_group="worker") for _ in range(2)]
    connection = psycopg2.connect(url)
    connection.autocommit = True
    yield real_database(stores[0], stores[1], connection)
    connection.close()
    for store in stores:
        store.close()


@pytest.fixture(params=["fake", REAL_BROKER])
def broker(request: pytest.FixtureRequest) -> Iterator[BrokerWorld]:
    if request.param == "fake":
        fake = FakeBroker(partitions=2, clock=lambda: datetime.now(UTC))
        yield BrokerWorld(
            lambda partition, value: cast(None, fake.append(*partition, key=b"k", value=value)),
            lambda offsets: FakeConsumer(fake, offsets, owned=[one for one in fake.logs if one[0] in CONSUMED]),
            fake.replace_topic,
        )
        return
    servers, prefix = request.getfixturevalue("kafka_bootstrap_servers"), request.getfixturevalue("topic_prefix")
    create_topics(servers, prefix=prefix, partitions=2)
    producer = Producer({**producer_settings(servers, client_id="test"), "linger.ms": 0})
    consumers: list[KafkaEventConsumer] = []

    def publish(partition: Partition, value: bytes) -> None:
        producer.produce(prefix + partition[0], value, b"k", partition=partition[1])
        producer.flush()

    def start(offsets: Offsets) -> EventConsumer:
        consumer = KafkaEventConsumer(
            ConsumerSettings(servers, prefix + "group", prefix, session_timeout_seconds=6.0, check_topics_seconds=0.2),
            topics=CONSUMED,
            offsets=offsets,
        )
        consumers.append(consumer)
        return consumer

    yield BrokerWorld(publish, start, lambda topic: replace_topic(servers, prefix + topic))
    for consumer in consumers:
        consumer.close()
