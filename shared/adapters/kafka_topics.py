"""Create the topics with their partition counts: an explicit, repeatable step, never auto-creation."""

from __future__ import annotations

from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial

from confluent_kafka import KafkaError, KafkaException
from confluent_kafka.admin import AdminClient
from confluent_kafka.cimpl import NewTopic

from shared import events
from shared.errors import RecommenderError

ADMIN_TIMEOUT_SECONDS = 30.0


@dataclass(frozen=True)
class TopicDurability:
    """How many copies of an event there are, how many an acknowledgement waits for, how long they are kept."""

    replication_factor: int = 1
    min_insync_replicas: int = 1
    retention_hours: int = 168


class TopicsUnusable(RecommenderError):
    """A topic cannot be created, or exists with another number of partitions than the other customer topic."""


def create_topics(
    bootstrap_servers: str, *, prefix: str = "", partitions: int = 12, durability: TopicDurability | None = None
) -> list[str]:
    """Create the topics that are missing and return their names; existing ones are left alone.

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


def _topic(name: str, partitions: int, *, durability: TopicDurability, compacted: bool = False) -> NewTopic:
    kept = {"cleanup.policy": "compact"} if compacted else {"retention.ms": str(durability.retention_hours * 3_600_000)}
    return NewTopic(
        name,
        num_partitions=partitions,
        replication_factor=durability.replication_factor,
        config={"min.insync.replicas": str(durability.min_insync_replicas), **kept},
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
    topics = admin.list_topics(timeout=ADMIN_TIMEOUT_SECONDS).topics
    counts = {name: len(topics[name].partitions) for name in names if name in topics}
    if len(set(counts.values())) > 1:
        raise TopicsUnusable(f"the customer topics must have the same number of partitions: {counts}")
