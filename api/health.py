"""Whether broker and database answer, asked in the background so that a probe costs nothing."""

from __future__ import annotations

import asyncio

from api.ports import GatewayPublisher, GatewayReader
from api.schemas import Readiness
from shared.logging import get_logger

CHECK_SECONDS = 2.0

log = get_logger(__name__)


class HealthMonitor:
    """Ready = the broker answers and nobody asked to stop; the database is only reported, since events need none."""

    def __init__(self, publisher: GatewayPublisher, reader: GatewayReader, *, check_seconds: float) -> None:
        self._publisher = publisher
        self._reader = reader
        self._check_seconds = check_seconds
        self._broker = False
        self._database = False
        self._shutting_down = False

    async def check_forever(self) -> None:
        """Ask both now and then, until shutdown begins: a question under way would hold the exit up."""
        while not self._shutting_down:
            await self.check()
            await asyncio.sleep(self._check_seconds)

    async def check(self) -> None:
        """Ask both once; a change is logged. A question that fails by a bug counts as no answer."""
        answers = await asyncio.gather(
            self._publisher.is_reachable(), self._reader.is_reachable(), return_exceptions=True
        )
        for answer in answers:
            if isinstance(answer, BaseException):
                log.error("health.check_failed", exc_info=answer)
        broker, database = (answer is True for answer in answers)
        if (broker, database) != (self._broker, self._database):
            log.info("health.changed", broker=broker, database=database)
        self._broker, self._database = broker, database

    def begin_shutdown(self) -> None:
        """Be unready from now on."""
        self._shutting_down = True

    def readiness(self) -> Readiness:
        """Return what was seen last."""
        ready = self._broker and not self._shutting_down
        return Readiness(
            status="ok" if ready else "unavailable",
            broker=self._broker,
            database=self._database,
            shutting_down=self._shutting_down,
        )
