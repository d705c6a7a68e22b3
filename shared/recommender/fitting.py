"""Fit every signal of a configuration on what is known at a date."""

from __future__ import annotations

from collections.abc import MutableMapping
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import asset_risk_level, is_tradable
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.model import Model
from shared.recommender.signal import Arrays, Signal
from shared.recommender.training_data import TrainingData
from shared.recommender.types import InteractionWeights

RECENT_PRICE_DAYS = 30  # an asset without published dates is tradable this long after its last price

FittedSignals = MutableMapping[tuple[Signal, InteractionWeights, int], Arrays]


def fit_model(
    data: TrainingData,
    configuration: ModelConfiguration,
    *,
    version: str,
    metadata: dict[str, Any] | None = None,
    fitted: FittedSignals | None = None,
) -> Model:
    """Fit a configuration on all of `data`; cut the data off first (`TrainingData.known_at`).

    `fitted` keeps the arrays of each signal for the next configuration that is fitted on the same data.
    """
    levels = [asset_risk_level(asset.asset_category, asset.asset_sub_category) for asset in data.assets]
    return Model(
        version=version,
        as_of=data.as_of,
        id_map=data.id_map,
        configuration=configuration,
        signals=_fit_signals(data, configuration, {} if fitted is None else fitted),
        asset_risk_level=np.array(levels, dtype=np.int8),
        tradable=tradable_assets(data),
        bought=np.bincount(data.purchases.asset_index, minlength=len(data.id_map)) > 0,
        metadata=metadata or {},
    )


def tradable_assets(data: TrainingData) -> NDArray[np.bool_]:
    """Return (A,) whether each asset can be bought at `as_of`: within its published dates, else recently priced."""
    last_priced = np.full(len(data.id_map), np.iinfo(np.int32).min, dtype=np.int64)
    np.maximum.at(last_priced, data.close_prices.asset_index, data.close_prices.day)
    is_recent = last_priced >= data.last_day - RECENT_PRICE_DAYS
    tradable = [
        is_tradable(asset, data.as_of, has_recent_price=bool(recent))
        for asset, recent in zip(data.assets, is_recent, strict=True)
    ]
    return np.array(tradable, dtype=np.bool_)


def _fit_signals(data: TrainingData, configuration: ModelConfiguration, fitted: FittedSignals) -> dict[str, Arrays]:
    weights, seed = configuration.interaction_weights, configuration.seed
    weighted = data if data.interaction_weights == weights else replace(data, interaction_weights=weights)
    signals = {}
    for signal in configuration.signals():
        key = replace(signal, weight=1.0, portfolio_power=0.0), weights, seed  # these two are for scoring alone
        if key not in fitted:
            fitted[key] = signal.fit(weighted, random_state=seed)
        signals[signal.name] = fitted[key]
    return signals
