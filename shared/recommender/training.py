"""Fit every component of a model on what is known at a date."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import asset_risk_level, is_tradable
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.content import fit_content_similarity
from shared.recommender.dataset import TrainingData, day_number
from shared.recommender.demand import find_demand
from shared.recommender.histories import build_histories
from shared.recommender.history import build_history_matrix
from shared.recommender.item_similarity import FOLLOW_DEMAND, fit_asset_similarity
from shared.recommender.model import Model
from shared.recommender.next_purchase import fit_next_purchase
from shared.recommender.portfolio_mix import asset_groups, fit_portfolio_mix
from shared.recommender.price_grid import build_price_grid
from shared.recommender.priors import fit_segment_priors
from shared.recommender.profitability import predict_returns
from shared.recommender.trend import fit_trend

RECENT_PRICE_DAYS = 30  # an asset without published dates is tradable this long after its last price


@dataclass(frozen=True)
class SharedComponents:
    """What all candidates at one cutoff have in common: everything but the collaborative part."""

    content_similarity: NDArray[np.float32]
    predicted_return: NDArray[np.float32]
    segment_priors: NDArray[np.float32]
    asset_risk_level: NDArray[np.int8]
    tradable: NDArray[np.bool_]
    demand: DemandSignals


@dataclass(frozen=True)
class DemandSignals:
    """What purchases say besides taste: the arrays of the same names of a model."""

    next_purchase: NDArray[np.float32]
    next_purchase_intercept: NDArray[np.float32]
    portfolio_mix_prior: NDArray[np.float32]
    asset_group: NDArray[np.int8]
    trend: NDArray[np.float32]

    def without_signals(self) -> DemandSignals:
        """Return the same with nothing fitted, for algorithms that are taste alone."""
        return replace(
            self,
            next_purchase=np.zeros_like(self.next_purchase),
            next_purchase_intercept=np.zeros_like(self.next_purchase_intercept),
            portfolio_mix_prior=np.zeros_like(self.portfolio_mix_prior),
            trend=np.zeros_like(self.trend),
        )


def fit_model(
    data: TrainingData,
    configuration: ModelConfiguration,
    *,
    version: str,
    components: SharedComponents | None = None,
    metadata: dict[str, Any] | None = None,
) -> Model:
    """Fit one candidate on all of `data`; cut it off first (`TrainingData.known_at`)."""
    shared = components or fit_shared_components(data, seed=configuration.seed)
    history = build_history_matrix(
        data.id_map, build_histories(data), interaction_weights=configuration.interaction_weights, now=data.now
    )
    similarity = fit_asset_similarity(history, configuration)
    follows_demand = configuration.algorithm in FOLLOW_DEMAND
    demand = shared.demand if follows_demand else shared.demand.without_signals()
    return Model(
        version=version,
        algorithm=configuration.algorithm,
        as_of=data.as_of,
        id_map=data.id_map,
        asset_similarity=similarity,
        content_similarity=shared.content_similarity,
        predicted_return=shared.predicted_return,
        asset_risk_level=shared.asset_risk_level,
        tradable=shared.tradable,
        segment_priors=shared.segment_priors,
        **vars(demand),
        weights=configuration.weights,
        interaction_weights=configuration.interaction_weights,
        metadata=metadata or {},
    )


def fit_shared_components(data: TrainingData, *, seed: int) -> SharedComponents:
    """Fit what does not depend on the collaborative algorithm."""
    asset_count, last_day = len(data.id_map), day_number(data.as_of)
    grid = build_price_grid(data.close_prices, asset_count=asset_count, last_day=last_day)
    return SharedComponents(
        content_similarity=fit_content_similarity(data.assets, grid),
        predicted_return=predict_returns(grid, seed=seed),
        segment_priors=fit_segment_priors(data.purchases, data.customers, asset_count=asset_count, last_day=last_day),
        asset_risk_level=np.array(
            [asset_risk_level(a.asset_category, a.asset_sub_category) for a in data.assets], dtype=np.int8
        ),
        tradable=tradable_assets(data),
        demand=fit_demand_signals(data),
    )


def fit_demand_signals(data: TrainingData) -> DemandSignals:
    """Fit what is bought next, by holders of which kinds of assets, and in the last days, from first purchases."""
    asset_count, last_day = len(data.id_map), day_number(data.as_of)
    demand = find_demand(data.purchases, asset_count=asset_count)
    groups = asset_groups(data.assets)
    matrix, intercept = fit_next_purchase(demand, asset_count=asset_count, last_day=last_day)
    return DemandSignals(
        next_purchase=matrix,
        next_purchase_intercept=intercept,
        portfolio_mix_prior=fit_portfolio_mix(demand, groups, last_day=last_day),
        asset_group=groups,
        trend=fit_trend(demand, asset_count=asset_count, last_day=last_day),
    )


def tradable_assets(data: TrainingData) -> NDArray[np.bool_]:
    """Return (A,) whether each asset can be bought at `as_of`: within its published dates, else recently priced."""
    last_priced = np.full(len(data.id_map), np.iinfo(np.int32).min, dtype=np.int64)
    np.maximum.at(last_priced, data.close_prices.asset_index, data.close_prices.day)
    recent = last_priced >= day_number(data.as_of) - RECENT_PRICE_DAYS
    return np.array(
        [
            is_tradable(asset, data.as_of, has_recent_price=bool(priced))
            for asset, priced in zip(data.assets, recent, strict=True)
        ],
        dtype=np.bool_,
    )
