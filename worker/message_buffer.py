"""Polled messages that are not stored yet: a queue and the stored offset of each partition, and requests that wait."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain, islice

from shared.errors import BrokerUnavailable
from shared.events import AWAITED_TOPICS, RECOMMENDATIONS_REQUESTED, WORKER_TOPICS
from shared.ports import EventConsumer, Message, Partition

BATCH_BYTES = 16 << 20  # keys and values of one batch; one message may be larger
WAIT_SECONDS = 5.0  # for writes that requests wait for, without any progress
_WRITE_TOPICS = tuple(topic for topic in WORKER_TOPICS if topic != RECOMMENDATIONS_REQUESTED)


@dataclass(frozen=True)
class Batch:
    """The messages of one transaction, each partition's in the order of the log.

    writes: everything but requests: interactions, orders and reference events, which are handled before the requests.
    """

    writes: tuple[Message, ...] = ()
    requests: tuple[Message, ...] = ()

    def __len__(self) -> int:
        return len(self.writes) + len(self.requests)

    @property
    def messages(self) -> tuple[Message, ...]:
        """All messages, in the order in which they are handled."""
        return self.writes + self.requests

    def writes_of(self, topic: str) -> tuple[Message, ...]:
        """Return the writes of one topic."""
        return tuple(message for message in self.writes if message.topic == topic)

    def split(self, count: int) -> tuple[Batch, Batch]:
        """Return the first `count` messages, and the others."""
        after = max(0, count - len(self.writes))
        return (
            Batch(self.writes[:count], self.requests[:after]),
            Batch(self.writes[count:], self.requests[after:]),
        )


class MessageBuffer:
    """Polls the consumer and keeps messages in order until their batch is stored.

    Memory is bounded by messages and by bytes. Pausing discards what librdkafka has fetched ahead, so the buffer polls
    only what a batch needs, and pauses a topic only when two batches of it wait. Requests of a partition are not polled
    while what they wait for (AWAITED_TOPICS) cannot be read.
    """

    def __init__(self, consumer: EventConsumer, *, batch_size: int, batch_bytes: int = BATCH_BYTES) -> None:
        self._consumer = consumer
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._generation = consumer.generation
        self._queues: dict[Partition, deque[Message]] = {}
        self._stored: dict[Partition, int] = {}  # next offsets in the database
        self._paused: frozenset[Partition] = frozenset()
        self._blocked: frozenset[Partition] = frozenset()  # their writes cannot be read
        self._full: set[str] = set()
        self._taken: tuple[Message, ...] = ()

    @property
    def paused(self) -> frozenset[Partition]:
        """The partitions that are not fetched."""
        return self._paused

    def poll(self, *, timeout_seconds: float, held: Collection[str], wanted: int) -> bool:
        """Add up to `wanted` messages; return whether the assignment changed, which discards all older messages.

        Partitions of the `held` topics are paused.
        """
        changed = self._start_over()  # after a rewind, positions are the stored offsets only until the next poll
        self._pause(held)
        messages = self._consumer.poll(max_messages=max(1, wanted), timeout_seconds=timeout_seconds)
        changed = self._start_over() or changed
        for message in messages:
            self._queues.setdefault((message.topic, message.partition), deque()).append(message)
        return changed

    def waiting(self, topic: str) -> int:
        """Return how many messages of a topic wait."""
        return sum(len(queue) for (name, _), queue in self._queues.items() if name == topic)

    def unfinished(self, *, held: Collection[str]) -> dict[Partition, int]:
        """Return the offset of the first message of each partition that is not stored, in the buffer or in the log.

        Without `held` topics, blocked requests and partitions that are out of range. Safe to call from any thread; a
        partition that is being revoked may be missing.
        """
        out_of_range, queues = self._consumer.out_of_range(), dict(self._queues)
        taken = {_partition(message): message.offset for message in reversed(self._taken)}
        firsts: dict[Partition, int] = {}
        for partition in dict(self._stored):
            if partition[0] in held or partition in self._blocked or partition in out_of_range:
                continue
            with suppress(KeyError, IndexError):
                queue = queues.get(partition)
                first = queue[0].offset if queue else self._consumer.position(partition)
                firsts[partition] = taken.get(partition, first)
        return firsts

    def next_batch(self, limit: int, *, waiting: ReadYourWrites | None) -> Batch | None:
        """Return the writes before `waiting` with its requests, or some of them; None while some are not polled."""
        targets = waiting.targets if waiting else {}
        writes = self.writes(limit, targets=targets)
        if waiting is None:
            return Batch(writes) if writes else None
        has_more = self.count_before(targets) > len(writes)
        if waiting.is_reached() and not has_more:
            return Batch(writes, waiting.requests)
        # Far behind: several transactions, then the requests.
        return Batch(writes) if has_more or len(writes) >= limit else None

    def requests(self, limit: int) -> tuple[Message, ...]:
        """Return the oldest waiting requests, at most the bytes of one batch."""
        return self._up_to(limit, self._of(RECOMMENDATIONS_REQUESTED))

    def writes(self, limit: int, *, targets: Mapping[Partition, int]) -> tuple[Message, ...]:
        """Return the oldest waiting writes, those below the target offsets first, at most one batch of bytes."""
        every = self._of(*_WRITE_TOPICS)
        others = (message for message in every if message.offset >= targets.get(_partition(message), 0))
        return self._up_to(limit, chain(self._before(targets), others))

    def count_before(self, targets: Mapping[Partition, int]) -> int:
        """Return how many writes below the target offsets wait."""
        return sum(1 for _ in self._before(targets))

    def starts(self, batch: Batch) -> dict[Partition, int]:
        """Return the stored offsets that the database must still hold: of the batch, and of what its requests rest on.

        While those of the writes beside a request are ours, nobody else has stored a write of its customer.
        """
        partitions = {_partition(message) for message in batch.messages}
        for number in {message.partition for message in batch.requests}:
            partitions |= _writes_beside(number)
        return {partition: self._stored[partition] for partition in sorted(partitions)}

    def next_offsets(self, batch: Batch) -> dict[Partition, int]:
        """Return the offsets to store with the effects of the batch."""
        return {_partition(message): message.offset + 1 for message in batch.messages}

    def done(self, batch: Batch) -> None:
        """Remove the messages of a stored batch."""
        self.take(batch)
        self.stored(batch)

    def take(self, batch: Batch) -> None:
        """Remove the messages of a batch that is being stored; `stored` or `give_back` says what became of it."""
        self._taken = batch.messages
        for message in batch.messages:
            self._queues[_partition(message)].popleft()
        for partition in self.next_offsets(batch):
            # To the end: one busy partition must not delay the others.
            queue = self._queues.pop(partition)
            if queue:
                self._queues[partition] = queue

    def stored(self, batch: Batch) -> None:
        """Note the offsets of a batch that was taken and is stored."""
        self._stored.update(self.next_offsets(batch))
        self._taken = ()

    def give_back(self) -> None:
        """Put the messages that were taken back in front of the others."""
        for message in reversed(self._taken):
            self._queues.setdefault(_partition(message), deque()).appendleft(message)
        self._taken = ()

    def _of(self, *topics: str) -> Iterator[Message]:
        return chain.from_iterable(queue for (name, _), queue in self._queues.items() if name in topics)

    def _up_to(self, limit: int, messages: Iterator[Message]) -> tuple[Message, ...]:
        """Return the first message and those after it, up to `limit` messages and the bytes of one batch."""
        taken: list[Message] = []
        size = 0
        for message in islice(messages, limit):
            size += message.size_bytes
            if taken and size > self._batch_bytes:
                break
            taken.append(message)
        return tuple(taken)

    def _start_over(self) -> bool:
        """After a new assignment or a rewind, discard all messages; both also end every pause."""
        changed = self._consumer.generation != self._generation
        if changed:
            self._generation = self._consumer.generation
            self._queues.clear()
            self._stored.clear()
            self._taken = ()
            self._paused = self._blocked = frozenset()
        for partition in self._consumer.assignment() - self._stored.keys():
            self._stored[partition] = self._consumer.position(partition)
        return changed

    def _before(self, targets: Mapping[Partition, int]) -> Iterator[Message]:
        return (
            message
            for partition, target in targets.items()
            for message in self._queues.get(partition, ())
            if message.offset < target
        )

    def _pause(self, held: Collection[str]) -> None:
        self._block()
        for topic in WORKER_TOPICS:
            waiting, size = self.waiting(topic), sum(message.size_bytes for message in self._of(topic))
            if waiting >= 2 * self._batch_size or size >= 2 * self._batch_bytes:
                self._full.add(topic)
            elif waiting <= self._batch_size and size <= self._batch_bytes:
                self._full.discard(topic)
        wanted = {one for one in self._stored if one[0] in held or one[0] in self._full or one in self._blocked}
        self._consumer.pause(wanted - self._paused)
        self._consumer.resume(self._paused - wanted)
        self._paused = frozenset(wanted)

    def _block(self) -> None:
        """Discard requests whose earlier writes cannot be read, and read them again when they can.

        These are out of range, or this worker does not own their partition: one that was acknowledged before such a
        request could be missing.
        """
        readable = self._consumer.assignment()
        blocked = frozenset(
            partition
            for partition in self._stored
            if partition[0] == RECOMMENDATIONS_REQUESTED and not readable.issuperset(_writes_beside(partition[1]))
        )
        for partition in blocked - self._blocked:
            self._queues.pop(partition, None)
        free = self._blocked - blocked
        if free:
            # A seek ends every pause.
            self._consumer.resume(self._paused)
            self._paused = frozenset()
        for partition in sorted(free & readable):
            self._consumer.seek(partition, self._stored[partition])
        self._blocked = blocked


class ReadYourWrites:
    """The requests of one batch, and the offsets up to which the writes of their partitions must be polled.

    The requests are fixed before the broker is asked for the high watermarks: an interaction, order or profile that was
    acknowledged before one of these requests lies below them. Raises BrokerUnavailable when the broker does not answer.
    """

    def __init__(self, requests: tuple[Message, ...], *, consumer: EventConsumer, clock: Callable[[], float]) -> None:
        partitions = {partition for message in requests for partition in _writes_beside(message.partition)}
        foreign = partitions - consumer.assignment()
        if foreign:
            raise BrokerUnavailable(f"not owned together with their requests: {sorted(foreign)}")
        self.requests = requests
        self.targets: Mapping[Partition, int] = dict(consumer.fetch_high_watermarks(partitions))
        self._consumer = consumer
        self._clock = clock
        self._deadline = clock() + WAIT_SECONDS
        self._least_missing = self._count_missing()

    def is_reached(self) -> bool:
        """Return whether all writes below the targets were polled."""
        return self._count_missing() == 0

    def check_progress(self) -> None:
        """Raise BrokerUnavailable when no write below the targets arrived for WAIT_SECONDS."""
        missing = self._count_missing()
        if missing < self._least_missing:
            self._least_missing = missing
            self._deadline = self._clock() + WAIT_SECONDS
        elif self._clock() > self._deadline:
            raise BrokerUnavailable(f"{missing} messages below the high watermarks do not arrive")

    def _count_missing(self) -> int:
        owned = self._consumer.assignment()
        return sum(
            max(0, target - self._consumer.position(partition)) if partition in owned else target + 1
            for partition, target in self.targets.items()
        )


def _writes_beside(number: int) -> set[Partition]:
    """Return the partitions with the interactions, orders and profiles of the customers of this partition number."""
    return {(topic, number) for topic in AWAITED_TOPICS}


def _partition(message: Message) -> Partition:
    return message.topic, message.partition
