"""Read your clicks: requests wait until every interaction that was acknowledged before them is read."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from shared.errors import BrokerUnavailable
from shared.events import INTERACTIONS_RECORDED
from shared.ports import EventConsumer, Message, Partition


class Barrier:
    """One batch's requests, and how far the interactions of their partitions must be read first.

    The requests are fixed before the broker is asked: whatever was acknowledged before one of them was acknowledged
    lies below the offsets that it answers. Raises BrokerUnavailable when it cannot be asked.
    """

    def __init__(
        self,
        requests: tuple[Message, ...],
        *,
        consumer: EventConsumer,
        patience_seconds: float,
        clock: Callable[[], float],
    ) -> None:
        partitions = {(INTERACTIONS_RECORDED, message.partition) for message in requests}
        foreign = partitions - consumer.assignment()
        if foreign:
            raise BrokerUnavailable(f"not owned together with their requests: {sorted(foreign)}")
        self.requests = requests
        self.targets: Mapping[Partition, int] = dict(consumer.fetch_high_watermarks(partitions))
        self._consumer = consumer
        self._patience_seconds = patience_seconds
        self._clock = clock
        self._deadline = clock() + patience_seconds
        self._least_missing = self._missing()

    def is_reached(self) -> bool:
        """Return whether everything below the targets was polled."""
        return self._missing() == 0

    def check_progress(self) -> None:
        """Raise BrokerUnavailable when nothing came closer for `patience_seconds`."""
        missing = self._missing()
        if missing < self._least_missing:
            self._least_missing = missing
            self._deadline = self._clock() + self._patience_seconds
        elif self._clock() > self._deadline:
            raise BrokerUnavailable(f"{missing} interactions below the high watermarks do not arrive")

    def _missing(self) -> int:
        owned = self._consumer.assignment()
        return sum(
            max(0, target - self._consumer.position(partition)) if partition in owned else target + 1
            for partition, target in self.targets.items()
        )
