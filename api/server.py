"""The HTTP server: uvicorn on uvloop and httptools, with limited connections and a graceful stop (decision 15)."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import signal
import socket
from collections.abc import Callable, Iterator
from types import FrameType
from typing import cast

import uvicorn
import uvloop
from fastapi import FastAPI

from api.connections import IDLE_SECONDS, ConnectionGuard, GuardedProtocol
from api.gateway import Gateway
from shared.logging import get_logger

BACKLOG = 4096  # connections that wait to be accepted; the kernel may allow fewer (net.core.somaxconn)
REPORT_SECONDS = 1.0

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
        report: Callable[[], None] | None = None,
    ) -> None:
        """`report` is called about once a second, from when the server accepts connections."""
        self._gateway: Gateway = app.state.gateway
        self._guard = ConnectionGuard(max_connections=max_connections, metrics=self._gateway.metrics)
        self._drain_seconds = drain_seconds
        self._report = report
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
                proxy_headers=False,  # nothing here depends on the client's address
                timeout_keep_alive=IDLE_SECONDS,
                timeout_graceful_shutdown=open_requests_seconds,
            )
        )

    def serve_until_signal(self, sockets: list[socket.socket] | None = None) -> bool:
        """Serve on the address, or on these sockets, until SIGTERM or SIGINT; False when the port is not available."""
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            runner.run(self._serve_guarded(sockets))
        return self.started

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Start the application, listen, and then begin to report."""
        await super().startup(sockets)
        if self.started and self._report is not None:
            self._reporting = asyncio.create_task(report_forever(self._report))

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
        # A forked process (api/processes.py) has them blocked until here.
        signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT))
        yield

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop listening; a second signal has no effect."""
        self.should_exit = True

    async def _serve_guarded(self, sockets: list[socket.socket] | None) -> None:
        sweeping = asyncio.create_task(self._guard.sweep_forever())
        try:
            await self.serve(sockets)
        finally:
            sweeping.cancel()


async def report_forever(report: Callable[[], None]) -> None:
    """Call `report` about once a second. A bug in it is logged: it must not look like a process that hangs."""
    while True:
        try:
            report()
        except Exception:
            log.exception("report.failed")
        await asyncio.sleep(REPORT_SECONDS)
