"""Read your writes: requests wait until every interaction that was acknowledged before them is polled."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.errors import BrokerUnavailable
from shared.events import INTERACTIONS_RECORDED
from shared.ports import EventConsumer, Message, Partition

TIMEOUT_SECONDS = 5.0  # without any progress


class ReadYourWrites:
    """The requests of one batch, and the offsets up to which the interactions of their partitions must be polled.

    The requests are fixed before the broker is asked for the high watermarks: an interaction that was acknowledged
    before one of these requests lies below them. Raises BrokerUnavailable when the broker does not answer.
    """

    def __init__(self, requests: tuple[Message, ...], *, consumer: EventConsumer, clock: Callable[[], float]) -> None:
        partitions = {(INTERACTIONS_RECORDED, message.partition) for message in requests}
        foreign = partitions - consumer.assignment()
        if foreign:
            raise BrokerUnavailable(f"not owned together with their requests: {sorted(foreign)}")
        self.requests = requests
        self.targets: Mapping[Partition, int] = dict(consumer.fetch_high_watermarks(partitions))
        self._consumer = consumer
        self._clock = clock
        self._deadline = clock() + TIMEOUT_SECONDS
        self._least_missing = self._count_missing()

    def is_reached(self) -> bool:
        """Return whether all interactions below the targets were polled."""
        return self._count_missing() == 0

    def check_progress(self) -> None:
        """Raise BrokerUnavailable when no interaction below the targets arrived for TIMEOUT_SECONDS."""
        missing = self._count_missing()
        if missing < self._least_missing:
            self._least_missing = missing
            self._deadline = self._clock() + TIMEOUT_SECONDS
        elif self._clock() > self._deadline:
            raise BrokerUnavailable(f"{missing} interactions below the high watermarks do not arrive")

    def _count_missing(self) -> int:
        owned = self._consumer.assignment()
        return sum(
            max(0, target - self._consumer.position(partition)) if partition in owned else target + 1
            for partition, target in self.targets.items()
        )
