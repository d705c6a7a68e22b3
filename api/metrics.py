"""What the gateway counts, in a registry of its own."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Gauge,
    GCCollector,
    Histogram,
    PlatformCollector,
    ProcessCollector,
    generate_latest,
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 12.0)


class GatewayMetrics:
    """Requests by route, published events by outcome, events that wait."""

    def __init__(self, *, queue_length: Callable[[], int]) -> None:
        self._registry = CollectorRegistry()
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=self._registry)
        self._requests = Counter(
            "gateway_http_requests",
            "Requests by route template and status",
            ["method", "route", "status"],
            registry=self._registry,
        )
        self._latency = Histogram(
            "gateway_http_request_seconds",
            "Time from request to end of answer",
            ["method", "route"],
            buckets=_SECONDS,
            registry=self._registry,
        )
        self._published = Counter(
            "gateway_published_events",
            "Events by topic and outcome (acknowledged, unknown, not_accepted)",
            ["topic", "outcome"],
            registry=self._registry,
        )
        waiting = Gauge(
            "gateway_producer_queue_length", "Events that wait for their acknowledgement", registry=self._registry
        )
        waiting.set_function(queue_length)
        self._dropped = Counter(
            "gateway_dropped_connections",
            "Connections that the gateway refused or closed before their request was answered, by reason",
            ["reason"],
            registry=self._registry,
        )
        self._open = Gauge("gateway_open_connections", "Connections that are open now", registry=self._registry)

    def count_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one finished request; status 0 means that nobody got an answer."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(method, route).observe(seconds)

    def count_published(self, topic: str, outcome: str) -> None:
        """Count one event by what became of it."""
        self._published.labels(topic, outcome).inc()

    def count_dropped_connection(self, reason: str) -> None:
        """Count one connection that was refused, or closed before its request was answered."""
        self._dropped.labels(reason).inc()

    def show_open_connections(self, count: Callable[[], int]) -> None:
        """Show what `count` returns."""
        self._open.set_function(count)

    def exposition(self) -> bytes:
        """Return everything in Prometheus' text format."""
        return generate_latest(self._registry)
