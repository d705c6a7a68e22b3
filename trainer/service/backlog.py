"""What waits for the trainer that leads, as the watch over its progress sees it."""

from __future__ import annotations

from contextlib import suppress

from shared.errors import BrokerUnavailable, DatabaseUnavailable
from shared.events import MODELS_COMMANDS
from shared.liveness import Progress
from shared.ports import EventConsumer, OffsetSource, Partition
from trainer.service.loop import TrainerLoop


class Backlog:
    """A probe for shared.liveness.StallWatch; nothing waits while this process does not lead."""

    def __init__(self) -> None:
        self._attached: tuple[TrainerLoop, EventConsumer, OffsetSource] | None = None

    def attach(self, loop: TrainerLoop, consumer: EventConsumer, offsets: OffsetSource) -> None:
        """Look at this loop from now on."""
        self._attached = (loop, consumer, offsets)

    def detach(self) -> None:
        """Look at nothing: this process does not lead any more."""
        self._attached = None

    def __call__(self) -> Progress | None:
        """Return what is done and what waits: messages polled, commands in the log; None while a server is away."""
        attached = self._attached
        if attached is None:
            return None
        loop, consumer, offsets = attached
        done, waiting = loop.handled_messages, loop.waiting_messages
        try:
            positions = _command_positions(consumer)
            ends = consumer.fetch_high_watermarks(positions.keys()) if positions else {}
            offsets.fetch_offsets(sorted(positions))
        except (BrokerUnavailable, DatabaseUnavailable):
            return None
        return Progress(done, waiting + sum(max(0, ends[one] - position) for one, position in positions.items()))


def _command_positions(consumer: EventConsumer) -> dict[Partition, int]:
    positions: dict[Partition, int] = {}
    for partition in consumer.assignment():
        if partition[0] == MODELS_COMMANDS:
            with suppress(KeyError):  # revoked meanwhile by the loop's thread
                positions[partition] = consumer.position(partition)
    return positions
