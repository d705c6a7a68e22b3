"""Invented assets: what they are, when they have prices, and how much customers want them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

import numpy as np

from shared.far_trans.synthetic import catalogue
from shared.far_trans.synthetic.calendar import DAY_COUNT, date_text
from shared.far_trans.synthetic.names import build_company_names, build_greek_short_name, build_isin
from shared.far_trans.synthetic.quotas import allocate, settle
from shared.far_trans.synthetic.sizes import Sizes

_SHORTEST_SERIES = 30
_POPULARITY_OFFSET, _POPULARITY_EXPONENT = 2.0, 1.35


@dataclass(frozen=True)
class SyntheticAsset:
    """One asset; days are positions in the calendar, both included; popularity 0: nobody trades it."""

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
        return catalogue.get_asset_level(self.category, self.sub_category)

    def as_row(self, recorded_on: str) -> tuple[str, ...]:
        """Return the fields in the order of the published file."""
        identity = (self.isin, self.name, self.short_name, self.category, self.sub_category)
        return (*identity, self.market_id, self.sector, self.industry, recorded_on)


def build_assets(sizes: Sizes, *, rng: np.random.Generator) -> list[SyntheticAsset]:
    """Return the assets, those that are traded first, by falling popularity."""
    pool = _build_kinds(sizes.assets, rng=rng)
    traded = _choose_traded(pool, sizes.traded_assets)
    chosen = {asset.isin for asset in traded}
    others = [asset for asset in pool if asset.isin not in chosen]
    return _give_series(_give_popularity(traded, rng=rng), others, sizes=sizes, rng=rng)


def build_version_rows(
    assets: list[SyntheticAsset], version_count: int, *, rng: np.random.Generator
) -> Iterator[tuple[str, ...]]:
    """Yield the rows of asset_information.csv; some assets come again later, renamed."""
    extra = np.bincount(rng.integers(len(assets), size=version_count - len(assets)), minlength=len(assets))
    for asset, later_versions in zip(assets, extra.tolist(), strict=True):
        yield asset.as_row(date_text(asset.first_day))
        days = np.sort(rng.integers(asset.first_day + 1, DAY_COUNT, size=later_versions)).tolist()
        for day in days:
            yield replace(asset, name=f"{asset.name} (CR)").as_row(date_text(day))


def _build_kinds(count: int, *, rng: np.random.Generator) -> list[SyntheticAsset]:
    counts = allocate(count, catalogue.CATEGORIES)
    sectors = allocate(counts["Stock"], catalogue.STOCK_SECTORS, floors=catalogue.STOCK_SECTOR_FLOORS)
    bonds = allocate(counts["Bond"], catalogue.BOND_KINDS)
    funds = allocate(counts["MTF"], catalogue.FUND_KINDS, floors=catalogue.FUND_KIND_FLOORS)
    kinds = [("Stock", "", sector) for sector, number in sectors.items() for _ in range(number)]
    kinds += [("Bond", kind, "Sovereign" if kind == "Government" else "Corporate") for kind in _repeat(bonds)]
    kinds += [("MTF", kind, "") for kind in _repeat(funds)]
    names = build_company_names(len(kinds), rng=rng)
    numbers = rng.choice(90_000_000, size=len(kinds), replace=False).tolist()
    return [
        _build_asset(kind, name=name, number=number, rng=rng)
        for kind, name, number in zip(kinds, names, numbers, strict=True)
    ]


def _repeat(counts: Mapping[str, int]) -> list[str]:
    return [name for name, count in counts.items() for _ in range(count)]


def _build_asset(kind: tuple[str, str, str], *, name: str, number: int, rng: np.random.Generator) -> SyntheticAsset:
    category, sub_category, sector = kind
    markets = {
        "Stock": catalogue.STOCK_MARKETS,
        "Bond": catalogue.BOND_MARKETS,
        "MTF": catalogue.FUND_MARKETS,
    }[category]
    market = _choose(markets, rng=rng)
    industries = catalogue.INDUSTRIES.get(sector, ("",))
    full_name = {
        "Stock": f"{name} S.A.",
        "Bond": f"{name} {1 + number % 7}.{number % 10}25% {2023 + number % 12}",
        "MTF": f"{name} {sub_category} Fund",
    }[category]
    short_name = build_greek_short_name(name) if market == "XATH" else name.upper()[:6]
    return SyntheticAsset(
        isin=build_isin(catalogue.ISIN_PREFIXES[market], number),
        name=full_name,
        short_name=short_name,
        category=category,
        sub_category=sub_category,
        market_id=market,
        sector=sector,
        industry=industries[number % len(industries)],
    )


def _choose(weights: Mapping[str, float], *, rng: np.random.Generator) -> str:
    shares = np.array(list(weights.values()))
    return list(weights)[int(rng.choice(len(shares), p=shares / shares.sum()))]


def _choose_traded(pool: list[SyntheticAsset], count: int) -> list[SyntheticAsset]:
    """Return the favourites, then assets of every kind in turn, those of the home markets first."""
    quotas = allocate(count, catalogue.TRADED_CATEGORIES)
    by_sector: dict[tuple[str, str, str], list[SyntheticAsset]] = {}
    for asset in sorted(pool, key=lambda asset: asset.market_id not in catalogue.HOME_MARKETS):
        by_sector.setdefault((asset.category, asset.sub_category, asset.sector), []).append(asset)
    favourites = [by_sector["Stock", "", sector].pop(0) for sector in catalogue.FAVOURITES]
    chosen = list(favourites)
    quotas["Stock"] -= len(favourites)
    for category, quota in quotas.items():
        groups = [assets for key, assets in by_sector.items() if key[0] == category]
        in_turn = [assets[turn] for turn in range(len(pool)) for assets in groups if turn < len(assets)]
        chosen += in_turn[:quota]
    return chosen


def _give_popularity(traded: list[SyntheticAsset], *, rng: np.random.Generator) -> list[SyntheticAsset]:
    """Favourites stay in front; the others follow in random order, on a falling power law."""
    head = len(catalogue.FAVOURITES)
    order = [*range(head), *(head + rng.permutation(len(traded) - head)).tolist()]
    weights = (np.arange(1, len(traded) + 1) + _POPULARITY_OFFSET) ** -_POPULARITY_EXPONENT
    return [replace(traded[place], popularity=float(w)) for place, w in zip(order, weights, strict=True)]


def _give_series(
    traded: list[SyntheticAsset], others: list[SyntheticAsset], *, sizes: Sizes, rng: np.random.Generator
) -> list[SyntheticAsset]:
    """Give each asset its first and last day, so that the prices are exactly as many as wanted."""
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
