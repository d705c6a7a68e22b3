"""In-memory stand-ins for broker, consumer, database and models volume; test_ports.py holds them to the real ones."""

from __future__ import annotations

import copy
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from uuid import UUID
from zlib import crc32

from shared.domain.model import Model
from shared.domain.types import Customer, CustomerHistory, Interaction
from shared.errors import (
    ArtifactInvalid,
    ArtifactMissing,
    BrokerUnavailable,
    DatabaseUnavailable,
    OffsetOutOfRange,
    RecommenderError,
    StaleOffsets,
)
from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED, InteractionRecorded, encode
from shared.ports import AssetDisplay, Decision, Message, OffsetSource, Partition, Pointer, StoredList


class FakeClock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class FakeBroker:
    """Logs of messages by partition; `delayed` partitions are acknowledged but do not arrive at consumers yet."""

    def __init__(self, *, partitions: int = 2) -> None:
        self.partitions = partitions
        self.logs: dict[Partition, list[Message]] = {
            (topic, number): []
            for topic in (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)
            for number in range(partitions)
        }
        self.lows: dict[Partition, int] = dict.fromkeys(self.logs, 0)
        self.ends: dict[Partition, int] = dict.fromkeys(self.logs, 0)
        self.delayed: set[Partition] = set()
        self.available = True

    def partition_of(self, key: str) -> int:
        """Place a key on the same partition number of every topic."""
        return crc32(key.encode()) % self.partitions

    def publish(self, topic: str, event: Any) -> Message:
        """Acknowledge an event under its customer."""
        return self.append(
            topic, self.partition_of(event.customer_id), key=event.customer_id.encode(), value=encode(event)
        )

    def append(self, topic: str, number: int, *, key: bytes | None, value: bytes | None) -> Message:
        """Acknowledge any bytes."""
        partition = (topic, number)
        message = Message(topic, number, self.ends[partition], key, value)
        self.logs[partition].append(message)
        self.ends[partition] += 1
        return message

    def skip(self, partition: Partition, count: int = 1) -> None:
        """Leave a gap in the offsets, as a transaction's marker does."""
        self.ends[partition] += count

    def delete_before(self, partition: Partition, offset: int) -> None:
        """Lose old messages, as retention does."""
        self.lows[partition] = offset
        self.logs[partition] = [message for message in self.logs[partition] if message.offset >= offset]


