"""Invented assets: what they are, how popular they are, when they have prices, and which."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from shared.far_trans.synthetic import catalogue
from shared.far_trans.synthetic.sizes import (
    DAY_COUNT,
    DAYS,
    Floats,
    Rng,
    Sizes,
    allocate,
    find_day,
    make_persistent,
    settle,
)

_SHORTEST_SERIES = 30
_POPULARITY_OFFSET, _POPULARITY_EXPONENT = 2.0, 1.35
_REGIME_DAYS, _REGIME_PERSISTENCE = 125, 0.5
_DECIMALS, _LEAST_PRICE = 4, 0.001
# Weights of the market and sector factors, drift and noise (daily), start price and its spread.
_PRICE_BEHAVIOURS = {
    "Stock": (1.0, 1.0, 0.0008, 0.016, 5.0, 1.3),
    "Bond": (0.08, 0.0, 0.0001, 0.0025, 100.0, 0.03),
    "MTF": (0.8, 0.0, 0.0003, 0.004, 15.0, 0.9),
    "MTF Bond": (0.1, 0.0, 0.0001, 0.0015, 12.0, 0.7),
    "MTF Balanced": (0.1, 0.0, 0.0001, 0.0015, 12.0, 0.7),
    "MTF Money Market": (0.0, 0.0, 0.00002, 0.0002, 10.0, 0.5),
}


@dataclass(frozen=True)
class SyntheticAsset:
    """One asset with the first and the last day of its prices; popularity 0: nobody trades it."""

    isin: str
    name: str
    short_name: str
    category: str
    sub_category: str
    market_id: str
    sector: str
    industry: str
    first_day: int = 0
    last_day: int = DAY_COUNT - 1
    popularity: float = 0.0

    @property
    def level(self) -> int:
        """The risk level, 1 to 3, as customers in the invented market see it."""
        if (self.category, self.sub_category) in {("Bond", "Government"), ("MTF", "Money Market")}:
            return 1
        return 2 if self.category == "Bond" or self.sub_category in {"Bond", "Balanced"} else 3

    def as_row(self, day: int) -> tuple[str, ...]:
        """Return a row of asset_information.csv, recorded on this day."""
        identity = (self.isin, self.name, self.short_name, self.category, self.sub_category)
        return (*identity, self.market_id, self.sector, self.industry, str(DAYS[day]))


def build_assets(sizes: Sizes, *, rng: Rng) -> list[SyntheticAsset]:
    """Return the assets, those that are traded first, by falling popularity."""
    pool = _build_kinds(sizes.assets, rng=rng)
    traded = _choose_traded(pool, sizes.traded_assets)
    chosen = {asset.isin for asset in traded}
    others = [asset for asset in pool if asset.isin not in chosen]
    return _give_series(_give_popularity(traded, rng=rng), others, sizes=sizes, rng=rng)


def build_asset_rows(assets: list[SyntheticAsset], row_count: int, *, rng: Rng) -> Iterator[tuple[str, ...]]:
    """Yield the rows of asset_information.csv; some assets have further rows with a later date and another name."""
    extra = np.bincount(rng.integers(len(assets), size=row_count - len(assets)), minlength=len(assets))
    for asset, later_versions in zip(assets, extra.tolist(), strict=True):
        yield asset.as_row(asset.first_day)
        for day in np.sort(rng.integers(asset.first_day + 1, DAY_COUNT, size=later_versions)).tolist():
            yield replace(asset, name=f"{asset.name} (CR)").as_row(day)


def _build_kinds(count: int, *, rng: Rng) -> list[SyntheticAsset]:
    counts = allocate(count, catalogue.CATEGORIES)
    sectors = allocate(counts["Stock"], catalogue.STOCK_SECTORS, floors=catalogue.STOCK_SECTOR_FLOORS)
    bonds = allocate(counts["Bond"], catalogue.BOND_KINDS)
    funds = allocate(counts["MTF"], catalogue.FUND_KINDS, floors=catalogue.FUND_KIND_FLOORS)
    kinds = [("Stock", "", sector) for sector in _repeat(sectors)]
    kinds += [("Bond", kind, "Sovereign" if kind == "Government" else "Corporate") for kind in _repeat(bonds)]
    kinds += [("MTF", kind, "") for kind in _repeat(funds)]
    names = catalogue.build_company_names(len(kinds), rng=rng)
    numbers = rng.choice(90_000_000, size=len(kinds), replace=False).tolist()
    return [_build_asset(*fields, rng=rng) for fields in zip(kinds, names, numbers, strict=True)]


def _repeat(counts: Mapping[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def _build_asset(kind: tuple[str, str, str], name: str, number: int, *, rng: Rng) -> SyntheticAsset:
    category, sub_category, sector = kind
    markets = catalogue.MARKETS_OF_CATEGORY[category]
    weights = np.array(list(markets.values()))
    market_id = list(markets)[rng.choice(len(weights), p=weights / weights.sum())]
    industries = catalogue.INDUSTRIES.get(sector, ("",))
    full_name = {
        "Stock": f"{name} S.A.",
        "Bond": f"{name} {1 + number % 7}.{number % 10}25% {2023 + number % 12}",
        "MTF": f"{name} {sub_category} Fund",
    }[category]
    return SyntheticAsset(
        isin=catalogue.build_isin(catalogue.ISIN_PREFIXES[market_id], number),
        name=full_name,
        short_name=catalogue.build_short_name(name, market_id),
        category=category,
        sub_category=sub_category,
        market_id=market_id,
        sector=sector,
        industry=industries[number % len(industries)],
    )


def _choose_traded(pool: list[SyntheticAsset], count: int) -> list[SyntheticAsset]:
    """Return the favourites, then assets of every kind in turn, those of the home markets first."""
    quotas = allocate(count, catalogue.TRADED_CATEGORIES)
    by_kind: dict[tuple[str, str, str], list[SyntheticAsset]] = {}
    for asset in sorted(pool, key=lambda asset: asset.market_id not in catalogue.HOME_MARKETS):
        by_kind.setdefault((asset.category, asset.sub_category, asset.sector), []).append(asset)
    chosen = [by_kind["Stock", "", sector].pop(0) for sector in catalogue.FAVOURITES]
    quotas["Stock"] -= len(chosen)
    for category, quota in quotas.items():
        groups = [assets for key, assets in by_kind.items() if key[0] == category]
        in_turn = [assets[turn] for turn in range(len(pool)) for assets in groups if turn < len(assets)]
        chosen += in_turn[:quota]
    return chosen


def _give_popularity(traded: list[SyntheticAsset], *, rng: Rng) -> list[SyntheticAsset]:
    """Keep the favourites first and shuffle the others; popularity falls by a power law."""
    head = len(catalogue.FAVOURITES)
    order = [*range(head), *(head + rng.permutation(len(traded) - head)).tolist()]
    weights = (np.arange(1, len(traded) + 1) + _POPULARITY_OFFSET) ** -_POPULARITY_EXPONENT
    return [replace(traded[place], popularity=float(w)) for place, w in zip(order, weights, strict=True)]


def _give_series(
    traded: list[SyntheticAsset], others: list[SyntheticAsset], *, sizes: Sizes, rng: Rng
) -> list[SyntheticAsset]:
    """Give each asset its first and last day, so that the number of prices is that of the scale."""
    assets = traded + others
    shape = rng.random(len(assets))
    is_traded = np.arange(len(assets)) < len(traded)
    lasts_whole = (shape < np.where(is_traded, 0.75, 0.2)) | (np.arange(len(assets)) < len(catalogue.FAVOURITES))
    to_the_end = np.array([asset.sector == "Technology" for asset in assets]) | (rng.random(len(assets)) < 0.6)
    lengths = np.where(is_traded, rng.integers(400, 1_200, len(assets)), rng.integers(60, 1_200, len(assets)))
    lengths[lasts_whole] = DAY_COUNT
    fixed = is_traded | lasts_whole
    lower = np.where(fixed, lengths, _SHORTEST_SERIES)
    upper = np.where(fixed, lengths, DAY_COUNT)
    lengths = settle(lengths, sizes.close_prices, lower=lower, upper=upper, rng=rng)
    first = np.where(to_the_end, DAY_COUNT - lengths, rng.integers(0, DAY_COUNT - lengths + 1))
    first = np.where(~to_the_end & (rng.random(len(assets)) < 0.6), 0, first)
    return [
        replace(asset, first_day=int(start), last_day=int(start + length - 1))
        for asset, start, length in zip(assets, first, lengths, strict=True)
    ]


def build_prices(assets: list[SyntheticAsset], *, rng: Rng) -> Floats:
    """Return close prices in euros, shape (assets, days); only those of an asset's own days have a meaning.

    A return is the sum of a market factor, a factor of the sector, a slow drift and noise.
    """
    behaviours = [
        _PRICE_BEHAVIOURS.get(f"{asset.category} {asset.sub_category}") or _PRICE_BEHAVIOURS[asset.category]
        for asset in assets
    ]
    market_weight, sector_weight, drift, noise, start, spread = np.array(behaviours).T
    sectors = sorted({asset.sector for asset in assets})
    sector_of = np.array([sectors.index(asset.sector) for asset in assets])
    market = _draw_market_factor(rng=rng)
    sector_factors = rng.normal(0.0, 0.007, (len(sectors), DAY_COUNT))
    beta = market_weight * rng.normal(1.0, 0.25, len(assets))
    noise = noise * rng.uniform(0.6, 1.5, len(assets))
    drifts = _draw_drifts(drift, rng=rng)
    returns = beta[:, None] * market + drifts + noise[:, None] * rng.standard_normal((len(assets), DAY_COUNT))
    returns += sector_weight[:, None] * sector_factors[sector_of]
    start = start * np.exp(spread * rng.standard_normal(len(assets)))
    prices: Floats = start[:, None] * np.exp(np.cumsum(returns, axis=1))
    return np.maximum(prices, _LEAST_PRICE).round(_DECIMALS)


def _draw_market_factor(*, rng: Rng) -> Floats:
    """Return daily returns with a fall in spring 2020, a recovery after it, and more noise meanwhile."""
    factor = rng.normal(0.0002, 0.009, DAY_COUNT)
    fall, turn, recovery = (find_day(text) for text in ("2020-02-20", "2020-03-24", "2020-06-10"))
    factor[fall:turn] = 2.5 * factor[fall:turn] - 0.015
    factor[turn:recovery] = 1.5 * factor[turn:recovery] + 0.004
    return factor


def _draw_drifts(scales: Floats, *, rng: Rng) -> Floats:
    """Return daily drifts, each constant for half a year and correlated with the next, so that past returns inform."""
    regime_count = -(-DAY_COUNT // _REGIME_DAYS)
    shocks = rng.standard_normal((len(scales), regime_count))
    make_persistent(shocks.T, _REGIME_PERSISTENCE)
    daily = np.repeat(shocks, _REGIME_DAYS, axis=1)[:, :DAY_COUNT]
    return scales[:, None] * daily
