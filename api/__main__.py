"""`python -m api`: builds settings, adapters, application and server, and runs them."""

from __future__ import annotations

import sys

from fastapi import FastAPI

from api.app import create_app
from api.connections import affordable_connections
from api.gateway import Gateway
from api.middleware import Admission
from api.reader import PostgresGatewayReader
from api.server import GatewayServer
from api.settings import ApiSettings
from shared.health import HealthServer
from shared.kafka.client_settings import producer_settings
from shared.kafka.producer import KafkaEventPublisher
from shared.logging import configure_logging, get_logger

# Reserved for closing producer and pool after the last response.
CLOSING_SECONDS = 2.5

log = get_logger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT; return 0 after a clean stop, 1 when a port is not available."""
    settings = ApiSettings()
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="api")
    app = build_app(settings)
    server = build_server(app, settings)
    try:
        metrics = HealthServer(
            (settings.api_metrics_host, settings.api_metrics_port), registry=app.state.gateway.metrics.registry
        )
    except OSError as error:
        log.error("metrics.not_served", port=settings.api_metrics_port, error=str(error))
        return 1
    with metrics:
        log.info("metrics.served", port=metrics.port)
        return 0 if server.serve_until_signal() else 1


def build_server(app: FastAPI, settings: ApiSettings) -> GatewayServer:
    """Return the server, with no more connections than the limit of open files allows."""
    connections = affordable_connections(settings.api_max_connections, pool_size=settings.database_pool_size)
    if connections < settings.api_max_connections:
        log.warning("connections.fewer", wanted=settings.api_max_connections, affordable=connections)
    for_requests = settings.shutdown_timeout_seconds - settings.shutdown_drain_seconds - CLOSING_SECONDS
    return GatewayServer(
        app,
        address=(settings.api_host, settings.api_port),
        max_connections=connections,
        drain_seconds=settings.shutdown_drain_seconds,
        open_requests_seconds=max(1, int(for_requests)),
    )


def build_app(settings: ApiSettings) -> FastAPI:
    """Build the application with the real adapters."""
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
    connections = affordable_connections(settings.api_max_connections, pool_size=settings.database_pool_size)
    return create_app(
        Gateway(
            publisher,
            reader,
            catalogue_refresh_seconds=settings.catalogue_refresh_seconds,
            max_waiters=min(settings.api_max_waiters, connections * 4 // 5),
            request_id_key=settings.request_id_key.get_secret_value() if settings.request_id_key else None,
        ),
        admission=Admission(allowed_hosts=settings.hosts(), allowed_origins=settings.origins()),
    )


if __name__ == "__main__":
    sys.exit(main())
