"""What waits for this worker in its partitions, as the watch over its progress sees it."""

from __future__ import annotations

from shared.errors import BrokerUnavailable, DatabaseUnavailable
from shared.liveness import Progress
from shared.ports import EventConsumer, OffsetSource
from worker.loop import WorkerLoop


class Backlog:
    """A probe for shared.liveness.StallWatch; nothing waits until a loop is attached."""

    def __init__(self) -> None:
        self._attached: tuple[WorkerLoop, EventConsumer, OffsetSource] | None = None

    def attach(self, loop: WorkerLoop, consumer: EventConsumer, offsets: OffsetSource) -> None:
        """Look at this loop from now on."""
        self._attached = (loop, consumer, offsets)

    def __call__(self) -> Progress | None:
        """Return what is done and what waits; None while broker or database do not answer."""
        if self._attached is None:
            return None
        loop, consumer, offsets = self._attached
        done, firsts = loop.commits, loop.unfinished()
        if not firsts:
            return Progress(done, 0)
        try:
            ends = consumer.fetch_high_watermarks(firsts.keys())
            offsets.fetch_offsets(sorted(firsts)[:1])
        except (BrokerUnavailable, DatabaseUnavailable):
            return None
        return Progress(done, sum(max(0, ends[partition] - first) for partition, first in firsts.items()))