class FakeConsumer:
    """One member of a group; `assign` and `revoke` play the group's coordinator."""

    cluster_id = "fake-cluster"

    def __init__(
        self, broker: FakeBroker, offsets: OffsetSource, *, owned: Collection[Partition] | None = None
    ) -> None:
        self.broker = broker
        self.committed: dict[Partition, int] = {}
        self.closed = False
        self.paused: set[Partition] = set()
        self.polls = 0
        self._offsets = offsets
        self._generation = 0
        self._owned: frozenset[Partition] = frozenset()
        self._positions: dict[Partition, int] = {}
        self._out_of_range: set[Partition] = set()
        self._next_assignment: Collection[Partition] | None = broker.logs.keys() if owned is None else owned

    def assign(self, partitions: Collection[Partition]) -> None:
        """Let the next poll bring this assignment."""
        self._next_assignment = partitions

    @property
    def generation(self) -> int:
        return self._generation

    def poll(self, *, max_messages: int, timeout_seconds: float) -> Sequence[Message]:
        self.polls += 1
        if self._next_assignment is not None:
            self._start_over(frozenset(self._next_assignment))
            self._next_assignment = None
            return []
        if self._find_missing_offsets() or not self.broker.available:
            return []
        messages: list[Message] = []
        for partition in sorted(self._positions):
            if partition in self.paused or partition in self.broker.delayed:
                continue
            self._check_range(partition, messages)
            for message in self.broker.logs[partition]:
                if message.offset >= self._positions[partition] and len(messages) < max_messages:
                    messages.append(message)
                    self._positions[partition] = message.offset + 1
            if len(messages) < max_messages:
                self._positions[partition] = self.broker.ends[partition]
        return messages

    def assignment(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    def out_of_range(self) -> frozenset[Partition]:
        return frozenset(self._out_of_range)

    def position(self, partition: Partition) -> int:
        return self._positions[partition]

    def fetch_high_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        if not self.broker.available:
            raise BrokerUnavailable
        return {partition: self.broker.ends[partition] for partition in partitions}

    def seek(self, partition: Partition, offset: int) -> None:
        self._positions[partition] = offset

    def rewind(self) -> None:
        self._start_over(self._owned)

    def pause(self, partitions: Collection[Partition]) -> None:
        self.paused |= set(partitions) & self._positions.keys()

    def resume(self, partitions: Collection[Partition]) -> None:
        self.paused -= set(partitions)

    def commit(self, offsets: Mapping[Partition, int]) -> None:
        self.committed.update(offsets)

    def close(self) -> None:
        self.closed = True

    def _start_over(self, owned: frozenset[Partition]) -> None:
        self._generation += 1
        self._owned = owned
        self._out_of_range.clear()
        self.paused.clear()
        self._positions = self._stored_positions(owned)

    def _find_missing_offsets(self) -> bool:
        missing = self._owned - self._positions.keys() - self._out_of_range
        found = self._stored_positions(missing) if missing else {}
        self._positions.update(found)
        return bool(found)

    def _stored_positions(self, partitions: Collection[Partition]) -> dict[Partition, int]:
        try:
            stored = self._offsets.fetch_offsets(sorted(partitions))
        except RecommenderError:
            return {}
        return {partition: stored.get(partition, self.broker.lows[partition]) for partition in partitions}

    def _check_range(self, partition: Partition, before: list[Message]) -> None:
        position = self._positions[partition]
        if self.broker.lows[partition] <= position <= self.broker.ends[partition]:
            return
        for message in reversed(before):
            self._positions[(message.topic, message.partition)] = message.offset
        self._out_of_range.add(partition)
        del self._positions[partition]
        raise OffsetOutOfRange(f"{partition} at offset {position}")


@dataclass
class FakeTables:
    """What the fake database holds."""

    offsets: dict[Partition, int] = field(default_factory=dict)
    interactions: dict[UUID, tuple[Message, InteractionRecorded, datetime]] = field(default_factory=dict)
    decisions: dict[UUID, Decision] = field(default_factory=dict)
    lists: dict[str, StoredList] = field(default_factory=dict)
    dead_letters: dict[tuple[Partition, int], tuple[Message, str]] = field(default_factory=dict)
    customers: dict[str, Customer] = field(default_factory=dict)
    owned: dict[str, set[str]] = field(default_factory=dict)
    displays: dict[str, AssetDisplay] = field(default_factory=dict)
    snapshots: dict[str, datetime] = field(default_factory=dict)


class FakeStore:
    """A database of one consumer group: all or nothing, and down when a test says so."""

    def __init__(self, tables: FakeTables | None = None) -> None:
        self.tables = tables or FakeTables()
        self.available = True
        self.lose_next_commit_answer = False
        self.transactions = 0
        self.display_reads = 0
        self._now = datetime(2026, 1, 1, tzinfo=UTC)

    @contextmanager
    def begin(self) -> Iterator[FakeTransaction]:
        self._check()
        self.transactions += 1
        working = copy.copy(self.tables)
        for name in vars(working):
            setattr(working, name, copy.copy(getattr(working, name)))
        yield FakeTransaction(working, self.tick())
        self._check()
        self.tables.__dict__.update(vars(working))
        if self.lose_next_commit_answer:
            self.lose_next_commit_answer = False
            raise DatabaseUnavailable("the connection broke during COMMIT")

    def fetch_offsets(self, partitions: Sequence[Partition]) -> Mapping[Partition, int]:
        self._check()
        return {
            partition: self.tables.offsets[partition] for partition in partitions if partition in self.tables.offsets
        }

    def fetch_asset_displays(self) -> Mapping[str, AssetDisplay]:
        self._check()
        self.display_reads += 1
        return dict(self.tables.displays)

    def fetch_snapshots(self) -> Mapping[str, datetime]:
        self._check()
        return dict(self.tables.snapshots)

    def tick(self) -> datetime:
        """Return the database's time, later with each call."""
        self._now += timedelta(milliseconds=1)
        return self._now

    def _check(self) -> None:
        if not self.available:
            raise DatabaseUnavailable


class FakeTransaction:
    """One transaction on a copy of the tables."""

    def __init__(self, tables: FakeTables, now: datetime) -> None:
        self._tables = tables
        self._now = now

    def lock_offsets(self, starts: Mapping[Partition, int]) -> None:
        for partition, start in starts.items():
            if self._tables.offsets.setdefault(partition, start) != start:
                raise StaleOffsets(f"{partition}: stored {self._tables.offsets[partition]}, expected {start}")

    def store_offsets(self, next_offsets: Mapping[Partition, int]) -> None:
        self._tables.offsets.update(next_offsets)

    def insert_interactions(self, interactions: Sequence[tuple[Message, InteractionRecorded]]) -> frozenset[UUID]:
        new = {event.event_id: (message, event) for message, event in reversed(interactions)}
        new = {event_id: pair for event_id, pair in new.items() if event_id not in self._tables.interactions}
        self._tables.interactions.update({event_id: (*pair, self._now) for event_id, pair in new.items()})
        return frozenset(new)

    def fetch_kept(self, event_ids: Sequence[UUID]) -> Mapping[UUID, str | None]:
        kept = self._tables.interactions
        return {event_id: kept[event_id][1].fingerprint for event_id in event_ids if event_id in kept}

    def insert_dead_letters(self, letters: Sequence[tuple[Message, str]]) -> None:
        for message, reason in letters:
            place = ((message.topic, message.partition), message.offset)
            self._tables.dead_letters.setdefault(place, (message, reason))

    def fetch_decided(self, request_ids: Sequence[UUID]) -> Mapping[UUID, str | None]:
        decided = self._tables.decisions
        return {request_id: decided[request_id].fingerprint for request_id in request_ids if request_id in decided}

    def fetch_histories(self, customer_ids: Sequence[str]) -> Mapping[str, CustomerHistory]:
        return {customer_id: self._history(customer_id) for customer_id in sorted(set(customer_ids))}

    def fetch_fresh_lists(self, customer_ids: Sequence[str]) -> Mapping[str, StoredList]:
        return {
            customer_id: stored
            for customer_id in set(customer_ids)
            if (stored := self._tables.lists.get(customer_id)) is not None
            and all(recorded <= stored.created_at for _, event, recorded in self._of(customer_id))
            and all(loaded < stored.created_at for loaded in self._tables.snapshots.values())
        }

    def insert_decisions(self, decisions: Sequence[Decision]) -> None:
        for decision in decisions:
            if decision.request_id in self._tables.decisions:
                continue
            self._tables.decisions[decision.request_id] = decision
            if decision.answered_from == "scored":
                self._tables.lists[decision.customer_id] = StoredList(
                    customer_id=decision.customer_id,
                    request_id=decision.request_id,
                    model_version=decision.model_version,
                    basis=decision.basis,
                    weights=decision.weights,
                    items=decision.items,
                    created_at=self._now,
                )
            else:
                answered = self._tables.lists[decision.customer_id]
                self._tables.lists[decision.customer_id] = replace(answered, request_id=decision.request_id)

    def _history(self, customer_id: str) -> CustomerHistory:
        interactions = sorted(self._of(customer_id), key=lambda row: (row[1].occurred_at, row[0].offset))
        return CustomerHistory(
            self._tables.customers.get(customer_id, Customer(customer_id)),
            tuple(sorted(self._tables.owned.get(customer_id, ()))),
            tuple(Interaction(event.isin, event.type, event.occurred_at) for _, event, _ in interactions),
        )

    def _of(self, customer_id: str) -> list[tuple[Message, InteractionRecorded, datetime]]:
        return [row for row in self._tables.interactions.values() if row[1].customer_id == customer_id]


class FakeArtifacts:
    """A models volume: versions and a pointer; `damaged` versions do not load."""

    def __init__(self) -> None:
        self.pointer: Pointer | None = None
        self.models: dict[str, Model] = {}
        self.damaged: set[str] = set()
        self.loads = 0

    def read_pointer(self) -> Pointer | None:
        return self.pointer

    def load_model(self, pointer: Pointer) -> Model:
        self.loads += 1
        if pointer.version in self.damaged:
            raise ArtifactInvalid("damaged")
        if pointer.version not in self.models:
            raise ArtifactMissing
        if pointer.manifest_sha256 != self.manifest_sha256(pointer.version):
            raise ArtifactInvalid("another digest")
        return self.models[pointer.version]

    def save_model(self, model: Model) -> str:
        if model.version in self.models:
            raise ArtifactInvalid("written once")
        self.models[model.version] = model
        return self.manifest_sha256(model.version)

    def manifest_sha256(self, version: str) -> str:
        if version not in self.models:
            raise ArtifactMissing
        return f"{crc32(version.encode()):064x}"

    def activate(self, version: str, *, keep: int = 3) -> Pointer:
        sequence = self.pointer.sequence + 1 if self.pointer else 1
        self.pointer = Pointer(sequence, version, self.manifest_sha256(version))
        return self.pointer

    def publish(self, model: Model) -> Pointer:
        """Save a model and let the pointer name it."""
        self.save_model(model)
        return self.activate(model.version)


def display_of(isin: str, **fields: Any) -> AssetDisplay:
    """Build what a list shows of an asset."""
    known = AssetDisplay(isin, f"Name of {isin}", "Stock", "Technology", "Software", 3.76, 0.160494)
    return replace(known, **fields)
