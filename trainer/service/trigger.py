"""When to train: the rules, and the interactions that no finished training covers. Executed orders count like them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.events import WRITE_TOPICS
from shared.ports import EventConsumer, Message, Partition

MOST_RUNS = 1000  # of a partition; beyond it what lies between two runs counts as well


@dataclass(frozen=True)
class TriggerRules:
    """Train after this many new interactions, or this long after the last training if there is a new one."""

    after_interactions: int
    after_seconds: float


@dataclass(frozen=True)
class TriggerState:
    """The facts of the decision; `queued_request` describes a requested training that waits."""

    has_model: bool
    new_interactions: int
    seconds_since_last: float
    queued_request: str | None = None


def decide_training(state: TriggerState, rules: TriggerRules) -> str | None:
    """Return why to train now, None when there is no reason."""
    if state.queued_request is not None:
        return state.queued_request
    if not state.has_model:
        return "no model yet"
    if state.new_interactions >= rules.after_interactions:
        return f"interactions: {state.new_interactions} new"
    if state.new_interactions >= 1 and state.seconds_since_last >= rules.after_seconds:
        return (
            f"time: {state.seconds_since_last:.0f} s since the last training, {state.new_interactions} new interactions"
        )
    return None


class ConsumerProgress:
    """The next offset of each partition, and the offsets of the interactions that no finished training covers.

    A partition that starts again at its stored offset is counted again from there. The offsets are kept as runs of
    neighbours, so memory does not grow with the number of interactions.
    """

    def __init__(self, consumer: EventConsumer) -> None:
        self._consumer = consumer
        self._generation = consumer.generation
        self._next: dict[Partition, int] = {}
        self._covered: dict[Partition, int] = {}  # every interaction before this offset is covered
        self._uncovered: dict[Partition, list[range]] = {}  # in ascending order

    def follow_assignment(self) -> bool:
        """Take over the consumer's partitions after a poll; True when messages polled before must be dropped."""
        restarted = self._consumer.generation != self._generation
        self._generation = self._consumer.generation
        owned = self._consumer.assignment()
        if not restarted and owned == self._next.keys():
            return False
        for partition in owned:
            position = self._consumer.position(partition)
            if partition not in self._next or (restarted and self._next[partition] != position):
                self._next[partition] = self._covered[partition] = position
                self._uncovered[partition] = []
        for partition in self._next.keys() - owned:
            del self._next[partition], self._covered[partition], self._uncovered[partition]
        return restarted

    def add_handled(self, message: Message, *, is_interaction: bool) -> None:
        """Go past a message that was handled."""
        partition = (message.topic, message.partition)
        self._next[partition] = message.offset + 1
        if is_interaction and message.offset >= self._covered.get(partition, 0):
            self._add_uncovered(partition, message.offset)

    def skip_to(self, partition: Partition, offset: int) -> None:
        """Go on at this offset; the messages before it may contain interactions, so they count as one."""
        self._next[partition] = offset
        before = offset - 1
        self._covered[partition] = min(self._covered.get(partition, before), before)
        runs = self._uncovered.get(partition, [])
        self._uncovered[partition] = [range(run.start, min(run.stop, before)) for run in runs if run.start < before]
        if partition[0] in WRITE_TOPICS:
            self._add_uncovered(partition, before)

    def cover(self, next_offsets: Mapping[Partition, int]) -> None:
        """Stop counting the interactions that a finished training has read: those before these offsets."""
        for partition, offset in next_offsets.items():
            if partition in self._covered:
                self._covered[partition] = max(self._covered[partition], offset)
                runs = self._uncovered[partition]
                self._uncovered[partition] = [range(max(r.start, offset), r.stop) for r in runs if r.stop > offset]

    def count_uncovered(self, *, before: Mapping[Partition, int] | None = None) -> int:
        """Return how many interactions no finished training covers; with `before` only those before these offsets."""
        if before is None:
            return sum(len(run) for runs in self._uncovered.values() for run in runs)
        return sum(
            len(range(run.start, min(run.stop, before.get(partition, 0))))
            for partition, runs in self._uncovered.items()
            for run in runs
        )

    def _add_uncovered(self, partition: Partition, offset: int) -> None:
        runs = self._uncovered.setdefault(partition, [])
        if runs and (runs[-1].stop == offset or len(runs) == MOST_RUNS):
            runs[-1] = range(runs[-1].start, offset + 1)
        else:
            runs.append(range(offset, offset + 1))

    def uncovered_from(self) -> dict[Partition, int]:
        """Return the first offset of each partition of interactions or orders that no finished training covers."""
        return {p: offset for p, offset in self._covered.items() if p[0] in WRITE_TOPICS}
