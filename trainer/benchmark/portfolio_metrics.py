"""Risk and return of the ten and of the customer's portfolio before and after adding them, all in equal weights.

The first buys do not say what was paid, so every owned asset weighs the same. Volatility and Sharpe ratio come from
prices known at the time point (`past_returns`), realised figures from the returns after it.
"""

from __future__ import annotations

import numpy as np
from scipy import sparse

from shared.recommender.list_rules import NO_ASSET
from trainer.benchmark.ground_truth import Figures, GroundTruth, Mask, row_means
from trainer.benchmark.known import Lists
from trainer.benchmark.past_returns import pool

MONTHS = 12.0
BEFORE_AND_AFTER = ("portfolio_sharpe", "asset_hhi", "sector_hhi")
PORTFOLIO_METRICS = (
    *("volatility", "sharpe", "known_price_share", "realised_sharpe", "realised_spread"),
    *(f"{name}_{when}" for name in BEFORE_AND_AFTER for when in ("before", "after")),
    *("portfolio_known_price_share", "portfolio_known_sector_share"),
)


def portfolio_metrics(lists: Lists, truth: GroundTruth) -> dict[str, Figures]:
    """Return (B,) PORTFOLIO_METRICS of (B, K) lists, NaN where one does not exist.

    known_price_share: of the ten, with enough prices; the volatility needs half of them. realised_sharpe: twelve times
    the mean monthly return after the time point by the volatility known at it. realised_spread: the sample deviation of
    those monthly returns within the list (one return an asset has no volatility). X_before and X_after exist for the
    same customers. portfolio_known_*_share: of owned assets and the ten together.
    """
    membership = membership_of(lists, truth.known.shape[1])
    ten = pool(membership, truth.past_returns)
    owned = truth.derived("owned", lambda: truth.known.holdings[truth.customers])
    before = truth.derived("owned returns", lambda: pool(owned, truth.past_returns))
    after = before + ten
    volatility, returns = ten.portfolio_volatility(), truth.at_places(truth.returns, lists)
    pairs = {
        "portfolio_sharpe": (before.sharpe(), after.sharpe()),
        "asset_hhi": (hhi_of_equal(before.assets), hhi_of_equal(after.assets)),
        "sector_hhi": _sector_hhi(owned, membership, truth),
    }
    return {
        "volatility": volatility,
        "sharpe": ten.sharpe(),
        "known_price_share": _ratio(ten.known, ten.assets),
        "realised_sharpe": _ratio(MONTHS * row_means(returns), volatility),
        "realised_spread": _row_deviations(returns),
        **_before_and_after(pairs, listed=ten.assets > 0),
        "portfolio_known_price_share": _ratio(after.known, after.assets),
        "portfolio_known_sector_share": _ratio((owned + membership) @ _sectors(truth).sum(axis=1), after.assets),
    }


def membership_of(lists: Lists, asset_count: int) -> sparse.csr_array:
    """Return (B, A) 1.0 where a list has the asset."""
    listed = lists != NO_ASSET
    ends = np.concatenate([[0], np.cumsum(listed.sum(axis=1))])
    shape = (len(lists), asset_count)
    return sparse.csr_array((np.ones(int(ends[-1])), lists[listed], ends), shape=shape)


def hhi(counts: Figures) -> Figures:
    """Return (B,) Herfindahl-Hirschman indices of (B, S) holdings by group: the sum of squared shares, NaN without any.

    1 where all is in one group, 1 / n where n groups hold the same.
    """
    totals = counts.sum(axis=1)
    return _ratio((counts**2).sum(axis=1), totals**2)


def hhi_of_equal(assets: Figures) -> Figures:
    """Return (B,) the index of so many assets in equal weights, NaN without any."""
    return _ratio(np.ones_like(assets), assets)


def _sector_hhi(owned: sparse.csr_array, membership: sparse.csr_array, truth: GroundTruth) -> tuple[Figures, Figures]:
    """Return the index by sector over the assets whose sector is known, before and after."""
    sectors = _sectors(truth)
    before = truth.derived("owned sectors", lambda: owned @ sectors)
    return hhi(before), hhi(before + membership @ sectors)


def _sectors(truth: GroundTruth) -> Figures:
    """Return (A, S) 1.0 where an asset is of the sector; a row without any where the sector is not known."""
    return truth.derived("sectors", lambda: _build_sectors(truth))


def _build_sectors(truth: GroundTruth) -> Figures:
    of_assets = [asset.sector for asset in truth.known.training.assets]
    names = sorted({sector for sector in of_assets if sector})
    return np.array([[float(sector == name) for name in names] for sector in of_assets]).reshape(len(of_assets), -1)


def _before_and_after(pairs: dict[str, tuple[Figures, Figures]], *, listed: Mask) -> dict[str, Figures]:
    """Return both figures of each pair where both exist, NaN elsewhere: their means are of the same customers."""
    figures = {}
    for name, (before, after) in pairs.items():
        exist = np.isfinite(before) & np.isfinite(after) & listed
        figures[f"{name}_before"] = np.where(exist, before, np.nan)
        figures[f"{name}_after"] = np.where(exist, after, np.nan)
    return figures


def _row_deviations(values: Figures) -> Figures:
    """Return (B,) sample deviations of the known values of each row, NaN below two."""
    known = np.isfinite(values)
    squares = np.where(known, (values - row_means(values)[:, np.newaxis]) ** 2, 0.0).sum(axis=1)
    degrees = known.sum(axis=1) - 1
    return np.sqrt(_ratio(squares, np.maximum(degrees, 0).astype(np.float64)))


def _ratio(numerators: Figures, denominators: Figures) -> Figures:
    """Return the quotients, NaN where the denominator is not above 0."""
    quotients: Figures = np.divide(
        numerators, denominators, out=np.full(len(numerators), np.nan), where=denominators > 0
    )
    return quotients
