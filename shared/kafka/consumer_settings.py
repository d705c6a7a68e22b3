"""Settings of a consumer: brokers, group, and the librdkafka settings that all consumers of this system share."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class ConsumerSettings:
    """Where to consume, as whom, how soon a silent member loses its partitions, how often topics are looked at."""

    bootstrap_servers: str
    group: str
    topic_prefix: str = ""
    session_timeout_seconds: float = 10.0
    look_at_topics_seconds: float = 30.0


def librdkafka_settings(*, session_timeout_seconds: float) -> dict[str, Any]:
    """Return everything but where and as whom; Kafka never decides where to read."""
    session_timeout_ms = int(session_timeout_seconds * 1000)
    return {
        "session.timeout.ms": session_timeout_ms,
        # Members learn of a rebalance with a heartbeat.
        "heartbeat.interval.ms": min(500, session_timeout_ms // 4),
        "max.poll.interval.ms": 300_000,
        "partition.assignment.strategy": "range",
        "enable.auto.commit": False,
        "enable.auto.offset.store": False,
        "auto.offset.reset": "error",
        "enable.partition.eof": True,
        # An open transaction of some producer must not hide, or hold up, the events behind it.
        "isolation.level": "read_uncommitted",
        # A partition that was resumed or sought joins the next fetch, which starts when this one is answered
        # (measured: up to 500 ms with the default, 20 ms with this).
        "fetch.wait.max.ms": 20,
        "fetch.queue.backoff.ms": 20,
        "fetch.error.backoff.ms": 100,
        # Bounded memory, however far behind and however large the messages: what is fetched ahead, one answer more.
        "queued.min.messages": 10_000,
        "queued.max.messages.kbytes": 16_384,
        "fetch.max.bytes": 8_388_608,
        "reconnect.backoff.ms": 50,
        "reconnect.backoff.max.ms": 1_000,
        # Partitions that are added are assigned after the next look at the topics.
        "topic.metadata.refresh.interval.ms": 10_000,
        "log_level": 0,  # connection errors come through error_cb, each once in a while
    }
