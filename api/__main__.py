"""`python -m api`: builds settings, adapters, application and server, and runs them."""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from functools import partial

from fastapi import FastAPI

from api.access.api_keys import ApiKeys, read_key_file
from api.access.control import AccessControl, Authenticator
from api.access.jwks import JsonWebKeys, fetch_from
from api.access.tokens import Tokens
from api.app import create_app
from api.connections import affordable_connections
from api.gateway import Gateway
from api.metrics import forget_gauges, share_values, shared_registry
from api.middleware import Admission
from api.processes import ProcessGroup, bind, reserve
from api.reader import PostgresGatewayReader
from api.server import GatewayServer
from api.settings import ApiSettings
from shared.errors import ConfigurationInvalid
from shared.health import HealthServer
from shared.kafka.client_settings import producer_settings
from shared.kafka.producer import KafkaEventPublisher
from shared.logging import configure_logging, get_logger
from shared.settings import settings_or_exit

# Reserved for closing producer and pool after the last response.
CLOSING_SECONDS = 2.5

log = get_logger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT; return 0 after a clean stop, 1 when a port is not available."""
    settings = settings_or_exit(ApiSettings)
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="api")
    try:
        if settings.auth_mode == "api_key" and settings.api_keys_file is not None:
            read_key_file(settings.api_keys_file)  # a wrong file stops the command, not each process that it starts
    except ConfigurationInvalid as error:
        log.error("access.not_configured", error=str(error))
        return 1
    return serve(settings) if settings.api_processes == 1 else serve_in_processes(settings)


def serve(settings: ApiSettings) -> int:
    """Serve with this process alone."""
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


def serve_in_processes(settings: ApiSettings) -> int:
    """Serve with several processes on one port; this one only starts, replaces and stops them."""
    try:
        reserved = reserve(settings.api_host, settings.api_port)
    except OSError as error:
        log.error("port.not_available", host=settings.api_host, port=settings.api_port, error=str(error))
        return 1
    try:
        reserved_for_metrics = reserve(settings.api_metrics_host, settings.api_metrics_port)
    except OSError as error:
        log.error("metrics.not_served", port=settings.api_metrics_port, error=str(error))
        return 1
    ports = {
        "api_port": reserved[0].getsockname()[1],
        "api_metrics_port": reserved_for_metrics[0].getsockname()[1],
    }
    settings = settings.model_copy(update=ports)
    log.info("processes.starting", processes=settings.api_processes, **ports)
    with tempfile.TemporaryDirectory(prefix="gateway-metrics-") as folder:
        group = ProcessGroup(
            partial(serve_with_others, settings, folder),
            count=settings.api_processes,
            stop_seconds=settings.shutdown_timeout_seconds,
            on_end=partial(forget_gauges, folder),
        )
        return group.run_until_signal()


def serve_with_others(settings: ApiSettings, metrics_folder: str, index: int, note_step: Callable[[], None]) -> int:
    """Serve as the process with this index of several."""
    share_values(metrics_folder, index)
    app = build_app(settings)
    app.state.gateway.metrics.count_processes()

    def report() -> None:
        note_step()
        app.state.gateway.metrics.store_gauges()

    server = build_server(app, settings, report=report)
    metrics_address = settings.api_metrics_host, settings.api_metrics_port
    with HealthServer(metrics_address, registry=shared_registry(metrics_folder), is_port_shared=True):
        return 0 if server.serve_until_signal(bind(settings.api_host, settings.api_port)) else 1


def build_server(app: FastAPI, settings: ApiSettings, *, report: Callable[[], None] | None = None) -> GatewayServer:
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
        report=report,
    )


def build_app(settings: ApiSettings) -> FastAPI:
    """Build the application with the real adapters."""
    publisher = KafkaEventPublisher(
        producer_settings(
            settings.brokers(),
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
            legacy_empty_list=settings.legacy_empty_list,
            kept_list_bytes=settings.api_list_mebibytes * 1024 * 1024,
            access=build_access(settings),
        ),
        admission=Admission(allowed_hosts=settings.hosts(), allowed_origins=settings.origins()),
        checked_before_serving=settings.api_processes > 1,
    )


def build_access(settings: ApiSettings) -> AccessControl | None:
    """Build access control for the mode, None where everybody may call; raises ConfigurationInvalid."""
    if settings.auth_mode == "none":
        return None
    authenticator: Authenticator
    if settings.auth_mode == "api_key":
        assert settings.api_keys_file is not None
        authenticator = ApiKeys(settings.api_keys_file)
    else:
        assert settings.jwt_jwks is not None
        assert settings.jwt_issuer is not None
        assert settings.jwt_audience is not None
        authenticator = Tokens(
            JsonWebKeys(
                fetch_from(settings.jwt_jwks),
                algorithms=settings.algorithms(),
                refresh_seconds=settings.jwt_jwks_refresh_seconds,
            ),
            issuer=settings.jwt_issuer,
            audience=settings.jwt_audience,
            algorithms=settings.algorithms(),
            leeway_seconds=settings.jwt_leeway_seconds,
            customer_claim=settings.jwt_customer_claim,
        )
    return AccessControl(authenticator, rate_limit=settings.limit())


if __name__ == "__main__":
    sys.exit(main())
