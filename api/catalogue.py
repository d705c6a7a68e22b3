"""The catalogue of assets: a copy in memory, which is read again after each load of reference data."""

from __future__ import annotations

import asyncio
import time
from array import array
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from itertools import chain, islice, product

from api.asset_search import NAME_START, AssetSearch, fold
from api.ports import GatewayReader
from api.schemas.assets import AssetItem
from shared.errors import DatabaseBusy, DatabaseUnavailable
from shared.logging import get_logger

RETRY_SECONDS = 2.0
LOOKUP_TIMEOUT_SECONDS = 0.5
# Requests with unknown ISINs must not overload the database.
LOOKUPS_PER_SECOND = 20
# About 80 MB. Assets beyond this number are looked up by their ISIN.
MAX_ASSETS = 100_000

_NOWHERE: Sequence[int] = array("I")

log = get_logger(__name__)


@dataclass(frozen=True)
class AssetPage:
    """Some assets as JSON, and the number of all assets that match."""

    assets: Sequence[bytes]
    total: int


@dataclass(frozen=True)
class AssetQuery:
    """Which assets: both filters match exactly, None matches all; `q` is a part of name or ISIN."""

    sector: str | None = None
    category: str | None = None
    q: str | None = None


class Catalogue:
    """The assets of one read, each as the JSON of its response, under every filter (sector, category) it matches."""

    def __init__(self, assets: Sequence[AssetItem]) -> None:
        self.positions = {asset.isin: position for position, asset in enumerate(assets)}
        self.contents = [asset.model_dump_json().encode() for asset in assets]
        self._filters = [(asset.sector, asset.assetcategory) for asset in assets]
        self._search = AssetSearch([(asset.isin, asset.assetname) for asset in assets])
        self._matching: dict[tuple[str | None, str | None], array[int]] = {}
        for position, (sector, category) in enumerate(self._filters):
            for filters in set(product((None, sector), (None, category))):
                self._matching.setdefault(filters, array("I")).append(position)

    def has_category(self, name: str) -> bool:
        """Return whether any asset has this category."""
        return (None, name) in self._matching

    def page(self, query: AssetQuery, *, limit: int, offset: int) -> AssetPage:
        """Return the assets from `offset` on, at most `limit`."""
        end = offset + limit
        if not query.q:
            found = leading = self._matching.get((query.sector, query.category), _NOWHERE)
        else:
            found, leading = self._find(query, fold(query.q))
        places: Iterable[int] = leading[offset:end]
        if end > len(leading) and len(found) > len(leading):
            first = set(leading)
            places = islice(chain(leading, (place for place in found if place not in first)), offset, end)
        return AssetPage([self.contents[place] for place in places], len(found))

    def _find(self, query: AssetQuery, folded: str) -> tuple[Sequence[int], Sequence[int]]:
        """Return all matches in order of their ISIN, and those that come first: this ISIN, and names that begin so."""
        matching = self._matching.get((query.sector, query.category), _NOWHERE)
        found = self._filtered(self._search.find(folded, among=matching), query)
        begins = self._filtered(self._search.find(NAME_START + folded, among=found), query)
        exact = self._filtered(self._search.exact(folded), query)
        if exact:
            begins = [*exact, *(place for place in begins if place not in exact)]
        return found, begins

    def _filtered(self, places: Sequence[int], query: AssetQuery) -> Sequence[int]:
        if query.sector is not None:
            places = [place for place in places if self._filters[place][0] == query.sector]
        if query.category is not None:
            places = [place for place in places if self._filters[place][1] == query.category]
        return places


