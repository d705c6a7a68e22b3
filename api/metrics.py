"""The metrics of the gateway, in a registry of their own.

Several processes have theirs in files of one folder, and each answers a scrape with the sums. A file is named after the
index of its process, so a process that replaces another one counts on.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    values,
)
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 12.0)


class GatewayMetrics:
    """Requests by route, published events by outcome, and connections."""

    def __init__(self, *, queue_length: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=registry)
        name = "recommender_gateway_{}".format
        counter = partial(Counter, registry=registry)
        gauge = partial(Gauge, registry=registry, multiprocess_mode="livesum")
        self._watched: list[tuple[Gauge, Callable[[], float]]] = []
        self.requests = counter(
            name("http_requests"),
            "Requests by route template and status; status 0: no response",
            ["method", "route", "status"],
        )
        self.request_seconds = Histogram(
            name("http_request_seconds"),
            "Time from the request to the end of the response",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self.published_events = counter(
            name("published_events"),
            "Events by topic and outcome (acknowledged, unknown, not_accepted)",
            ["topic", "outcome"],
        )
        self.list_reads = counter(
            name("list_reads"),
            "Lists that were read, by source: kept (the answer was in memory and still true), built",
            ["source"],
        )
        self._kept_reads, self._built_reads = self.list_reads.labels("kept"), self.list_reads.labels("built")
        self.kept_list_bytes = gauge(name("kept_list_bytes"), "Memory of the answers that are kept")
        self.dropped_connections = counter(
            name("dropped_connections"),
            "Connections that the gateway refused, or closed before the response, by reason",
            ["reason"],
        )
        self.open_connections = gauge(name("open_connections"), "Open connections")
        self.waiting_clients = gauge(name("waiting_clients"), "Clients that wait for a list or follow lists")
        self.list_notifications = counter(name("list_notifications"), "Notifications about new lists that were heard")
        self.listener_connections = counter(
            name("listener_connections"),
            "Connections made to hear notifications; those after the first are reconnections",
        )
        waiting = "Events that wait for their acknowledgement"
        self.watch(gauge(name("producer_queue_length"), waiting), queue_length)
        # Finding a series costs more than counting. There are few: no label has a value that a client chooses.
        self._series_of_requests: dict[tuple[str, str, int], tuple[Counter, Histogram]] = {}
        self._series_of_events: dict[tuple[str, str], Counter] = {}

    def watch(self, gauge: Gauge, value: Callable[[], float]) -> None:
        """Have the gauge show this value; of several processes, as it was at the last `store_gauges`."""
        gauge.set_function(value)
        self._watched.append((gauge, value))

    def count_processes(self) -> None:
        """Have a gauge with the number of the processes that serve."""
        name, description = "recommender_gateway_processes", "Gateway processes that serve"
        self.watch(Gauge(name, description, registry=self.registry, multiprocess_mode="livesum"), lambda: 1)

    def store_gauges(self) -> None:
        """Store the values of the gauges where the other processes find them."""
        for gauge, value in self._watched:
            gauge.set(value())

    def note_request(self, method: str, route: str, status: int, *, seconds: float) -> None:
        """Count one request and its time."""
        key = method, route, status
        if (series := self._series_of_requests.get(key)) is None:
            counter, histogram = self.requests.labels(method, route, str(status)), self.request_seconds.labels(*key[:2])
            series = self._series_of_requests[key] = counter, histogram
        series[0].inc()
        series[1].observe(seconds)

    def note_list_read(self, *, is_kept: bool) -> None:
        """Count one list that was read."""
        (self._kept_reads if is_kept else self._built_reads).inc()

    def note_event(self, topic: str, outcome: str) -> None:
        """Count one published event."""
        key = topic, outcome
        if (counter := self._series_of_events.get(key)) is None:
            counter = self._series_of_events[key] = self.published_events.labels(topic, outcome)
        counter.inc()


def share_values(folder: str, index: int) -> None:
    """Keep the values of all metrics that are built from now on in this folder, as the process with this index."""
    os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # the library reads it
    values.ValueClass = values.MultiProcessValue(lambda: index)  # type: ignore[no-untyped-call]


def shared_registry(folder: str) -> CollectorRegistry:
    """Return the registry of the sums over all processes."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry, folder)  # type: ignore[no-untyped-call]
    return registry


def forget_gauges(folder: str, index: int) -> None:
    """Remove the gauges of a process that ended; its counters stay."""
    mark_process_dead(index, folder)  # type: ignore[no-untyped-call]
