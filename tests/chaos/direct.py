"""The campaign's own way onto the topics, for what no gateway would let through."""

from __future__ import annotations

import time
from collections.abc import Mapping
from types import TracebackType
from typing import Any, Self

from confluent_kafka import KafkaError, KafkaException, Message, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, OffsetSpec

from shared import events
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED, Event, encode
from shared.kafka.client_settings import producer_settings
from tests.chaos.campaign import Campaign
from tests.chaos.comparison import Place
from tests.chaos.ledger import Call

CUSTOMER_TOPICS = (INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED)
_SECONDS = 60.0
_LATEST: OffsetSpec = OffsetSpec.latest()  # type: ignore[no-untyped-call]


class NotDelivered(OSError):
    """The broker did not take a message of the campaign's own: the campaign cannot go on."""


class DirectProducer:
    """Publishes any bytes and returns where they stand in the log; a context manager."""

    def __init__(self, campaign: Campaign, *, topic_prefix: str = "") -> None:
        self._producer = Producer(
            {
                **producer_settings(
                    campaign.system.kafka.bootstrap_servers, client_id="chaos", delivery_timeout_seconds=30
                ),
                "log_level": 0,
            }
        )
        self._prefix = topic_prefix

    def send(self, topic: str, value: bytes | None, *, key: str, partition: int | None = None) -> Place:
        """Return when the broker has acknowledged it; raises NotDelivered."""
        reports: list[tuple[KafkaError | None, Message]] = []
        self.send_soon(topic, value, key=key, partition=partition, reports=reports)
        deadline = time.monotonic() + _SECONDS
        while not reports and time.monotonic() < deadline:
            self._producer.poll(0.1)
        if not reports or reports[0][0] is not None:
            raise NotDelivered(f"{topic}: {reports[0][0] if reports else 'no delivery report'}")
        return place_of(reports[0][1], self._prefix)

    def send_event(self, topic: str, event: Event, *, key: str, partition: int | None = None) -> Place:
        """Publish an event as a service would."""
        return self.send(topic, encode(event), key=key, partition=partition)

    def send_soon(
        self,
        topic: str,
        value: bytes | None,
        *,
        key: str | bytes | None,
        partition: int | None = None,
        reports: list[Any],
    ) -> None:
        """Queue it; its delivery report goes into `reports` during a later `send_soon` or `flush`."""
        place: dict[str, Any] = {} if partition is None else {"partition": partition}
        self._producer.produce(
            self._prefix + topic,
            value,
            key.encode() if isinstance(key, str) else key,
            on_delivery=lambda error, message: reports.append((error, message)),
            **place,
        )
        self._producer.poll(0)

    def flush(self) -> None:
        """Wait for every delivery report; raises NotDelivered."""
        if self._producer.flush(_SECONDS):
            raise NotDelivered("the broker does not acknowledge in time")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._producer.flush(5.0)


def place_of(message: Message, prefix: str = "") -> Place:
    """Return topic without prefix, partition and offset of a delivered message."""
    return str(message.topic()).removeprefix(prefix), int(message.partition() or 0), int(message.offset() or 0)


def acknowledge(campaign: Campaign, call: Call, event: Event) -> None:
    """Keep in the ledger that the broker has this event."""
    campaign.ledger.close(call, "acknowledged", str(event.event_id))


def partition_count(campaign: Campaign) -> int:
    """Return how many partitions each customer topic has."""
    return int(campaign.system.environment.more["TOPIC_PARTITIONS"])


def fetch_lag(campaign: Campaign) -> int:
    """Return how many messages the workers have not stored yet; a broker that does not answer counts as one."""
    wanted = [(topic, number) for topic in events.WORKER_TOPICS for number in range(partition_count(campaign))]
    admin = AdminClient({"bootstrap.servers": campaign.system.kafka.bootstrap_servers, "log_level": 0})
    futures = admin.list_offsets({TopicPartition(*partition): _LATEST for partition in wanted}, request_timeout=5.0)
    try:
        ends = {(each.topic, each.partition): int(future.result().offset) for each, future in futures.items()}
    except KafkaException:
        return 1
    stored = stored_offsets(campaign)
    return sum(end - stored.get(partition, 0) for partition, end in ends.items())


def stored_offsets(campaign: Campaign, group: str = "worker") -> Mapping[tuple[str, int], int]:
    """Return what consumer_offsets holds for a group."""
    rows = campaign.system.query(
        "SELECT topic, partition, next_offset FROM consumer_offsets WHERE consumer_group = %s", group
    )
    return {(topic, partition): offset for topic, partition, offset in rows}
