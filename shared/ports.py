"""What the services need from the outside world; adapters fulfil it, tests/fakes.py stands in for it.

One suite (tests/integration/test_ports.py) runs against fakes and real adapters alike.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Protocol
from uuid import UUID

from shared.errors import ContractViolation, EventIdReused, IdempotencyKeyReused
from shared.events import Event, InteractionRecorded, content_digest
from shared.recommender.model import Model
from shared.recommender.types import CustomerHistory, Weights


@dataclass(frozen=True)
class Message:
    """One consumed message; `topic` is the name without prefix.

    `logged_at` is the broker's time of the message; None when the topic keeps the producer's time instead.
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


Partition = tuple[str, int]  # (topic without prefix, partition)
POLL_BYTES = 8_388_608


@dataclass(frozen=True)
class StoredOffset:
    """Where to continue, and Kafka's id of the topic that the offset belongs to; None in rows of older versions."""

    next_offset: int
    topic_id: str | None = None

    def is_of(self, topic_id: str | None) -> bool:
        """Return whether the offset can belong to this topic; an id that is not known contradicts none."""
        return None in (self.topic_id, topic_id) or self.topic_id == topic_id


class EventPublisher(Protocol):
    """The gateway's way to Kafka."""

    async def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return after the broker has acknowledged the event; raises PublishFailed."""


class SyncEventPublisher(Protocol):
    """The trainer's way to Kafka."""

    def publish(self, topic: str, *, key: str, event: Event) -> None:
        """Return after the broker has acknowledged the event; raises PublishFailed."""


class OffsetSource(Protocol):
    """Where stored offsets are read on assignment (the database)."""

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, StoredOffset]:
        """Return the next offset of each partition that has one stored, and the topic that it belongs to."""

    def note_topic_ids(self, topic_ids: Mapping[Partition, str]) -> None:
        """Store these ids with every next offset of these partitions from now on.

        The consumer calls it when it begins to read a partition, so that an offset is always stored with the id of
        the topic that was read. Touches no database.
        """


