"""Which ISINs exist: a copy of the catalogue in memory, read again in the background."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

from shared.errors import DatabaseUnavailable
from shared.gateway_ports import GatewayReader
from shared.logging import get_logger

RETRY_SECONDS = 2.0
LOOKUP_TIMEOUT_SECONDS = 0.5
# Made-up ISINs must not become a load on the database.
LOOKUPS_PER_SECOND = 20

log = get_logger(__name__)


class AssetCatalogue:
    """The ISINs as last read; while they were never read, every ISIN counts as known (the worker checks too)."""

    def __init__(
        self, reader: GatewayReader, *, refresh_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._isins: frozenset[str] | None = None
        self._window_started_at = float("-inf")
        self._lookups = 0

    async def refresh_forever(self) -> None:
        """Read the catalogue now and then; a database that is away is tried again soon, the last copy stays."""
        while True:
            try:
                await self.refresh()
                await asyncio.sleep(self._refresh_seconds)
            except DatabaseUnavailable:
                log.warning("catalogue.stale", loaded=self._isins is not None)
                await asyncio.sleep(min(RETRY_SECONDS, self._refresh_seconds))

    async def refresh(self) -> None:
        """Read the catalogue once; raises DatabaseUnavailable."""
        self._isins = await self._reader.fetch_isins()

    async def knows(self, isin: str) -> bool:
        """Whether the asset exists; asks the database about one that is not in the copy, a few times a second."""
        if self._isins is None or isin in self._isins:
            return True
        if not self._may_look_up():
            return False
        try:
            found = await self._reader.has_isin(isin, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            return False
        if found:
            self._isins |= {isin}
        return found

    def _may_look_up(self) -> bool:
        now = self._clock()
        if now - self._window_started_at >= 1.0:
            self._window_started_at, self._lookups = now, 0
        self._lookups += 1
        return self._lookups <= LOOKUPS_PER_SECOND
