"""The catalogue of assets and what is suspended, cached; read again after each load and each change by an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date

from shared.recommender.candidates import CatalogueView, asset_risk_level, build_catalogue_view
from shared.recommender.id_map import AssetIdMap
from worker.ports import AssetDisplay, Suspensions, WorkerStore


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
        self._as_of: date | None = None
        self._version: str | None = None
        self._displays: Mapping[str, AssetDisplay] = {}
        self._suspensions = Suspensions()
        self._view: tuple[AssetIdMap, CatalogueView] | None = None  # of one model

    def refresh(self) -> None:
        """Read the catalogue again if reference data, assets or prices changed; checks once every `check_seconds`."""
        if self._clock() - self._checked_at < self._check_seconds:
            return
        snapshot, version = self._store.fetch_snapshots(), self._store.fetch_catalogue_version()
        if (snapshot, version) != (self._snapshot, self._version):
            self._read(self._as_of)
            self._snapshot, self._version = snapshot, version
        self._checked_at = self._clock()

    @property
    def snapshot(self) -> str:
        """The reference data, as `fetch_snapshots` names it; the assets are those of that time or later ones."""
        if self._snapshot is None:
            self.refresh()
        return self._snapshot or ""

    def is_model_suspended(self, version: str) -> bool:
        """Return whether this model must not score lists; as of the last refresh, without the database."""
        return version in self._suspensions.models

    def displays(self, isins: Iterable[str], *, as_of: date | None = None) -> Mapping[str, AssetDisplay]:
        """Return those of these assets that exist; reads the database once when one is missing.

        `as_of` is the date of the trailing returns, that of a model; another one than before reads the database.
        """
        wanted, as_of = set(isins), as_of or self._as_of
        if as_of != self._as_of or wanted - self._displays.keys():
            self._read(as_of)
        return {isin: self._displays[isin] for isin in wanted if isin in self._displays}

    def view(self, id_map: AssetIdMap) -> CatalogueView:
        """Return the catalogue as arrays in the order of a model's assets, without suspended ones; cached."""
        if self._snapshot is None:
            self.refresh()
        if self._view is None or self._view[0] is not id_map:
            levels = {
                isin: asset_risk_level(display.assetcategory, display.asset_sub_category)
                for isin, display in self._displays.items()
                if not self._is_suspended(display)
            }
            categories = {isin: display.assetcategory for isin, display in self._displays.items()}
            sectors = {isin: display.sector for isin, display in self._displays.items()}
            self._view = id_map, build_catalogue_view(id_map, levels, categories=categories, sectors=sectors)
        return self._view[1]

    def _read(self, as_of: date | None) -> None:
        displays, suspensions = self._store.fetch_asset_displays(as_of=as_of), self._store.fetch_suspensions()
        self._as_of = as_of
        if (displays, suspensions) != (self._displays, self._suspensions):
            self._displays, self._suspensions, self._view = displays, suspensions, None

    def _is_suspended(self, display: AssetDisplay) -> bool:
        return display.isin in self._suspensions.assets or display.assetcategory in self._suspensions.categories
