"""Create the topics, and set what every version needs of existing ones: an explicit, repeatable step."""

from __future__ import annotations

import time
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import (
    AdminClient,
    AlterConfigOpType,
    ConfigEntry,
    ConfigResource,
    NewTopic,
    ResourceType,
)

from shared import events
from shared.errors import BrokerUnavailable, RecommenderError

ADMIN_TIMEOUT_SECONDS = 30.0
ASK_TIMEOUT_SECONDS = 10.0
_ASK_AGAIN_SECONDS = 0.2
MAX_MESSAGE_BYTES = 131_072  # an event has less than 4 KiB; the gateway takes bodies of 64 KiB


@dataclass(frozen=True)
class TopicDurability:
    """How many copies of an event there are, how many an acknowledgement waits for, how long they are kept.

    `max_message_bytes` is the size from which the broker refuses a message, and a producer's whole batch.
    """

    replication_factor: int = 1
    min_insync_replicas: int = 1
    retention_hours: int = 168
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def required(self) -> dict[str, str]:
        """Return the settings that every topic must have, also one that this system did not create.

        Consumers compare an event's own time with the log's, so that must be the broker's. The broker stores batches
        uncompressed: of a compressed one it would compare the compressed size with the limit, and a few kilobytes that
        expand to 90 MB cannot be read by any consumer.
        """
        return {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
            "compression.type": "uncompressed",
        }


class TopicsUnusable(RecommenderError):
    """A topic cannot be created, or exists with another number of partitions than the other customer topic."""


def create_topics(
    bootstrap_servers: str, *, prefix: str = "", partitions: int = 12, durability: TopicDurability | None = None
) -> list[str]:
    """Create the topics that are missing and return their names; existing ones are left as they are.

    Raises TopicsUnusable when the broker cannot be reached, or when the two customer topics would not be
    co-partitioned.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    make = partial(_topic, durability=durability or TopicDurability())
    wanted = [
        make(prefix + events.RECOMMENDATIONS_REQUESTED, partitions),
        make(prefix + events.INTERACTIONS_RECORDED, partitions),
        make(prefix + events.MODELS_COMMANDS, 1),
        make(prefix + events.MODELS_PUBLISHED, 1, compacted=True),
    ]
    try:
        futures = admin.create_topics(wanted, operation_timeout=ADMIN_TIMEOUT_SECONDS)
        created = [name for name, future in futures.items() if _is_new(future)]
        _check_copartitioning(admin, prefix)
    except KafkaException as error:
        raise TopicsUnusable(f"topics at {bootstrap_servers}: {error.args[0].str()}") from error
    return sorted(created)


def configure_topics(
    bootstrap_servers: str, *, prefix: str = "", durability: TopicDurability | None = None
) -> dict[str, dict[str, str]]:
    """Set what every topic must have where it differs, and nothing else; return what was changed.

    The answer is, by topic and setting, the value before and after. Raises TopicsUnusable.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers})
    required = (durability or TopicDurability()).required()
    changes: dict[str, dict[str, str]] = {}
    try:
        for name, before in _settings_of(admin, [prefix + topic for topic in events.EVENTS_OF_TOPIC]).items():
            wrong = {key: value for key, value in required.items() if before.get(key) != value}
            if wrong:
                _set(admin, name, wrong)
                changes[name] = {key: f"{before.get(key)} -> {value}" for key, value in wrong.items()}
    except KafkaException as error:
        raise TopicsUnusable(f"topics at {bootstrap_servers}: {error.args[0].str()}") from error
    return changes


def fetch_max_message_bytes(bootstrap_servers: str, topic: str) -> int | None:
    """Return the size from which the broker refuses a message of this topic; None when it has no such topic.

    `topic` is the name with its prefix. Raises BrokerUnavailable.
    """
    admin = AdminClient({"bootstrap.servers": bootstrap_servers, "log_level": 0})
    [future] = admin.describe_configs(
        [ConfigResource(ResourceType.TOPIC, topic)], request_timeout=ASK_TIMEOUT_SECONDS
    ).values()
    try:
        return int(future.result()["max.message.bytes"].value)
    except KafkaException as error:
        if error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART:
            return None
        raise BrokerUnavailable(str(error.args[0].str())) from error


def _settings_of(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str | None]]:
    """Ask for all settings of topics; a broker may need a moment to know a topic that was just made."""
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    deadline = time.monotonic() + ADMIN_TIMEOUT_SECONDS
    while True:
        futures = admin.describe_configs(resources, request_timeout=ADMIN_TIMEOUT_SECONDS)
        try:
            return {
                resource.name: {name: entry.value for name, entry in future.result().items()}
                for resource, future in futures.items()
            }
        except KafkaException as error:
            if error.args[0].code() != KafkaError.UNKNOWN_TOPIC_OR_PART or time.monotonic() > deadline:
                raise
            time.sleep(_ASK_AGAIN_SECONDS)


def _set(admin: AdminClient, topic: str, settings: dict[str, str]) -> None:
    entries = [
        ConfigEntry(name, value, incremental_operation=AlterConfigOpType.SET) for name, value in settings.items()
    ]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource], request_timeout=ADMIN_TIMEOUT_SECONDS).values():
        future.result()


def _topic(name: str, partitions: int, *, durability: TopicDurability, compacted: bool = False) -> NewTopic:
    kept = {"cleanup.policy": "compact"} if compacted else {"retention.ms": str(durability.retention_hours * 3_600_000)}
    return NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=durability.replication_factor,
        config={"min.insync.replicas": str(durability.min_insync_replicas), **durability.required(), **kept},
    )


def _is_new(future: Future[None]) -> bool:
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True


def _check_copartitioning(admin: AdminClient, prefix: str) -> None:
    names = [prefix + events.RECOMMENDATIONS_REQUESTED, prefix + events.INTERACTIONS_RECORDED]
    deadline = time.monotonic() + ADMIN_TIMEOUT_SECONDS
    counts: dict[str, int] = {}
    # A broker may need a moment to know a topic that the controller has just made.
    while len(counts) < len(names) and time.monotonic() < deadline:
        topics = admin.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
        counts = {name: len(topics[name].partitions) for name in names if name in topics and topics[name].partitions}
        if len(counts) < len(names):
            time.sleep(_ASK_AGAIN_SECONDS)
    if len(set(counts.values())) > 1:
        raise TopicsUnusable(f"the customer topics must have the same number of partitions: {counts}")
