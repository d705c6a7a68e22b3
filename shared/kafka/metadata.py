"""Metadata of topics and offsets of logs, fetched from the broker on a separate connection.

Never of groups: librdkafka 2.16 aborts the process when a describe_consumer_groups meets a coordinator that restarts.
"""

from __future__ import annotations

from collections.abc import Collection
from concurrent.futures import Future
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from confluent_kafka import (
    TIMESTAMP_LOG_APPEND_TIME,
    IsolationLevel,
    KafkaError,
    KafkaException,
    Message,
    TopicCollection,
    TopicPartition,
)
from confluent_kafka.admin import AdminClient, OffsetSpec

from shared.errors import BrokerUnavailable
from shared.ports import Partition

TIMEOUT_SECONDS = 5.0
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Topic:
    """What makes a topic this one: Kafka's own id, another one after the topic was deleted and made anew."""

    topic_id: str
    partitions: int


class Question:
    """A question under way; `answer` waits only while `is_answered` is False."""

    def __init__(self, topics: dict[str, Future[Any]], *, prefix: str, admin: AdminClient) -> None:
        self._topics = topics
        self._prefix = prefix
        self._admin = admin  # a client that is collected answers none of its questions

    def is_answered(self) -> bool:
        """Return whether `answer` has something to return."""
        return all(future.done() for future in self._topics.values())

    def answer(self) -> dict[str, Topic]:
        """Return those of the topics that exist; raises BrokerUnavailable."""
        try:
            return _existing(self._topics, prefix=self._prefix)
        except KafkaException as error:
            raise BrokerUnavailable(_text(error)) from error


class KafkaMetadata:
    """Answers for topics whose names have this prefix; names without it go in and out."""

    def __init__(self, bootstrap_servers: str, *, prefix: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._bootstrap_servers = bootstrap_servers
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        self._admin = self._connect()

    def fetch_topics(self, topics: Collection[str]) -> dict[str, Topic]:
        """Return those of these topics that exist; raises BrokerUnavailable."""
        return self.ask(topics).answer() if topics else {}

    def ask(self, topics: Collection[str]) -> Question:
        """Ask for these topics, and return at once."""
        names = TopicCollection([self._prefix + topic for topic in sorted(topics)])
        admin = self._admin
        futures = admin.describe_topics(names, request_timeout=self._timeout_seconds)
        return Question(futures, prefix=self._prefix, admin=admin)

    def fetch_earliest(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset of the first message of each partition; raises BrokerUnavailable."""
        return self._list_offsets(partitions, _EARLIEST)

    def fetch_latest(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset after the last readable message of each partition; raises BrokerUnavailable."""
        return self._list_offsets(partitions, _LATEST)

    def _list_offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        if not partitions:
            return {}
        # Held until the answer is there: another thread may replace it, and a client that is collected never answers.
        admin = self._admin
        futures = admin.list_offsets(
            {TopicPartition(self._prefix + topic, number): spec for topic, number in partitions},
            isolation_level=IsolationLevel.READ_UNCOMMITTED,
            request_timeout=self._timeout_seconds,
        )
        try:
            return {
                (place.topic.removeprefix(self._prefix), place.partition): int(future.result().offset)
                for place, future in futures.items()
            }
        except KafkaException as error:
            # It keeps the leader epochs that it knows: after a restart of the broker each of its questions is refused.
            self._admin = self._connect()
            raise BrokerUnavailable(_text(error)) from error

    def _connect(self) -> AdminClient:
        return AdminClient({"bootstrap.servers": self._bootstrap_servers, "log_level": 0})


def fetch_cluster_id(bootstrap_servers: str, *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """Return the Kafka cluster's own id; raises BrokerUnavailable."""
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    try:
        cluster_id = admin.list_topics(timeout=timeout_seconds).cluster_id
    except KafkaException as error:
        raise BrokerUnavailable(_text(error)) from error
    if not cluster_id:
        raise BrokerUnavailable("the broker does not say its cluster id")
    return str(cluster_id)


def log_append_time(message: Message) -> datetime | None:
    """Return the broker's timestamp of a message; None for a producer's timestamp or one out of range."""
    kind, milliseconds = message.timestamp()
    if kind != TIMESTAMP_LOG_APPEND_TIME:
        return None
    try:
        return datetime.fromtimestamp(milliseconds / 1000, tz=UTC)
    except (OverflowError, ValueError, OSError):
        return None


def _text(error: KafkaException) -> str:
    """Return librdkafka's error text."""
    return str(error.args[0].str())


def _existing(futures: dict[str, Future[Any]], *, prefix: str) -> dict[str, Topic]:
    topics = {}
    for name, future in futures.items():
        try:
            description = future.result()
        except KafkaException as error:
            if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
                continue
            raise
        topics[name.removeprefix(prefix)] = Topic(str(description.topic_id), len(description.partitions))
    return topics
