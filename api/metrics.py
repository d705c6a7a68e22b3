"""The metrics of the gateway, in a registry of their own."""

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
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 12.0)


class GatewayMetrics:
    """Requests by route, published events by outcome, and connections."""

    def __init__(self, *, queue_length: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=registry)
        self._requests = Counter(
            "recommender_gateway_http_requests",
            "Requests by route template and status; status 0: no response",
            ["method", "route", "status"],
            registry=registry,
        )
        self._latency = Histogram(
            "recommender_gateway_http_request_seconds",
            "Time from the request to the end of the response",
            ["method", "route"],
            buckets=_SECONDS,
            registry=registry,
        )
        self._published = Counter(
            "recommender_gateway_published_events",
            "Events by topic and outcome (acknowledged, unknown, not_accepted)",
            ["topic", "outcome"],
            registry=registry,
        )
        self._dropped = Counter(
            "recommender_gateway_dropped_connections",
            "Connections that the gateway refused, or closed before the response, by reason",
            ["reason"],
            registry=registry,
        )
        self._open = Gauge("recommender_gateway_open_connections", "Open connections", registry=registry)
        waiting = "Events that wait for their acknowledgement"
        Gauge("recommender_gateway_producer_queue_length", waiting, registry=registry).set_function(queue_length)

    def count_request(self, *, method: str, route: str, status: int, seconds: float) -> None:
        """Count one finished request; status 0 means that the client got no response."""
        self._requests.labels(method, route, str(status)).inc()
        self._latency.labels(method, route).observe(seconds)

    def count_published(self, topic: str, outcome: str) -> None:
        """Count one event by its outcome."""
        self._published.labels(topic, outcome).inc()

    def count_dropped_connection(self, reason: str) -> None:
        """Count one connection that was refused, or closed before the response."""
        self._dropped.labels(reason).inc()

    def show_open_connections(self, count: Callable[[], int]) -> None:
        """Show the result of `count` as the number of open connections."""
        self._open.set_function(count)
