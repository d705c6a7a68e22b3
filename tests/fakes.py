"""In-memory stand-ins for broker, consumer and models volume; tests/integration/ports holds them to the real ones."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from concurrent.futures import Executor, Future
from datetime import datetime
from typing import Any
from zlib import crc32

from shared.errors import (
    ArtifactInvalid,
    ArtifactMissing,
    BrokerUnavailable,
    OffsetOutOfRange,
    RecommenderError,
    TopicReplaced,
)
from shared.events import WORKER_TOPICS, encode
from shared.ports import POLL_BYTES, Message, OffsetSource, Partition, Pointer
from shared.recommender.model import Model


class FakeClock:
    """Seconds that pass only when a test says so."""

    def __init__(self) -> None:
        self.seconds = 0.0

    def __call__(self) -> float:
        return self.seconds

    def advance(self, seconds: float) -> None:
        self.seconds += seconds


class LateFuture(Future[Any]):
    """What another thread does, done when somebody waits for it."""

    def __init__(self, work: Callable[[], Any]) -> None:
        super().__init__()
        self._work: Callable[[], Any] | None = work

    def run(self) -> None:
        """Let the other thread do it now."""
        if (work := self._work) is not None:
            self._work = None
            try:
                self.set_result(work())
            except Exception as error:
                self.set_exception(error)

    def result(self, timeout: float | None = None) -> Any:
        self.run()
        return super().result(timeout)

    def exception(self, timeout: float | None = None) -> BaseException | None:
        self.run()
        return super().exception(timeout)


class LateExecutor(Executor):
    """Another thread that does nothing until somebody waits for it, or `run` lets it."""

    def __init__(self) -> None:
        self.futures: list[LateFuture] = []

    def submit(self, work: Callable[..., Any], /, *arguments: Any, **named: Any) -> LateFuture:
        self.futures.append(LateFuture(lambda: work(*arguments, **named)))
        return self.futures[-1]

    def run(self) -> None:
        """Do what was submitted."""
        for future in self.futures:
            future.run()


class FakeBroker:
    """Logs of messages by partition; `delayed` partitions are acknowledged but do not arrive at consumers yet.

    With a `clock` messages carry its time, as with LogAppendTime.
    """

    def __init__(self, *, partitions: int = 2, clock: Callable[[], datetime] | None = None) -> None:
        self.partitions = partitions
        self.clock = clock
        self.logs: dict[Partition, list[Message]] = {
            (topic, number): [] for topic in WORKER_TOPICS for number in range(partitions)
        }
        self.lows: dict[Partition, int] = dict.fromkeys(self.logs, 0)
        self.ends: dict[Partition, int] = dict.fromkeys(self.logs, 0)
        self._topics_made: dict[str, int] = {}
        self.delayed: set[Partition] = set()
        self.available = True

    def partition_of(self, key: str) -> int:
        """Place a key on the same partition number of every topic."""
        return crc32(key.encode()) % self.partitions

    def publish(self, topic: str, event: Any) -> Message:
        """Acknowledge an event under its key."""
        key = event.key()
        return self.append(topic, self.partition_of(key.decode()), key=key, value=encode(event))

    def append(self, topic: str, number: int, *, key: bytes | None, value: bytes | None) -> Message:
        """Acknowledge any bytes."""
        partition = (topic, number)
        message = Message(topic, number, self.ends[partition], key, value, self.clock() if self.clock else None)
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

    def replace_topic(self, topic: str) -> None:
        """Delete a topic and make it anew, empty."""
        self._topics_made[topic] = self._topics_made.get(topic, 0) + 1
        for partition in self.logs:
            if partition[0] == topic:
                self.logs[partition], self.lows[partition], self.ends[partition] = [], 0, 0

    def topic_ids(self) -> dict[str, str]:
        """Return the id of each topic."""
        return {topic: f"{topic}#{self._topics_made.get(topic, 0)}" for topic, _ in self.logs}


class FakeConsumer:
    """One member of a group; `assign` and `revoke` play the group's coordinator."""

    def __init__(
        self, broker: FakeBroker, offsets: OffsetSource, *, owned: Collection[Partition] | None = None
    ) -> None:
        self.broker = broker
        self.committed: dict[Partition, int] = {}
        self.closed = False
        self.paused: set[Partition] = set()
        self.polls = 0
        self.problem_found: str | None = None
        self._offsets = offsets
        self._generation = 0
        self._owned: frozenset[Partition] = frozenset()
        self._positions: dict[Partition, int] = {}
        self._out_of_range: set[Partition] = set()
        self._replaced: set[Partition] = set()
        self._alarms: list[TopicReplaced] = []
        self._topic_ids: dict[str, str] = {}
        self._next_assignment: Collection[Partition] | None = broker.logs.keys() if owned is None else owned

    def assign(self, partitions: Collection[Partition]) -> None:
        """Let the next poll bring this assignment."""
        self._next_assignment = partitions

    @property
    def generation(self) -> int:
        return self._generation

    def poll(self, *, max_messages: int, timeout_seconds: float, max_bytes: int = POLL_BYTES) -> Sequence[Message]:
        self.polls += 1
        if self._next_assignment is not None:
            self._start_over(frozenset(self._next_assignment))
            self._next_assignment = None
            return []
        if self._find_missing_offsets() or not self.broker.available:
            return []
        self._look_at_topics()
        if self._alarms:
            raise self._alarms.pop(0)
        messages: list[Message] = []
        budget = max_bytes
        for partition in sorted(self._positions):
            if partition in self.paused or partition in self.broker.delayed:
                continue
            self._check_range(partition, messages)
            for message in self.broker.logs[partition]:
                if message.offset >= self._positions[partition] and len(messages) < max_messages and budget > 0:
                    messages.append(message)
                    budget -= message.size_bytes
                    self._positions[partition] = message.offset + 1
            if len(messages) < max_messages and budget > 0:
                self._positions[partition] = self.broker.ends[partition]
        return messages

    def assignment(self) -> frozenset[Partition]:
        return frozenset(self._positions)

    def out_of_range(self) -> frozenset[Partition]:
        return frozenset(self._out_of_range)

    def replaced(self) -> frozenset[Partition]:
        return frozenset(self._replaced)

    def problem(self) -> str | None:
        return self.problem_found

    def position(self, partition: Partition) -> int:
        return self._positions[partition]

    def fetch_high_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        if not self.broker.available:
            raise BrokerUnavailable
        return {partition: self.broker.ends[partition] for partition in partitions}

    def fetch_low_watermarks(self, partitions: Collection[Partition]) -> Mapping[Partition, int]:
        if not self.broker.available:
            raise BrokerUnavailable
        return {partition: self.broker.lows[partition] for partition in partitions}

    def seek(self, partition: Partition, offset: int) -> None:
        self._positions[partition] = offset
        self._out_of_range.discard(partition)
        if partition in self._replaced:
            self._replaced.discard(partition)
            self._offsets.note_topic_ids({partition: self._topic_ids[partition[0]]})

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
        self._replaced.clear()
        self._alarms.clear()
        self._topic_ids = self.broker.topic_ids()
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
        self._stand_still({p for p, row in stored.items() if not row.is_of(self._topic_ids[p[0]])})
        here = [partition for partition in partitions if partition not in self._replaced]
        self._offsets.note_topic_ids({partition: self._topic_ids[partition[0]] for partition in here})
        return {p: stored[p].next_offset if p in stored else self.broker.lows[p] for p in here}

    def _look_at_topics(self) -> None:
        topic_ids = self.broker.topic_ids()
        replaced = {p for p in self._positions if self._topic_ids[p[0]] != topic_ids[p[0]]}
        self._topic_ids = topic_ids
        for partition in replaced:
            del self._positions[partition]
        self._stand_still(replaced)

    def _stand_still(self, partitions: Collection[Partition]) -> None:
        self._replaced |= set(partitions)
        self._out_of_range |= set(partitions)
        for name in sorted({topic for topic, _ in partitions}):
            self._alarms.append(TopicReplaced(f"{name} was made anew"))

    def _check_range(self, partition: Partition, before: list[Message]) -> None:
        position = self._positions[partition]
        if self.broker.lows[partition] <= position <= self.broker.ends[partition]:
            return
        for message in reversed(before):
            self._positions[(message.topic, message.partition)] = message.offset
        self._out_of_range.add(partition)
        del self._positions[partition]
        raise OffsetOutOfRange(f"{partition} at offset {position}")


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

    def activate(self, version: str, *, keep: int = 3, pinned: Collection[str] = ()) -> Pointer:
        sequence = self.pointer.sequence + 1 if self.pointer else 1
        self.pointer = Pointer(sequence, version, self.manifest_sha256(version))
        return self.pointer

    def publish(self, model: Model) -> Pointer:
        """Save a model and let the pointer name it."""
        self.save_model(model)
        return self.activate(model.version)
