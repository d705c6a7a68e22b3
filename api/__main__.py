"""`python -m api`: settings, adapters, application, server; the one place that knows them all."""

from __future__ import annotations

import sys

from fastapi import FastAPI

from api.app import create_app
from api.connections import ConnectionLimits, affordable_connections
from api.gateway import Dependencies
from api.guards import Admission
from api.metrics_server import MetricsServer
from api.reader import PostgresGatewayReader
from api.server import GatewayServer
from api.settings import ApiSettings
from shared.kafka.client_settings import producer_settings
from shared.kafka.producer import KafkaEventPublisher
from shared.logging import configure_logging, get_logger

# What closing producer and pool may take after the last answer.
CLOSING_SECONDS = 2.5
# Log each kind of warning or error at most once in this time, so that a client cannot fill the disk.
REPEAT_SECONDS = 10.0

log = get_logger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 1 when a port cannot be had."""
    settings = ApiSettings()
    configure_logging(
        level=settings.log_level, log_format=settings.log_format, service="api", repeat_seconds=REPEAT_SECONDS
    )
    app = build_app(settings)
    server = build_server(app, settings)
    try:
        metrics = MetricsServer(
            (settings.api_metrics_host, settings.api_metrics_port), app.state.gateway.metrics.exposition
        )
    except OSError as error:
        log.error("metrics.not_served", port=settings.api_metrics_port, error=str(error))
        return 1
    with metrics:
        log.info("metrics.served", port=metrics.port)
        return 0 if server.serve_until_told_to_stop() else 1


def build_server(app: FastAPI, settings: ApiSettings) -> GatewayServer:
    """Return the server with as many connections as the process can afford."""
    connections = affordable_connections(settings.api_max_connections, pool_size=settings.database_pool_size)
    if connections < settings.api_max_connections:
        log.warning("connections.fewer", wanted=settings.api_max_connections, affordable=connections)
    return GatewayServer(
        app,
        address=(settings.api_host, settings.api_port),
        limits=ConnectionLimits(max_connections=connections),
        drain_seconds=settings.shutdown_drain_seconds,
        open_requests_seconds=_seconds_for_open_requests(settings),
    )


def build_app(settings: ApiSettings) -> FastAPI:
    """Wire the real adapters."""
    publisher = KafkaEventPublisher(
        producer_settings(
            settings.kafka_bootstrap_servers,
            client_id="api",
            delivery_timeout_seconds=settings.delivery_timeout_seconds,
        ),
        topic_prefix=settings.topic_prefix,
    )
    reader = PostgresGatewayReader(
        settings.database_url.get_secret_value(),
        timeout_seconds=settings.database_timeout_seconds,
        pool_size=settings.database_pool_size,
    )
    return create_app(
        Dependencies(publisher, reader, catalogue_refresh_seconds=settings.catalogue_refresh_seconds),
        admission=Admission(allowed_hosts=settings.hosts(), allowed_origins=settings.origins()),
    )


def _seconds_for_open_requests(settings: ApiSettings) -> int:
    left = settings.shutdown_timeout_seconds - settings.shutdown_drain_seconds - CLOSING_SECONDS
    return max(1, int(left))


if __name__ == "__main__":
    sys.exit(main())
