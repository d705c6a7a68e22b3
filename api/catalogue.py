"""The catalogue of assets: a copy in memory, which is read again after each load of reference data."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import product

from api.ports import GatewayReader
from api.schemas import AssetItem
from shared.errors import DatabaseUnavailable
from shared.logging import get_logger

RETRY_SECONDS = 2.0
LOOKUP_TIMEOUT_SECONDS = 0.5
# Requests with unknown ISINs must not overload the database.
LOOKUPS_PER_SECOND = 20
# About 40 MB. Assets beyond this number are looked up by their ISIN.
MAX_ASSETS = 100_000

log = get_logger(__name__)


@dataclass(frozen=True)
class AssetPage:
    """Some assets as JSON, in order of their ISIN, and the number of all assets that match."""

    assets: Sequence[bytes]
    total: int


class Catalogue:
    """The assets of one read, each as the JSON of its response, under every filter (sector, category) it matches."""

    def __init__(self, assets: Sequence[AssetItem]) -> None:
        self.isins = frozenset(asset.isin for asset in assets)
        self.matching: dict[tuple[str | None, str | None], list[bytes]] = {}
        for asset in assets:
            content = asset.model_dump_json().encode()
            for filters in set(product((None, asset.sector), (None, asset.assetcategory))):
                self.matching.setdefault(filters, []).append(content)


class AssetCatalogue:
    """The catalogue as last read. Before the first read every ISIN counts as known; the worker checks it again."""

    def __init__(
        self, reader: GatewayReader, *, refresh_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._refresh_seconds = refresh_seconds
        self._clock = clock
        self._version: str | None = None
        self._catalogue: Catalogue | None = None
        self._found: set[str] = set()  # by lookups, since the catalogue was read
        self._load_lock = asyncio.Lock()
        self._window_started_at = float("-inf")
        self._lookups = 0

    async def refresh_forever(self) -> None:
        """Refresh every `refresh_seconds`; sooner after a failure, which keeps the last copy, and while it is empty."""
        while True:
            is_complete = False
            try:
                await self.refresh()
                is_complete = self._catalogue is not None and bool(self._catalogue.isins)
            except DatabaseUnavailable:
                log.warning("catalogue.stale", loaded=self._catalogue is not None)
            except Exception:  # a bug must not end the task unnoticed
                log.exception("catalogue.failed", loaded=self._catalogue is not None)
            await asyncio.sleep(self._refresh_seconds if is_complete else min(RETRY_SECONDS, self._refresh_seconds))

    async def refresh(self) -> None:
        """Read the catalogue if it is empty or reference data was loaded since; raises DatabaseUnavailable."""
        async with self._load_lock:
            version = await self._reader.fetch_reference_version()
            if self._catalogue is not None and self._catalogue.isins and version == self._version:
                return
            assets = await self._reader.fetch_assets(limit=MAX_ASSETS + 1)
            if len(assets) > MAX_ASSETS:
                log.warning("catalogue.truncated", kept=MAX_ASSETS)
            # In a thread: serialising a large catalogue takes long.
            self._catalogue = await asyncio.to_thread(Catalogue, assets[:MAX_ASSETS])
            self._version = version
            self._found.clear()

    async def page(self, *, sector: str | None, category: str | None, limit: int, offset: int) -> AssetPage:
        """Return assets that match both filters exactly (None matches all), from memory.

        Raises DatabaseUnavailable before the first read.
        """
        if self._catalogue is None:
            await self.refresh()
        assert self._catalogue is not None
        matching = self._catalogue.matching.get((sector, category), [])
        return AssetPage(matching[offset : offset + limit], len(matching))

    async def knows(self, isin: str) -> bool:
        """Return whether the asset exists; the database has the answer for ISINs that are not in the copy."""
        if self._catalogue is None or isin in self._catalogue.isins or isin in self._found:
            return True
        if not self._may_look_up():
            return False
        try:
            found = await self._reader.has_isin(isin, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            return False
        if found:
            self._found.add(isin)
        return found

    def _may_look_up(self) -> bool:
        now = self._clock()
        if now - self._window_started_at >= 1.0:
            self._window_started_at, self._lookups = now, 0
        self._lookups += 1
        return self._lookups <= LOOKUPS_PER_SECOND
