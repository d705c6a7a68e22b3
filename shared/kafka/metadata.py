"""Ask the broker about topics, log offsets and the cluster, on a connection that no consumer or producer uses.

It never asks about groups: librdkafka 2.16 aborts the process when describe_consumer_groups meets a coordinator that
restarts.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection
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

from shared.backoff import retry_until
from shared.errors import BrokerUnavailable, Stopped
from shared.kafka.connection import BrokerAdmin, Brokers
from shared.ports import Partition

TIMEOUT_SECONDS = 5.0
_WAIT_TIMEOUT_SECONDS = 2.0
_EARLIEST: OffsetSpec = OffsetSpec.earliest()  # type: ignore[no-untyped-call]
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


@dataclass(frozen=True)
class Topic:
    """Kafka's id of a topic, which changes when the topic is recreated, and its number of partitions."""

    topic_id: str
    partitions: int


class TopicQuery:
    """A pending query for topics; `result` waits until it is answered."""

    def __init__(self, topics: dict[str, Future[Any]], *, prefix: str, admin: AdminClient) -> None:
        self._topics = topics
        self._prefix = prefix
        self._admin = admin  # a client that is garbage-collected answers none of its queries

    def is_answered(self) -> bool:
        """Return whether `result` returns without waiting."""
        return all(future.done() for future in self._topics.values())

    def result(self) -> dict[str, Topic]:
        """Return those of the topics that exist; raises BrokerUnavailable."""
        topics = {}
        for name, future in self._topics.items():
            try:
                description = future.result()
            except KafkaException as error:
                if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART:
                    raise _unavailable(error) from error
            else:
                name = name.removeprefix(self._prefix)
                topics[name] = Topic(str(description.topic_id), len(description.partitions))
        return topics


class KafkaMetadata:
    """Answers for topics whose names have this prefix; callers use the names without it."""

    def __init__(self, brokers: Brokers, *, prefix: str, timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        self._brokers = brokers
        self._prefix = prefix
        self._timeout_seconds = timeout_seconds
        self._admin = BrokerAdmin(brokers)

    def fetch_topics(self, topics: Collection[str]) -> dict[str, Topic]:
        """Return those of these topics that exist; raises BrokerUnavailable."""
        return self.start_query(topics).result() if topics else {}

    def start_query(self, topics: Collection[str]) -> TopicQuery:
        """Send a query for these topics, and return at once."""
        names, admin = TopicCollection([self._prefix + topic for topic in sorted(topics)]), self._admin
        admin.poll(0)  # reported problems stay in librdkafka's memory until they are polled
        futures = admin.describe_topics(names, request_timeout=self._timeout_seconds)
        return TopicQuery(futures, prefix=self._prefix, admin=admin)

    def fetch_earliest(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset of the first message of each partition; raises BrokerUnavailable."""
        return self._list_offsets(partitions, _EARLIEST)

    def fetch_latest(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        """Return the offset after the last message of each partition; raises BrokerUnavailable."""
        return self._list_offsets(partitions, _LATEST)

    def _list_offsets(self, partitions: Collection[Partition], spec: OffsetSpec) -> dict[Partition, int]:
        if not partitions:
            return {}
        # Referenced until the answer is there: another thread may replace it, and a collected client never answers.
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
            # A client keeps the leader epochs that it knows: after a restart the broker refuses all its queries.
            self._admin = BrokerAdmin(self._brokers)
            raise _unavailable(error) from error


def wait_for_cluster_id(brokers: Brokers, *, stop: threading.Event, on_try: Callable[[], None]) -> str | None:
    """Wait until the broker answers, and return the cluster's id; None once `stop` is set. Call `on_try` every time."""

    def fetch() -> str:
        on_try()
        return fetch_cluster_id(brokers, timeout_seconds=_WAIT_TIMEOUT_SECONDS)

    try:
        return retry_until(stop, fetch, on=BrokerUnavailable, log_event="broker.unavailable", most_seconds=2.0)
    except Stopped:
        return None


def fetch_cluster_id(brokers: Brokers, *, timeout_seconds: float = TIMEOUT_SECONDS) -> str:
    """Return the id of the Kafka cluster; raises BrokerUnavailable with the cause, a refused password for instance."""
    admin = BrokerAdmin(brokers)
    try:
        cluster_id = admin.list_topics(timeout=timeout_seconds).cluster_id
    except KafkaException as error:
        raise BrokerUnavailable(admin.problem(error)) from error
    if not cluster_id:
        raise BrokerUnavailable("the broker does not return its cluster id")
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


def _unavailable(error: KafkaException) -> BrokerUnavailable:
    return BrokerUnavailable(str(error.args[0].str()))