class EventConsumer(Protocol):
    """A consumer of several topics whose offsets live elsewhere; used from one thread.

    A partition that was assigned continues at its stored offset, else at the start of the log. Until that offset is
    known (the database is down) the partition is not read and not in `assignment`.
    """

    @property
    def cluster_id(self) -> str:
        """The Kafka cluster's own id."""

    @property
    def generation(self) -> int:
        """Changes whenever partitions were assigned, revoked or rewound: drop what was polled before."""

    def poll(self, *, max_messages: int, timeout_seconds: float, max_bytes: int = POLL_BYTES) -> Sequence[Message]:
        """Return what is there, at once when there is any; polls at most 0.1 s at a time.

        Ends with the message that brings keys and values to `max_bytes`: it may exceed them by that one message.
        Returns nothing from a call in which `assignment` or `generation` changed, so that `position` of a new
        partition can be read first. Raises OffsetOutOfRange once per partition, TopicReplaced once for the
        partitions of a topic that was deleted and made anew; the others can still be polled.
        """

    def assignment(self) -> frozenset[Partition]:
        """The partitions that this consumer owns now and whose offsets are known."""

    def out_of_range(self) -> frozenset[Partition]:
        """The owned partitions that stand still because their offset is outside the log, or of another topic."""

    def replaced(self) -> frozenset[Partition]:
        """Those of `out_of_range` whose topic was deleted and made anew; `seek` starts to read it."""

    def problem(self) -> str | None:
        """What keeps consumed topics from being read as they should be, None when nothing does.

        A topic that does not exist, customer topics with different numbers of partitions, partitions that were added
        a minute ago and that the group has not divided among its members since. Looked at every 30 s.
        """

    def position(self, partition: Partition) -> int:
        """The offset of the next message that `poll` will return."""

    def fetch_high_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ask the broker now for the offsets after the last acknowledged messages; raises BrokerUnavailable."""

    def fetch_low_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        """Ask the broker now for the offsets of the first messages that it holds; raises BrokerUnavailable."""

    def seek(self, partition: Partition, offset: int) -> None:
        """Read this partition again from `offset`."""

    def rewind(self) -> None:
        """Read every owned partition again from its stored offset, as after an assignment."""

    def pause(self, partitions: Collection[Partition]) -> None:
        """Stop fetching these partitions until `resume` or a new generation; the consumer keeps polling."""

    def resume(self, partitions: Collection[Partition]) -> None:
        """Fetch these partitions again."""

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        """Tell Kafka, for lag monitors only; never raises for a failed commit."""

    def close(self) -> None:
        """Leave the group."""


@dataclass(frozen=True)
class StoredList:
    """The newest list of one customer, and what decides whether it is still fresh."""

    customer_id: str
    request_id: UUID
    model_version: str
    basis: str
    weights: Weights
    items: list[dict[str, Any]]
    created_at: datetime


@dataclass(frozen=True)
class KeptEvent:
    """What is kept of an event that had its effect: enough to tell a repetition from another event under its id.

    `fields` are values of the event's own fields. `content_digest` is None where it is not kept: of interactions, whose
    fields are all kept, and of requests that an older version answered.
    """

    fields: Mapping[str, str]
    fingerprint: str | None
    content_digest: str | None = None

    def find_conflict(self, event: Event) -> ContractViolation | None:
        """Return why an event under the same id is another one; None for a repetition.

        A fingerprint that one of them does not have contradicts none.
        """
        if event.fingerprint and self.fingerprint and event.fingerprint != self.fingerprint:
            return IdempotencyKeyReused()
        different = [name for name, value in self.fields.items() if getattr(event, name) != value]
        if not different and self.content_digest not in {None, content_digest(event)}:
            different = ["content"]
        return EventIdReused(f"{event.event_id} was kept with another {', '.join(different)}") if different else None


@dataclass(frozen=True)
class Decision:
    """What one request event was answered with; `items` as the API returns them."""

    request_id: UUID
    customer_id: str
    action: str
    answered_from: str  # 'scored' or 'stored'
    model_version: str
    basis: str
    weights: Weights
    risk_level: int | None
    items: list[dict[str, Any]]
    fingerprint: str | None
    partition: int
    event_offset: int
    requested_at: datetime
    decided_at: datetime
    content_digest: str | None = None  # of the request: shared.events.content_digest


@dataclass(frozen=True)
class AssetDisplay:
    """What a list shows of an asset, besides its score; `asset_sub_category` is not shown, it is for the risk level."""

    isin: str
    assetname: str
    assetcategory: str
    sector: str | None
    industry: str | None
    current_price: float | None
    profitability: float | None
    asset_sub_category: str | None = None


class WorkerTransaction(Protocol):
    """One database transaction of the worker: effects and next offsets, together or not at all."""

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        """Lock these partitions' rows and compare with the stored offsets.

        Raises StaleOffsets when a stored offset is not the start; a partition without a row counts as
        stored at its start.
        """

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        """Write the offsets that a restart continues at."""

    def savepoint(self) -> AbstractContextManager[None]:
        """Undo, when the block raises, what was done within it, and go on; raises DatabaseUnavailable as `begin`."""

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        """Keep interactions, each event_id once; return the event_ids that were new."""

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return what is kept of each of these interactions that is kept already."""

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        """Keep messages that no retry can mend, with the reason."""

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, KeptEvent]:
        """Return what is kept of each of these requests that has a decision already."""

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
        """Return customer and history for every id; an unknown id gives a Customer with nothing known.

        Interactions are the last INTERACTION_WINDOW of the log, in its order, whatever their senders' clocks say.
        Owned and dismissed assets are complete: they have no window.
        """

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, StoredList]:
        """Return stored lists that nothing newer contradicts.

        Left out: lists that do not know the customer's last kept interaction, and lists made with other reference data
        than those that are loaded now.
        """

    def insert_decisions(self, decisions: Sequence[Decision], *, reference_snapshot: str) -> frozenset[UUID]:
        """Keep one row per request and return the new request_ids; a customer's last scored one is their list.

        `reference_snapshot` is what `fetch_snapshots` said before the lists were made. A stored list that answered a
        request once more names that request from now on, so that whoever asked can see that they were answered.
        """


class WorkerStore(OffsetSource, Protocol):
    """The worker's database."""

    def begin(self) -> AbstractContextManager[WorkerTransaction]:
        """Open a transaction: commits at the end, rolls back on an exception; raises DatabaseUnavailable."""

    def fetch_asset_displays(self) -> Mapping[str, AssetDisplay]:
        """Return what lists show, by ISIN."""

    def fetch_snapshots(self) -> str:
        """Return which reference data are loaded; an equal answer means unchanged reference data."""


@dataclass(frozen=True)
class Pointer:
    """The content of the CURRENT file."""

    sequence: int
    version: str
    manifest_sha256: str


class ArtifactReader(Protocol):
    """The models volume, as the worker sees it."""

    def read_pointer(self) -> Pointer | None:
        """Return what CURRENT names, None when there is none yet; raises ArtifactInvalid."""

    def load_model(self, pointer: Pointer) -> Model:
        """Read and check one version, sizes before anything is allocated; raises ArtifactInvalid."""


class ArtifactStore(ArtifactReader, Protocol):
    """The models volume, as the trainer sees it."""

    def save_model(self, model: Model) -> str:
        """Write one version, durable, and return its manifest's SHA-256; CURRENT is left alone."""

    def manifest_sha256(self, version: str) -> str:
        """Return the digest of a stored version's manifest; raises ArtifactMissing."""

    def activate(self, version: str, *, keep: int = 3) -> Pointer:
        """Let CURRENT name this version with the next sequence, then prune all but `keep` versions."""
