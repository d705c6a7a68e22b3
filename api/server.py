"""The HTTP server: uvicorn on uvloop and httptools, with limited connections and a graceful stop (decision 15)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
from collections.abc import Iterator
from types import FrameType
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI

from api.connections import IDLE_SECONDS, ConnectionGuard, GuardedProtocol
from api.gateway import Gateway
from shared.logging import get_logger

BACKLOG = 1024

log = get_logger(__name__)


class GatewayServer(uvicorn.Server):
    """A server that becomes unready on a signal, then drains; its process ends with exit code 0."""

    def __init__(
        self,
        app: FastAPI,
        *,
        address: tuple[str, int],
        max_connections: int,
        drain_seconds: float,
        open_requests_seconds: int,
    ) -> None:
        self._gateway: Gateway = app.state.gateway
        self._guard = ConnectionGuard(max_connections=max_connections, metrics=self._gateway.metrics)
        self._drain_seconds = drain_seconds
        protocol = functools.partial(GuardedProtocol, guard=self._guard)
        super().__init__(
            uvicorn.Config(
                app,
                host=address[0],
                port=address[1],
                http=cast(type[asyncio.Protocol], protocol),
                ws="none",
                backlog=BACKLOG,
                log_config=None,
                access_log=False,
                server_header=False,
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=open_requests_seconds,
            )
        )

    def serve_until_signal(self) -> bool:
        """Serve until SIGTERM or SIGINT; return False when the port is not available."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve_guarded())
        return self.started

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        """On SIGTERM become unready, after `drain_seconds` stop listening, then finish the open requests."""
        loop = asyncio.get_running_loop()

        def begin_stop() -> None:
            log.info("gateway.stopping")
            self._gateway.begin_shutdown()
            loop.call_later(self._drain_seconds, self.handle_exit, signal.SIGTERM, None)

        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, begin_stop)
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop listening; a second signal has no effect."""
        self.should_exit = True

    async def _serve_guarded(self) -> None:
        sweeping = asyncio.create_task(self._guard.sweep_forever())
        try:
            await self.serve()
        finally:
            sweeping.cancel()
