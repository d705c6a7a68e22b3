"""Create the topics, and set the settings that every topic must have; both steps can be repeated."""

from __future__ import annotations

from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass

from confluent_kafka import KafkaError, KafkaException, TopicCollection
from confluent_kafka.admin import AdminClient, AlterConfigOpType, ConfigEntry, ConfigResource, NewTopic, ResourceType
from tenacity import retry, retry_if_exception, stop_after_delay, wait_fixed

from shared import events
from shared.errors import BrokerUnavailable, RecommenderError
from shared.kafka.connection import BrokerAdmin, Brokers

ADMIN_TIMEOUT_SECONDS = 30.0
QUERY_TIMEOUT_SECONDS = 10.0
MAX_MESSAGE_BYTES = 131_072  # an event has less than 64 KiB: MOST_NAMES of four bytes a character, twice

_PARTITIONED = (*events.WORKER_TOPICS, events.CUSTOMERS_ERASED)


@dataclass(frozen=True)
class TopicDurability:
    """Replicas of an event, replicas before it is acknowledged, and retention.

    The broker refuses a message, and a producer's batch, of more than `max_message_bytes`.
    """

    replication_factor: int = 1
    min_insync_replicas: int = 1
    retention_hours: int = 168
    max_message_bytes: int = MAX_MESSAGE_BYTES

    def required(self) -> dict[str, str]:
        """Return the settings that every topic must have, also a topic that this system did not create.

        Consumers compare the time of an event with the time of the log, so the broker sets the latter. Batches are
        stored uncompressed: the broker compares the compressed size with the limit, and no consumer can read a few
        kilobytes that expand to 90 MB.
        """
        return {
            "message.timestamp.type": "LogAppendTime",
            "max.message.bytes": str(self.max_message_bytes),
            "compression.type": "uncompressed",
        }


class TopicsUnusable(RecommenderError):
    """A topic cannot be created, or the customer topics differ in their number of partitions."""


def create_topics(
    brokers: Brokers, *, prefix: str = "", partitions: int = 12, durability: TopicDurability | None = None
) -> list[str]:
    """Create the missing topics and return their names; existing topics stay as they are.

    Raises TopicsUnusable when the broker does not answer, or when the customer topics would not be co-partitioned.
    """
    admin = BrokerAdmin(brokers)
    durability = durability or TopicDurability()
    kept = {"retention.ms": str(durability.retention_hours * 3_600_000)}
    customer_topics = [prefix + topic for topic in events.CUSTOMER_TOPICS]
    wanted = [
        *(_new_topic(prefix + topic, partitions, durability, kept) for topic in _PARTITIONED),
        _new_topic(prefix + events.MODELS_COMMANDS, 1, durability, kept),
        _new_topic(prefix + events.MODELS_PUBLISHED, 1, durability, {"cleanup.policy": "compact"}),
    ]
    try:
        futures = admin.create_topics(
            wanted, operation_timeout=ADMIN_TIMEOUT_SECONDS, request_timeout=2 * ADMIN_TIMEOUT_SECONDS
        )
        created = [name for name, future in futures.items() if _is_created(future)]
        counts = _fetch_partition_counts(admin, customer_topics)
    except KafkaException as error:
        raise _unusable(brokers, admin, error) from error
    if len(set(counts.values())) > 1:
        raise TopicsUnusable(f"the customer topics must have the same number of partitions: {counts}")
    return sorted(created)


def configure_topics(
    brokers: Brokers, *, prefix: str = "", durability: TopicDurability | None = None
) -> dict[str, dict[str, str]]:
    """Set the required settings where a topic has other values; raises TopicsUnusable.

    Returns the changes: by topic and setting, the value before and after.
    """
    admin = BrokerAdmin(brokers)
    required = (durability or TopicDurability()).required()
    changes: dict[str, dict[str, str]] = {}
    try:
        for name, before in _fetch_settings(admin, [prefix + topic for topic in events.EVENTS_OF_TOPIC]).items():
            wrong = {key: value for key, value in required.items() if before.get(key) != value}
            if wrong:
                _set(admin, name, wrong)
                changes[name] = {key: f"{before.get(key)} -> {value}" for key, value in wrong.items()}
    except KafkaException as error:
        raise _unusable(brokers, admin, error) from error
    return changes


def fetch_max_message_bytes(brokers: Brokers, topic: str) -> int | None:
    """Return the size of the largest message that the broker accepts for this topic; None when there is no topic.

    `topic` is the name with its prefix. Raises BrokerUnavailable.
    """
    admin = BrokerAdmin(brokers)
    resource = ConfigResource(ResourceType.TOPIC, topic)
    [future] = admin.describe_configs([resource], request_timeout=QUERY_TIMEOUT_SECONDS).values()
    try:
        return int(future.result()["max.message.bytes"].value)
    except KafkaException as error:
        if _is_unknown_topic(error):
            return None
        raise BrokerUnavailable(admin.problem(error)) from error


def _is_unknown_topic(error: BaseException) -> bool:
    return isinstance(error, KafkaException) and error.args[0].code() == KafkaError.UNKNOWN_TOPIC_OR_PART


# A broker may need a moment until it knows a topic that the controller has just created.
_until_known = retry(
    retry=retry_if_exception(_is_unknown_topic),
    stop=stop_after_delay(ADMIN_TIMEOUT_SECONDS),
    wait=wait_fixed(0.2),
    reraise=True,
)


@_until_known
def _fetch_settings(admin: AdminClient, names: Iterable[str]) -> dict[str, dict[str, str | None]]:
    resources = [ConfigResource(ResourceType.TOPIC, name) for name in names]
    futures = admin.describe_configs(resources, request_timeout=ADMIN_TIMEOUT_SECONDS)
    return {
        resource.name: {name: entry.value for name, entry in future.result().items()}
        for resource, future in futures.items()
    }


@_until_known
def _fetch_partition_counts(admin: AdminClient, names: list[str]) -> dict[str, int]:
    futures = admin.describe_topics(TopicCollection(names), request_timeout=ADMIN_TIMEOUT_SECONDS)
    return {name: len(future.result().partitions) for name, future in futures.items()}


def _set(admin: AdminClient, topic: str, settings: dict[str, str]) -> None:
    operation = AlterConfigOpType.SET
    entries = [ConfigEntry(name, value, incremental_operation=operation) for name, value in settings.items()]
    resource = ConfigResource(ResourceType.TOPIC, topic, incremental_configs=entries)
    for future in admin.incremental_alter_configs([resource], request_timeout=ADMIN_TIMEOUT_SECONDS).values():
        future.result()


def _new_topic(name: str, partitions: int, durability: TopicDurability, kept: dict[str, str]) -> NewTopic:
    settings = {"min.insync.replicas": str(durability.min_insync_replicas), **durability.required(), **kept}
    return NewTopic(name, num_partitions=partitions, replication_factor=durability.replication_factor, config=settings)


def _is_created(future: Future[None]) -> bool:
    try:
        future.result()
    except KafkaException as error:
        if error.args[0].code() == KafkaError.TOPIC_ALREADY_EXISTS:
            return False
        raise
    return True


def _unusable(brokers: Brokers, admin: BrokerAdmin, error: KafkaException) -> TopicsUnusable:
    return TopicsUnusable(f"topics at {brokers}: {admin.problem(error)}")
