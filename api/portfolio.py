"""What a list does to a portfolio: its figures with and without the assets of the list (decision 59)."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date, timedelta

import numpy as np
from numpy.typing import NDArray

from shared.recommender.types import RiskLevel

WINDOW_DAYS = 365  # of prices, up to the date of the model
TRADING_DAYS = 252  # of a year, to annualise
LEAST_RETURNS = 20  # of days, for a volatility
MOST_ASSETS = 1_000  # with prices that are read for one portfolio

Prices = Mapping[date, float]


@dataclass(frozen=True)
class PortfolioAsset:
    """An asset of the catalogue of today. prices: close prices by day; those outside of the window are not used."""

    sector: str | None = None
    risk_level: RiskLevel | None = None
    prices: Prices = field(default_factory=dict)


@dataclass(frozen=True)
class ListOrigin:
    """What a stored list was made from. as_of: the date of its model, None where unknown.

    made_on: its day (UTC). sequence: the customer's last interaction, order or profile that it knew; None in old rows.
    """

    as_of: date | None
    made_on: date
    sequence: int | None
    customer_risk_level: RiskLevel | None


@dataclass(frozen=True)
class Portfolio:
    """What a customer held when a list was made, and the assets of the list, by ISIN."""

    origin: ListOrigin
    held: Mapping[str, PortfolioAsset]
    listed: Mapping[str, PortfolioAsset]

    def measure(self) -> tuple[PortfolioFigures, PortfolioFigures]:
        """Return the figures without and with the assets of the list."""
        as_of, accepted = self.origin.as_of, self.origin.customer_risk_level or RiskLevel.CONSERVATIVE
        before, after = [*self.held.values()], [*{**self.held, **self.listed}.values()]
        return (
            measure_portfolio(before, as_of=as_of, accepted=accepted),
            measure_portfolio(after, as_of=as_of, accepted=accepted),
        )


@dataclass(frozen=True)
class PortfolioFigures:
    """Figures of assets with equal weights; None where there are no assets, or too few prices.

    priced: how many assets the volatility rests on. volatility: annualised deviation of daily returns. sector_hhi: in
    (0, 1], an asset without a sector is one of its own. share_above_profile: of the assets, by their risk levels.
    """

    assets: int
    priced: int = 0
    volatility: float | None = None
    sector_hhi: float | None = None
    share_above_profile: float | None = None


def measure_portfolio(assets: Sequence[PortfolioAsset], *, as_of: date | None, accepted: RiskLevel) -> PortfolioFigures:
    """Return the figures of these assets, from prices up to `as_of` alone. accepted: the highest level of the profile.

    An asset that left the catalogue has no risk level and counts as above the profile: nobody can say that it is not.
    """
    if not assets:
        return PortfolioFigures(0)
    series = [] if as_of is None else [one for asset in assets if (one := _in_window(asset.prices, as_of))]
    above = sum(asset.risk_level is None or asset.risk_level > accepted for asset in assets)
    return PortfolioFigures(
        assets=len(assets),
        priced=len(series),
        volatility=measure_volatility(series),
        sector_hhi=_sector_hhi([asset.sector for asset in assets]),
        share_above_profile=above / len(assets),
    )


def measure_volatility(series: Collection[Prices]) -> float | None:
    """Return the annualised deviation of the daily returns of these assets; None for fewer than LEAST_RETURNS days.

    The days are those on which any asset has a price. An asset without one keeps its last price, and counts from its
    first one on. Each day starts with equal weights.
    """
    days = sorted(set().union(*series)) if series else []
    if len(days) <= LEAST_RETURNS:
        return None
    prices = np.full((len(days), len(series)), np.nan)
    places = {day: place for place, day in enumerate(days)}
    for column, one in enumerate(series):
        prices[[places[day] for day in one], column] = list(one.values())
    returns = _daily_returns(_carried_forward(prices))
    if len(returns) < LEAST_RETURNS:
        return None
    return float(np.std(returns, ddof=1) * np.sqrt(TRADING_DAYS))


def _in_window(prices: Prices, as_of: date) -> Prices:
    """Return the prices of the window; none where they are fewer than two."""
    first = as_of - timedelta(days=WINDOW_DAYS)
    known = {day: price for day, price in prices.items() if first <= day <= as_of}
    return known if len(known) > 1 else {}


def _carried_forward(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return (D, N) prices with the last known one in each gap; NaN before the first."""
    rows = np.where(np.isnan(prices), 0, np.arange(len(prices))[:, np.newaxis])
    return np.asarray(np.take_along_axis(prices, np.maximum.accumulate(rows, axis=0), axis=0))


def _daily_returns(prices: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean return of the assets that have one, for each day on which any has."""
    returns = prices[1:] / prices[:-1] - 1.0
    known = ~np.isnan(returns)
    counts = known.sum(axis=1)
    sums = np.where(known, returns, 0.0).sum(axis=1)
    return np.asarray(sums[counts > 0] / counts[counts > 0])


def _sector_hhi(sectors: Sequence[str | None]) -> float:
    """Return the sum of the squares of the shares of the sectors."""
    counts = Counter(sector for sector in sectors if sector)
    alone = len(sectors) - counts.total()
    return (sum(count**2 for count in counts.values()) + alone) / len(sectors) ** 2
