"""How far the trainer has read: the next offset of each partition and the new interactions in it."""

from __future__ import annotations

from shared.events import INTERACTIONS_RECORDED
from shared.ports import EventConsumer, Message, Partition


class Reading:
    """Follows one consumer; a partition that starts again at its stored offset is counted again from there."""

    def __init__(self, consumer: EventConsumer) -> None:
        self._consumer = consumer
        self._generation = consumer.generation
        self._next: dict[Partition, int] = {}
        self._new: dict[Partition, int] = {}

    def follow(self) -> bool:
        """Take over the consumer's partitions after each poll; True when what was polled before must be dropped."""
        restarted = self._consumer.generation != self._generation
        self._generation = self._consumer.generation
        owned = self._consumer.assignment()
        if not restarted and owned == self._next.keys():
            return False
        for partition in owned:
            position = self._consumer.position(partition)
            if partition not in self._next or (restarted and self._next[partition] != position):
                self._next[partition], self._new[partition] = position, 0
        for partition in self._next.keys() - owned:
            del self._next[partition], self._new[partition]
        return restarted

    def note(self, message: Message, *, interaction: bool) -> None:
        """Say that this message was handled."""
        partition = (message.topic, message.partition)
        self._next[partition] = message.offset + 1
        self._new[partition] = self._new.get(partition, 0) + int(interaction)

    def skip(self, partition: Partition, offset: int) -> None:
        """Go on at this offset; what lies before it may hold interactions, so it counts as one."""
        self._next[partition] = offset
        self._new[partition] = self._new.get(partition, 0) + int(partition[0] == INTERACTIONS_RECORDED)

    def forget(self, covered: dict[Partition, int]) -> None:
        """Take off the new interactions that a finished training covers, as `new_by_partition` gave them."""
        for partition, count in covered.items():
            if partition in self._new:
                # Below zero while a restarted partition is still being counted again.
                self._new[partition] -= count

    def new_by_partition(self) -> dict[Partition, int]:
        """Return how many new interactions each partition had."""
        return {partition: count for partition, count in self._new.items() if partition[0] == INTERACTIONS_RECORDED}

    def new_interactions(self) -> int:
        """Return how many interactions no finished training covers."""
        return max(0, sum(self.new_by_partition().values()))

    def interaction_offsets(self) -> dict[Partition, int]:
        """Return the next offset of each interactions partition."""
        return {partition: offset for partition, offset in self._next.items() if partition[0] == INTERACTIONS_RECORDED}