class AssetCatalogue:
    """The catalogue as last read. Before the first read every ISIN counts as known; the worker checks it again."""

    def __init__(
        self, reader: GatewayReader, *, refresh_seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._reader = reader
        self._refresh_seconds = refresh_seconds
        self._version: str | None = None
        self._catalogue: Catalogue | None = None
        self._found: set[str] = set()  # by lookups, since the catalogue was read
        self._load_lock = asyncio.Lock()
        self._lookups, self._asset_lookups = LookupBudget(clock), LookupBudget(clock)

    async def refresh_forever(self) -> None:
        """Refresh every `refresh_seconds`; sooner after a failure, which keeps the last copy, and while it is empty."""
        while True:
            is_complete = False
            try:
                await self.refresh()
                is_complete = self._catalogue is not None and bool(self._catalogue.positions)
            except DatabaseUnavailable:
                log.warning("catalogue.stale", loaded=self._catalogue is not None)
            except Exception:  # a bug must not end the task unnoticed
                log.exception("catalogue.failed", loaded=self._catalogue is not None)
            await asyncio.sleep(self._refresh_seconds if is_complete else min(RETRY_SECONDS, self._refresh_seconds))

    async def refresh(self) -> None:
        """Read the catalogue if it is empty, or if reference data or the date of the active model changed since.

        Raises DatabaseUnavailable.
        """
        async with self._load_lock:
            version = await self._reader.fetch_reference_version()
            if self._catalogue is not None and self._catalogue.positions and version == self._version:
                return
            assets = await self._reader.fetch_assets(limit=MAX_ASSETS + 1)
            if len(assets) > MAX_ASSETS:
                log.warning("catalogue.truncated", kept=MAX_ASSETS)
            # In a thread: serialising a large catalogue takes long.
            self._catalogue = await asyncio.to_thread(Catalogue, assets[:MAX_ASSETS])
            self._version = version
            self._found.clear()

    async def page(self, query: AssetQuery, *, limit: int, offset: int) -> AssetPage:
        """Return assets from memory, in order of their ISIN.

        With `q` first the asset with this ISIN, then those whose name begins so. Raises DatabaseUnavailable before the
        first read.
        """
        catalogue = await self._read_once()
        if not query.q:
            return catalogue.page(query, limit=limit, offset=offset)
        # In a thread: a text that most names of a large catalogue contain takes long.
        return await asyncio.to_thread(catalogue.page, query, limit=limit, offset=offset)

    async def find(self, isin: str) -> bytes | None:
        """Return an asset as JSON; the database has the answer for ISINs that are not in the copy.

        Returns None for an unknown one. Raises DatabaseUnavailable before the first read, and where a catalogue that is
        too large for the copy cannot be asked.
        """
        catalogue = await self._read_once()
        if (position := catalogue.positions.get(isin)) is not None:
            return catalogue.contents[position]
        try:
            if not self._asset_lookups.take():
                raise DatabaseBusy("too many lookups of unknown assets")
            asset = await self._reader.fetch_asset(isin, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            if len(catalogue.positions) < MAX_ASSETS:
                return None  # the copy is complete, as of its last read
            raise
        return None if asset is None else asset.model_dump_json().encode()

    async def knows_category(self, name: str) -> bool:
        """Return whether any asset of the copy has this category; raises DatabaseUnavailable before the first read."""
        return (await self._read_once()).has_category(name)

    async def knows(self, isin: str) -> bool:
        """Return whether the asset exists; the database has the answer for ISINs that are not in the copy."""
        if self._catalogue is None or isin in self._catalogue.positions or isin in self._found:
            return True
        if not self._lookups.take():
            return False
        try:
            found = await self._reader.has_isin(isin, timeout_seconds=LOOKUP_TIMEOUT_SECONDS)
        except DatabaseUnavailable:
            return False
        if found:
            self._found.add(isin)
        return found

    async def _read_once(self) -> Catalogue:
        if self._catalogue is None:
            await self.refresh()
        assert self._catalogue is not None
        return self._catalogue


class LookupBudget:
    """The lookups of a second."""

    def __init__(self, clock: Callable[[], float]) -> None:
        self._clock = clock
        self._window_started_at = float("-inf")
        self._count = 0

    def take(self) -> bool:
        """Count one lookup and return whether it may be made."""
        now = self._clock()
        if now - self._window_started_at >= 1.0:
            self._window_started_at, self._count = now, 0
        self._count += 1
        return self._count <= LOOKUPS_PER_SECOND
