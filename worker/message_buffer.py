"""What was polled and not yet stored: a queue per partition, and where the stored offsets stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from contextlib import suppress
from itertools import chain, islice

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.ports import EventConsumer, Message, Partition
from worker.batch import Batch

CONSUMED_TOPICS = (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)
BATCH_BYTES = 16 << 20  # keys and values of one batch; one message may be larger


class Intake:
    """Polls the consumer and keeps messages, in order, until their batch is stored.

    Memory is bounded, by messages and by bytes. Pausing throws away what librdkafka has fetched ahead, so the first
    means is to poll no more than a batch needs; only a topic of which two batches wait, because the other one is
    waited for, is paused. Requests of a partition whose interactions cannot be read are not polled; the others are.
    """

    def __init__(self, consumer: EventConsumer, *, batch_size: int, batch_bytes: int = BATCH_BYTES) -> None:
        self._consumer = consumer
        self._batch_size = batch_size
        self._batch_bytes = batch_bytes
        self._generation = consumer.generation
        self._queues: dict[Partition, deque[Message]] = {}
        self._stored: dict[Partition, int] = {}  # what the database holds, as far as this worker knows
        self._paused: frozenset[Partition] = frozenset()
        self._blocked: frozenset[Partition] = frozenset()  # requests whose interactions cannot be read
        self._full: set[str] = set()
        self._waiting_bytes: dict[str, int] = dict.fromkeys(CONSUMED_TOPICS, 0)

    @property
    def paused(self) -> frozenset[Partition]:
        """The partitions that are not fetched now."""
        return self._paused

    def poll(self, *, timeout_seconds: float, held: Collection[str], wanted: int) -> bool:
        """Take in up to `wanted` messages; return whether the assignment changed, so that everything older is gone.

        Partitions of the `held` topics are paused meanwhile.
        """
        changed = self._start_over()  # a rewind comes between two polls: positions are the stored ones only until then
        self._pause(held)
        messages = self._consumer.poll(max_messages=max(1, wanted), timeout_seconds=timeout_seconds)
        changed = self._start_over() or changed
        for message in messages:
            self._queues.setdefault((message.topic, message.partition), deque()).append(message)
            self._waiting_bytes[message.topic] += message.size_bytes
        return changed

    def waiting(self, topic: str) -> int:
        """Return how many messages of a topic wait here."""
        return sum(len(queue) for (name, _), queue in self._queues.items() if name == topic)

    def unfinished(self, *, held: Collection[str]) -> dict[Partition, int]:
        """Return the offset of the first message of each partition that is not stored yet, waiting here or in the log.

        Left out: topics that are `held`, blocked requests, and what stands still out of range. Callable from any
        thread; a partition that is being revoked may be missing.
        """
        out_of_range, queues = self._consumer.out_of_range(), dict(self._queues)
        firsts: dict[Partition, int] = {}
        for partition in dict(self._stored):
            if partition[0] in held or partition in self._blocked or partition in out_of_range:
                continue
            with suppress(KeyError, IndexError):
                queue = queues.get(partition)
                firsts[partition] = queue[0].offset if queue else self._consumer.position(partition)
        return firsts

    def requests(self, limit: int) -> tuple[Message, ...]:
        """Return the oldest waiting requests, of a batch's bytes at most."""
        queues = (queue for (topic, _), queue in self._queues.items() if topic == RECOMMENDATIONS_REQUESTED)
        return self._up_to(limit, chain.from_iterable(queues))

    def interactions(self, limit: int, *, targets: Mapping[Partition, int]) -> tuple[Message, ...]:
        """Return the oldest waiting interactions, those below the targets' offsets first, as `requests` does."""
        others = (
            message
            for partition, queue in self._queues.items()
            if partition[0] == INTERACTIONS_RECORDED
            for message in queue
            if message.offset >= targets.get(partition, 0)
        )
        return self._up_to(limit, chain(self._before(targets), others))

    def count_before(self, targets: Mapping[Partition, int]) -> int:
        """Return how many interactions below these offsets wait."""
        return sum(1 for _ in self._before(targets))

    def starts(self, batch: Batch) -> dict[Partition, int]:
        """Return the stored offset of each partition of the batch: what the database must still hold."""
        return {_partition(message): self._stored[_partition(message)] for message in batch.messages}

    def next_offsets(self, batch: Batch) -> dict[Partition, int]:
        """Return the offsets to store together with the batch's effects."""
        return {_partition(message): message.offset + 1 for message in batch.messages}

    def done(self, batch: Batch) -> None:
        """Forget the messages of a batch that is stored."""
        self._stored.update(self.next_offsets(batch))
        for message in batch.messages:
            self._queues[_partition(message)].popleft()
            self._waiting_bytes[message.topic] -= message.size_bytes
        for partition in self.starts(batch):
            # To the end, so that one busy partition cannot keep the others waiting.
            queue = self._queues.pop(partition)
            if queue:
                self._queues[partition] = queue

    def _up_to(self, limit: int, messages: Iterator[Message]) -> tuple[Message, ...]:
        """Return messages until there are `limit`, or a batch's bytes; always the first."""
        taken: list[Message] = []
        size = 0
        for message in islice(messages, limit):
            size += message.size_bytes
            if taken and size > self._batch_bytes:
                break
            taken.append(message)
        return tuple(taken)

    def _start_over(self) -> bool:
        """Forget everything after a new assignment or a rewind, which also ends every pause; note where it starts."""
        changed = self._consumer.generation != self._generation
        if changed:
            self._generation = self._consumer.generation
            self._queues.clear()
            self._stored.clear()
            self._waiting_bytes = dict.fromkeys(CONSUMED_TOPICS, 0)
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
        for topic in CONSUMED_TOPICS:
            waiting, size = self.waiting(topic), self._waiting_bytes[topic]
            if waiting >= 2 * self._batch_size or size >= 2 * self._batch_bytes:
                self._full.add(topic)
            elif waiting <= self._batch_size and size <= self._batch_bytes:
                self._full.discard(topic)
        wanted = {one for one in self._stored if one[0] in held or one[0] in self._full or one in self._blocked}
        self._consumer.pause(wanted - self._paused)
        self._consumer.resume(self._paused - wanted)
        self._paused = frozenset(wanted)

    def _block(self) -> None:
        """Drop the requests of partitions whose interactions cannot be read, and read them again when they can.

        Their interactions are out of range, or of a partition that this worker does not own (yet): a click that was
        acknowledged before such a request may be missing.
        """
        readable = self._consumer.assignment()
        blocked = frozenset(
            partition
            for partition in self._stored
            if partition[0] == RECOMMENDATIONS_REQUESTED and (INTERACTIONS_RECORDED, partition[1]) not in readable
        )
        for partition in blocked - self._blocked:
            dropped = self._queues.pop(partition, deque())
            self._waiting_bytes[RECOMMENDATIONS_REQUESTED] -= sum(message.size_bytes for message in dropped)
        free = self._blocked - blocked
        if free:
            # A seek ends every pause.
            self._consumer.resume(self._paused)
            self._paused = frozenset()
        for partition in sorted(free & readable):
            self._consumer.seek(partition, self._stored[partition])
        self._blocked = blocked


def _partition(message: Message) -> Partition:
    return message.topic, message.partition
