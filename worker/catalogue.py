"""Which assets exist and what lists show of them: cached, read again when the reference data changed or on a miss."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping

from shared.ports import AssetDisplay, WorkerStore


class Catalogue:
    """The assets by ISIN; every method may raise DatabaseUnavailable."""

    def __init__(
        self, store: WorkerStore, *, check_seconds: float = 1.0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._store = store
        self._check_seconds = check_seconds
        self._clock = clock
        self._checked_at = -float("inf")
        self._snapshot: str | None = None
        self._displays: Mapping[str, AssetDisplay] = {}

    def refresh(self) -> None:
        """Look, once every `check_seconds`, whether reference data was loaded meanwhile, and read it then."""
        if self._clock() - self._checked_at < self._check_seconds:
            return
        snapshot = self._store.fetch_snapshots()
        if snapshot != self._snapshot:
            self._displays = self._store.fetch_asset_displays()
            self._snapshot = snapshot
        self._checked_at = self._clock()

    @property
    def snapshot(self) -> str:
        """Which reference data these are; the assets are those, or newer ones."""
        if self._snapshot is None:
            self.refresh()
        return self._snapshot or ""

    def displays(self, isins: Iterable[str]) -> Mapping[str, AssetDisplay]:
        """Return those of these assets that exist; looks into the database, once, when one is missing."""
        wanted = set(isins)
        if wanted - self._displays.keys():
            self._displays = self._store.fetch_asset_displays()
        return {isin: self._displays[isin] for isin in wanted if isin in self._displays}
