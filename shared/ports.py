"""The ports that at least two services use; adapters implement them, tests/fakes.py replaces them.

One test suite (tests/integration/ports/) runs against fakes and real adapters alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from shared.errors import ContractViolation, EventIdReused, IdempotencyKeyReused
from shared.events import Event, content_digest
from shared.recommender.model import Model

Partition = tuple[str, int]  # (topic without prefix, partition)
POLL_BYTES = 8_388_608


@dataclass(frozen=True)
class Message:
    """One consumed message; `topic` is the name without prefix.

    `logged_at` is the time at which the broker appended it; None when the topic stores the producer's time instead.
    """

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes | None
    logged_at: datetime | None = None

    @property
    def size_bytes(self) -> int:
        """The bytes of key and value."""
        return len(self.key or b"") + len(self.value or b"")


@dataclass(frozen=True)
class StoredOffset:
    """Where to continue, and Kafka's id of the topic that the offset belongs to; None in rows of older versions."""

    next_offset: int
    topic_id: str | None = None

    def is_of(self, topic_id: str | None) -> bool:
        """Return whether the offset can belong to this topic; an unknown id matches every topic."""
        return None in (self.topic_id, topic_id) or self.topic_id == topic_id


@dataclass(frozen=True)
class KeptEvent:
    """The stored fields of an event that had its effect; they tell a repetition from another event with its id.

    `content_digest` is None where it is not stored: for interactions, whose fields are all stored, and for requests
    that an older version answered. Of requests it may be the first half of the digest.
    """

    fields: Mapping[str, object]
    fingerprint: str | None
    content_digest: str | None = None

    def find_conflict(self, event: Event) -> ContractViolation | None:
        """Return how an event with the same id differs, None for a repetition; an unknown fingerprint matches all."""
        if event.fingerprint and self.fingerprint and event.fingerprint != self.fingerprint:
            return IdempotencyKeyReused()
        different = [name for name, value in self.fields.items() if getattr(event, name) != value]
        if not different and self.content_digest and not content_digest(event).startswith(self.content_digest):
            different = ["content"]
        return EventIdReused(f"{event.event_id} was kept with another {', '.join(different)}") if different else None


class EventPublisher(Protocol):
    """Publishes events for the gateway."""

    async def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return after the broker has acknowledged the event; raises PublishFailed."""


class SyncEventPublisher(Protocol):
    """Publishes events for the trainer."""

    def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return after the broker has acknowledged the event; raises PublishFailed."""


class OffsetSource(Protocol):
    """The database that stores the next offsets."""

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        """Return the next offset of each partition that has one stored."""

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        """Store these ids with every next offset of these partitions from now on; touches no database.

        The consumer calls it when it starts to read a partition, so that an offset is stored with the id of its topic.
        """


class EventConsumer(Protocol):
    """A consumer of several topics whose offsets are stored elsewhere; used from one thread.

    An assigned partition continues at its stored offset, or at the start of the log. While that offset is unknown
    (the database is down) the partition is not read and not in `assignment`.
    """

    @property
    def generation(self) -> int:
        """Changes whenever partitions are assigned, revoked or rewound; messages polled before are then invalid."""

    def poll(self, *, max_messages: int, timeout_seconds: float, max_bytes: int = POLL_BYTES) -> Sequence[Message]:
        """Return available messages, at once when there are any; blocks at most 0.1 s at a time.

        Stops after the message that brings keys and values to `max_bytes`. Returns nothing from a call in which
        `assignment` or `generation` changed, so that the caller can read `position` of a new partition first. Raises
        OffsetOutOfRange once per partition, and TopicReplaced once for the partitions of a topic that was deleted and
        created again; other partitions can still be polled.
        """

    def assignment(self) -> frozenset[Partition]:
        """The partitions that this consumer owns and whose offsets are known."""

    def out_of_range(self) -> frozenset[Partition]:
        """The owned partitions that stand still because their offset is outside the log, or of another topic."""

    def replaced(self) -> frozenset[Partition]:
        """Those of `out_of_range` whose topic was deleted and created again; `seek` starts to read it."""

    def problem(self) -> str | None:
        """Why consumed topics cannot be read correctly, None when they can; checked every 30 s.

        A topic does not exist, customer topics differ in their number of partitions, or partitions were added a
        minute ago and the group has not assigned them yet.
        """

    def position(self, partition: Partition) -> int:
        """The offset of the next message that `poll` returns."""

    def fetch_high_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ask the broker for the offsets after the last acknowledged messages; raises BrokerUnavailable."""

    def fetch_low_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ask the broker for the offsets of the first messages that it holds; raises BrokerUnavailable."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Continue this partition at `offset`."""

    def rewind(self) -> None:
        """Continue every owned partition at its stored offset, as after an assignment."""

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop fetching these partitions until `resume` or a new generation; the consumer keeps polling."""

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these partitions again."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Commit to Kafka, for lag monitors only; never raises for a failed commit."""

    def close(self) -> None:
        """Leave the group."""


@dataclass(frozen=True)
class Pointer:
    """The content of the CURRENT file."""

    sequence: int
    version: str
    manifest_sha256: str


class ArtifactReader(Protocol):
    """Reads the models volume."""

    def read_pointer(self) -> Pointer | None:
        """Return the content of CURRENT, None when there is none yet; raises ArtifactInvalid."""

    def load_model(self, pointer: Pointer) -> Model:
        """Load and check one version, sizes before anything is allocated; raises ArtifactInvalid."""
