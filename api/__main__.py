"""`python -m api`: settings, adapters, application, server; the one place that knows them all."""

from __future__ import annotations

import asyncio
import signal
import sys
from types import FrameType

import uvicorn
from fastapi import FastAPI

from api.app import create_app
from api.config import ApiSettings
from api.gateway import Dependencies, Gateway
from shared.adapters.kafka_producer import KafkaEventPublisher, producer_config
from shared.adapters.postgres_gateway import PostgresGatewayReader
from shared.logging import configure_logging, get_logger

# What closing producer and pool may take after the last answer.
CLOSING_SECONDS = 2.5

log = get_logger(__name__)


def main() -> int:
    """Serve until SIGTERM or SIGINT; 0 after a clean stop, 1 when the port cannot be had."""
    settings = ApiSettings()
    configure_logging(level=settings.log_level, log_format=settings.log_format, service="api")
    app = build_app(settings)
    server = GatewayServer(
        uvicorn.Config(
            app,
            host=settings.api_host,
            port=settings.api_port,
            log_config=None,
            access_log=False,
            server_header=False,
            timeout_graceful_shutdown=_seconds_for_open_requests(settings),
        ),
        drain_seconds=settings.shutdown_drain_seconds,
    )
    asyncio.run(server.serve_until_told_to_stop(app.state.gateway))
    return 0 if server.started else 1


def build_app(settings: ApiSettings) -> FastAPI:
    """Wire the real adapters."""
    publisher = KafkaEventPublisher(
        producer_config(
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
    return create_app(Dependencies(publisher, reader, catalogue_refresh_seconds=settings.catalogue_refresh_seconds))


class GatewayServer(uvicorn.Server):
    """A server whose signals make it unready first, and whose process then ends with exit code 0."""

    def __init__(self, config: uvicorn.Config, *, drain_seconds: float) -> None:
        super().__init__(config)
        self._drain_seconds = drain_seconds

    async def serve_until_told_to_stop(self, gateway: Gateway) -> None:
        """Serve; on SIGTERM say unready, a moment later stop listening, then finish the open requests."""
        loop = asyncio.get_running_loop()

        def begin_to_stop() -> None:
            log.info("gateway.stopping")
            gateway.health.begin_shutdown()
            loop.call_later(self._drain_seconds, self.handle_exit, signal.SIGTERM, None)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, begin_to_stop)
        # Not `serve`: that takes the signals for itself and raises them again at the end.
        await self._serve()

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop listening; a second signal changes nothing."""
        self.should_exit = True


def _seconds_for_open_requests(settings: ApiSettings) -> int:
    left = settings.shutdown_timeout_seconds - settings.shutdown_drain_seconds - CLOSING_SECONDS
    return max(1, int(left))


if __name__ == "__main__":
    sys.exit(main())
