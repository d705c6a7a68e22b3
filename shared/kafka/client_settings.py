"""The librdkafka settings of every consumer and producer in this system."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from shared.kafka.connection import Brokers, connection_settings

# All customer topics must map a key to the same partition number, whichever service produces.
PARTITIONER = "murmur2_random"
QUEUE_MESSAGES = 10_000
BATCH_BYTES = 65_536
# Kafka never decides where a consumer starts: offset reset and Kafka's own offset storage are off.
_LIBRDKAFKA_SETTINGS: dict[str, Any] = {
    "max.poll.interval.ms": 300_000,
    "partition.assignment.strategy": "range",
    "enable.auto.commit": False,
    "enable.auto.offset.store": False,
    "auto.offset.reset": "error",
    "enable.partition.eof": True,
    # An open transaction of some producer must not hide or delay the events behind it.
    "isolation.level": "read_uncommitted",
    # A partition that was resumed or sought joins the next fetch, which starts when this one is answered
    # (measured: up to 500 ms with the default, 20 ms with this).
    "fetch.wait.max.ms": 20,
    "fetch.queue.backoff.ms": 20,
    "fetch.error.backoff.ms": 100,
    # Bounds the memory of prefetched messages, however many and however large they are.
    "queued.min.messages": 10_000,
    "queued.max.messages.kbytes": 16_384,
    "fetch.max.bytes": 8_388_608,
    "reconnect.backoff.ms": 50,
    "reconnect.backoff.max.ms": 1_000,
    # New partitions are assigned after the next metadata refresh.
    "topic.metadata.refresh.interval.ms": 10_000,
    "log_level": 0,  # error_cb reports connection errors, each once per interval
}


@dataclass(frozen=True)
class ConsumerSettings:
    """The brokers, the consumer group, the session timeout, and the interval of topic checks."""

    brokers: Brokers
    group: str
    topic_prefix: str = ""
    session_timeout_seconds: float = 10.0
    check_topics_seconds: float = 30.0

    def librdkafka(self) -> dict[str, Any]:
        """Return the settings of the librdkafka client."""
        session_timeout_ms = int(self.session_timeout_seconds * 1000)
        # Members learn of a rebalance with a heartbeat.
        session = {"session.timeout.ms": session_timeout_ms, "heartbeat.interval.ms": min(500, session_timeout_ms // 4)}
        return {**_LIBRDKAFKA_SETTINGS, **session, "group.id": self.group, **connection_settings(self.brokers)}


def producer_settings(brokers: Brokers, *, client_id: str, delivery_timeout_seconds: float = 10.0) -> dict[str, Any]:
    """Return the settings of a producer. They hold the password: log none of them."""
    delivery_timeout_ms = int(delivery_timeout_seconds * 1000)
    return {
        **connection_settings(brokers),
        "client.id": client_id,
        "enable.idempotence": True,
        "acks": "all",
        "partitioner": PARTITIONER,
        "delivery.timeout.ms": delivery_timeout_ms,
        # A request on a frozen connection times out early enough for a second try.
        "request.timeout.ms": max(1000, delivery_timeout_ms // 2),
        # Measured: a third more events a second under load than with 0, for 1 to 2 ms more when alone.
        "linger.ms": 1,
        "queue.buffering.max.messages": QUEUE_MESSAGES,
        # A broker that comes back is found within a second.
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1000,
        # The broker refuses a whole batch that is larger than the topic's max.message.bytes (default: 1,000,000).
        "batch.size": BATCH_BYTES,
        # Until the next refresh a producer does not use partitions that were added (default: 5 min).
        "topic.metadata.refresh.interval.ms": 10_000,
        "socket.keepalive.enable": True,
        "log.connection.close": False,
    }
