"""The catalogue of assets and what is suspended, cached; read again after each load and each change by an event."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping
from datetime import date

from shared.recommender.candidates import CatalogueView, asset_risk_level, build_catalogue_view
from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.market import NO_MARKET, Market
from shared.recommender.policy.rules import Policy
from shared.recommender.policy.view import PolicyView, build_view
from shared.recommender.types import Asset
from worker.ports import AssetDisplay, Suspensions, WorkerStore

POLICY_DIGEST_LENGTH = 16
MARKET_SECONDS = 60.0  # after new prices alone, the prices of the policy are read again once in this time


class Catalogue:
    """The assets by ISIN; every method may raise DatabaseUnavailable."""

    def __init__(
        self,
        store: WorkerStore,
        *,
        policy: Policy | None = None,
        check_seconds: float = 1.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self.policy = policy
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
        self._view_of: date | None = None
        self._market = NO_MARKET
        self._market_of: tuple[object, ...] | None = None  # what the market was read for
        self._market_version: str | None = None
        self._market_read_at = -float("inf")

    def refresh(self) -> None:
        """Read the catalogue again if reference data, assets or prices changed; checks once every `check_seconds`."""
        if self._clock() - self._checked_at < self._check_seconds:
            return
        snapshot, version = self._store.fetch_snapshots(), self._store.fetch_catalogue_version()
        if (snapshot, version) != (self._snapshot, self._version):
            self._read(self._as_of)
            self._snapshot, self._version = snapshot, version
        if self._is_market_old():
            self._view = None
        self._checked_at = self._clock()

    @property
    def snapshot(self) -> str:
        """The reference data, as `fetch_snapshots` names it; the assets are those of that time or later ones."""
        if self._snapshot is None:
            self.refresh()
        return self._snapshot or ""

    @property
    def policy_digest(self) -> str | None:
        """What names the policy in a decision, None without one."""
        return self.policy.digest[:POLICY_DIGEST_LENGTH] if self.policy else None

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

    def view(self, id_map: AssetIdMap, *, as_of: date | None = None) -> CatalogueView:
        """Return the catalogue as arrays in the order of a model's assets, and what the policy says of them; cached.

        `as_of` is the date of the model, at which the policy looks at prices and questionnaires; without it there is no
        policy.
        """
        if self._snapshot is None:
            self.refresh()
        if self._view is None or self._view[0] is not id_map or self._view_of != as_of:
            levels = {
                isin: asset_risk_level(display.assetcategory, display.asset_sub_category)
                for isin, display in self._displays.items()
            }
            view = build_catalogue_view(
                id_map,
                levels,
                categories={isin: display.assetcategory for isin, display in self._displays.items()},
                sectors={isin: display.sector for isin, display in self._displays.items()},
                suspended={isin for isin, display in self._displays.items() if self._is_suspended(display)},
                policy=self._policy_view(id_map, as_of),
            )
            self._view, self._view_of = (id_map, view), as_of
        return self._view[1]

    def _policy_view(self, id_map: AssetIdMap, as_of: date | None) -> PolicyView | None:
        if self.policy is None or as_of is None:
            return None
        assets = [_asset(self._displays.get(isin)) for isin in id_map.isins]
        market = self._fetch_market(self.policy, id_map, as_of)
        return build_view(self.policy, id_map=id_map, assets=assets, market=market, as_of=as_of)

    def _fetch_market(self, policy: Policy, id_map: AssetIdMap, as_of: date) -> Market:
        """Return prices and purchases up to `as_of`: few prices of today are dated so early, so a minute may pass."""
        wanted = (id_map, as_of, self._snapshot)
        if policy.needs_market and (wanted != self._market_of or self._is_market_old()):
            self._market = self._store.fetch_market(id_map, as_of=as_of, days=policy.window_days)
            self._market_of, self._market_version = wanted, self._version
            self._market_read_at = self._clock()
        return self._market

    def _is_market_old(self) -> bool:
        is_read = self._market_of is not None and self._version != self._market_version
        return is_read and self._clock() - self._market_read_at >= MARKET_SECONDS

    def _read(self, as_of: date | None) -> None:
        displays, suspensions = self._store.fetch_asset_displays(as_of=as_of), self._store.fetch_suspensions()
        self._as_of = as_of
        if (displays, suspensions) != (self._displays, self._suspensions):
            self._displays, self._suspensions, self._view = displays, suspensions, None

    def _is_suspended(self, display: AssetDisplay) -> bool:
        return display.isin in self._suspensions.assets or display.assetcategory in self._suspensions.categories


def _asset(display: AssetDisplay | None) -> Asset | None:
    if display is None:
        return None
    return Asset(
        display.isin, display.assetcategory, display.asset_sub_category, sector=display.sector, name=display.assetname
    )
