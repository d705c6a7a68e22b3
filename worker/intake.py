"""What was polled and not yet stored: a queue per partition, and where the stored offsets stand."""

from __future__ import annotations

from collections import deque
from collections.abc import Collection, Iterator, Mapping
from itertools import chain, islice

from shared.events import INTERACTIONS_RECORDED, RECOMMENDATIONS_REQUESTED
from shared.ports import EventConsumer, Message, Partition
from worker.batch import Batch

CONSUMED_TOPICS = (RECOMMENDATIONS_REQUESTED, INTERACTIONS_RECORDED)


class Intake:
    """Polls the consumer and keeps messages, in order, until their batch is stored.

    Memory is bounded. Pausing throws away what librdkafka has fetched ahead, so the first means is to poll no more than
    a batch needs; only a topic of which two batches wait, because the other one is waited for, is paused.
    """

    def __init__(self, consumer: EventConsumer, *, batch_size: int) -> None:
        self._consumer = consumer
        self._batch_size = batch_size
        self._generation = consumer.generation
        self._queues: dict[Partition, deque[Message]] = {}
        self._stored: dict[Partition, int] = {}  # what the database holds, as far as this worker knows
        self._paused: frozenset[Partition] = frozenset()
        self._full: set[str] = set()

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
        return changed

    def waiting(self, topic: str) -> int:
        """Return how many messages of a topic wait here."""
        return sum(len(queue) for (name, _), queue in self._queues.items() if name == topic)

    def requests(self, limit: int) -> tuple[Message, ...]:
        """Return the oldest waiting requests."""
        queues = (queue for (topic, _), queue in self._queues.items() if topic == RECOMMENDATIONS_REQUESTED)
        return tuple(islice(chain.from_iterable(queues), limit))

    def interactions(self, limit: int, *, targets: Mapping[Partition, int]) -> tuple[Message, ...]:
        """Return the oldest waiting interactions, those below the targets' offsets first."""
        others = (
            message
            for partition, queue in self._queues.items()
            if partition[0] == INTERACTIONS_RECORDED
            for message in queue
            if message.offset >= targets.get(partition, 0)
        )
        return tuple(islice(chain(self._before(targets), others), limit))

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
        for partition in self.starts(batch):
            # To the end, so that one busy partition cannot keep the others waiting.
            queue = self._queues.pop(partition)
            if queue:
                self._queues[partition] = queue

    def _start_over(self) -> bool:
        """Forget everything after a new assignment or a rewind, which also ends every pause; note where it starts."""
        changed = self._consumer.generation != self._generation
        if changed:
            self._generation = self._consumer.generation
            self._queues.clear()
            self._stored.clear()
            self._paused = frozenset()
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
        for topic in CONSUMED_TOPICS:
            waiting = self.waiting(topic)
            if waiting >= 2 * self._batch_size:
                self._full.add(topic)
            elif waiting <= self._batch_size:
                self._full.discard(topic)
        stuck = self._stuck()
        for partition in stuck:  # read again when an operator has decided, which is a new generation
            self._queues.pop(partition, None)
        wanted = {one for one in self._stored if one[0] in held or one[0] in self._full or one in stuck}
        self._consumer.pause(wanted - self._paused)
        self._consumer.resume(self._paused - wanted)
        self._paused = frozenset(wanted)

    def _stuck(self) -> set[Partition]:
        """Return the request partitions whose interactions are out of range: clicks before them may be lost."""
        numbers = {number for topic, number in self._consumer.out_of_range() if topic == INTERACTIONS_RECORDED}
        return {(RECOMMENDATIONS_REQUESTED, number) for number in numbers}


def _partition(message: Message) -> Partition:
    return message.topic, message.partition
