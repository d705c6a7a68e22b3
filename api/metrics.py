"""The metrics of the gateway, in a registry of their own."""

from __future__ import annotations

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
)

_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 12.0)


class GatewayMetrics:
    """Requests by route, published events by outcome, and connections."""

    def __init__(self, *, queue_length: Callable[[], int]) -> None:
        self.registry = registry = CollectorRegistry()
        for collector in (GCCollector, PlatformCollector, ProcessCollector):
            collector(registry=registry)
        name = "recommender_gateway_{}".format
        counter, gauge = partial(Counter, registry=registry), partial(Gauge, registry=registry)
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
        gauge(name("producer_queue_length"), waiting).set_function(queue_length)
