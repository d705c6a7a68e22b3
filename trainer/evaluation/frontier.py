"""What a higher weight of profitability costs and brings: the lists of one model at eleven settings.

Each setting is measured on the window that the model's figures are reported on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.alternatives import recommend_alternatives
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.list_rules import NO_ASSET
from shared.recommender.model import Model
from shared.recommender.types import Weights
from trainer.evaluation.bootstrap import interval_95
from trainer.evaluation.metrics import Lists, RelevantAssets
from trainer.evaluation.splits import TemporalSplit, annual_volatility
from trainer.evaluation.weights import with_profitability_share

SETTINGS = tuple(step / 10 for step in range(11))  # shares of profitability in the whole
# A preset may lose so much of the best nDCG; the best return may lose everything.
BALANCED_NDCG, LOW_VOLATILITY_NDCG = 0.95, 0.5


@dataclass(frozen=True)
class FrontierPoint:
    """The lists at one setting. Means over customers, None where nothing is known.

    roi_above_market: monthly return of the listed assets minus the mean of all candidates' known returns.
    volatility: of the listed assets, annual, from prices known at the cutoff. turnover: share of the places that the
    lists with the model's own weights do not have.
    """

    weights: Weights
    ndcg_at_10: float
    ndcg_interval_95: tuple[float, float] | None
    roi_above_market: float | None
    roi_interval_95: tuple[float, float] | None
    volatility: float | None
    turnover: float

    def to_json(self) -> dict[str, Any]:
        """Return plain rounded values."""
        return {
            "weights": {name: round(value, 6) for name, value in vars(self.weights).items()},
            "ndcg_at_10": round(self.ndcg_at_10, 6),
            "ndcg_interval_95": _rounded(self.ndcg_interval_95),
            "roi_above_market": None if self.roi_above_market is None else round(self.roi_above_market, 6),
            "roi_interval_95": _rounded(self.roi_interval_95),
            "volatility": None if self.volatility is None else round(self.volatility, 6),
            "turnover": round(self.turnover, 6),
        }


def measure_frontier(
    model: Model, split: TemporalSplit, *, lists: Sequence[Lists] | None = None
) -> list[FrontierPoint]:
    """Return one point for each of SETTINGS, from no weight of profitability to nothing else; suitability included.

    `lists`: what the model gives with each of `frontier_configurations`, if it is known.
    """
    configurations = frontier_configurations(model.configuration)
    today, *lists = lists or recommend_alternatives(
        model, split.histories, configurations=configurations, now=split.training.now
    )
    volatility, relevant = annual_volatility(split.training), RelevantAssets(split.relevant)
    market = split.monthly_returns[model.tradable & np.isfinite(split.monthly_returns)]
    above_market = split.monthly_returns - (market.mean() if len(market) else np.nan)
    return [
        _point(configuration, found, today, relevant=relevant, above_market=above_market, volatility=volatility)
        for configuration, found in zip(configurations[1:], lists, strict=True)
    ]


def frontier_configurations(configuration: ModelConfiguration) -> list[ModelConfiguration]:
    """Return the configuration itself, then one for each of SETTINGS."""
    return [configuration, *(with_profitability_share(configuration, share) for share in SETTINGS)]


def choose_presets(points: Sequence[FrontierPoint]) -> dict[str, Weights]:
    """Return the weights of each preset, by what was measured.

    popular: the highest nDCG. balanced: the highest return of the points with most of that nDCG. return: the highest
    return. low_volatility: the lowest volatility of the points with half of that nDCG. A preset whose figure is not
    known at any point has the weights of `popular`.
    """
    popular = max(points, key=lambda point: point.ndcg_at_10)

    def best(least_ndcg: float, figure: str, sign: float) -> Weights:
        known = [
            point
            for point in points
            if getattr(point, figure) is not None and point.ndcg_at_10 >= least_ndcg * popular.ndcg_at_10
        ]
        return max(known, key=lambda point: sign * float(getattr(point, figure)), default=popular).weights

    return {
        "popular": popular.weights,
        "balanced": best(BALANCED_NDCG, "roi_above_market", 1.0),
        "return": best(0.0, "roi_above_market", 1.0),
        "low_volatility": best(LOW_VOLATILITY_NDCG, "volatility", -1.0),
    }


def frontier_to_json(points: Sequence[FrontierPoint]) -> dict[str, Any]:
    """Return what the manifest and `model_versions.metrics` keep."""
    presets = {name: vars(weights) for name, weights in choose_presets(points).items()}
    return {"points": [point.to_json() for point in points], "presets": presets}


def _point(
    configuration: ModelConfiguration,
    lists: Lists,
    today: Lists,
    *,
    relevant: RelevantAssets,
    above_market: NDArray[np.float64],
    volatility: NDArray[np.float64],
) -> FrontierPoint:
    ndcg = relevant.ndcg(lists)
    returns, risks = (_means_of_rows(lists, values) for values in (above_market, volatility))
    listed = lists != NO_ASSET
    kept = ((lists[:, :, np.newaxis] == today[:, np.newaxis]).any(axis=2) & listed).sum()
    places = listed.sum()
    return FrontierPoint(
        weights=configuration.weights.normalised(),
        ndcg_at_10=float(ndcg.mean()),
        ndcg_interval_95=interval_95(ndcg),
        roi_above_market=float(returns.mean()) if len(returns) else None,
        roi_interval_95=interval_95(returns),
        volatility=float(risks.mean()) if len(risks) else None,
        turnover=float(1.0 - kept / places) if places else 0.0,
    )


def _means_of_rows(lists: Lists, values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return the mean of the known values of each list that has any."""
    of_places = np.where(lists == NO_ASSET, np.nan, values[lists])
    known = np.isfinite(of_places)
    counts = known.sum(axis=1)
    return np.asarray(np.where(known, of_places, 0.0).sum(axis=1)[counts > 0] / counts[counts > 0])


def _rounded(interval: tuple[float, float] | None) -> list[float] | None:
    return None if interval is None else [round(end, 6) for end in interval]
