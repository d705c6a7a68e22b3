"""Fit every signal of a configuration on what is known at a date."""

from __future__ import annotations

from collections.abc import MutableMapping, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.candidates import asset_risk_level, is_tradable
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.signal import Arrays, Signal
from shared.recommender.training_data import TrainingData, day_number
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

    The metadata get what signals measured of themselves, by signal, under "signals".
    `fitted` keeps the arrays of each signal for the next configuration that is fitted on the same data.
    """
    signals = _fit_signals(data, configuration, {} if fitted is None else fitted)
    levels = [asset_risk_level(asset.asset_category, asset.asset_sub_category) for asset in data.assets]
    return Model(
        version=version,
        as_of=data.as_of,
        id_map=data.id_map,
        configuration=configuration,
        signals=signals,
        asset_risk_level=np.array(levels, dtype=np.int8),
        tradable=tradable_assets(data),
        bought=(owners := owner_counts(data)) > 0,
        new=new_assets(data, configuration.list_rules.new_asset_days) & (owners == 0),
        sector=_sectors(data),
        tie_order=np.lexsort((-owners, -_last_priced(data))).astype(np.int32),
        metadata={**(metadata or {}), "signals": _figures(configuration, signals)},
    )


def tradable_assets(data: TrainingData) -> NDArray[np.bool_]:
    """Return (A,) whether each asset can be bought at `as_of`: within its published dates, else recently priced."""
    is_recent = _last_priced(data) >= data.last_day - RECENT_PRICE_DAYS
    tradable = [
        is_tradable(asset, data.as_of, has_recent_price=bool(recent))
        for asset, recent in zip(data.assets, is_recent, strict=True)
    ]
    return np.array(tradable, dtype=np.bool_)


def owner_counts(data: TrainingData) -> NDArray[np.int64]:
    """Return (A,) how many customers have bought each asset."""
    return np.bincount(data.owned_pairs()[:, 1], minlength=len(data.id_map))


def new_assets(data: TrainingData, days: int) -> NDArray[np.bool_]:
    """Return (A,) which assets were first priced, or first tradable, in the days up to `as_of`."""
    never = np.iinfo(np.int32).max
    first = np.full(len(data.id_map), never, dtype=np.int64)
    np.minimum.at(first, data.close_prices.asset_index, data.close_prices.day)
    listed = [day_number(asset.tradable_from) if asset.tradable_from else never for asset in data.assets]
    first = np.minimum(first, np.array(listed, dtype=np.int64))
    return np.asarray((first > data.last_day - days) & (first <= data.last_day))


def _last_priced(data: TrainingData) -> NDArray[np.int64]:
    """Return (A,) the day of each asset's last close price, very early without one."""
    last_priced = np.full(len(data.id_map), np.iinfo(np.int32).min, dtype=np.int64)
    np.maximum.at(last_priced, data.close_prices.asset_index, data.close_prices.day)
    return last_priced


def _sectors(data: TrainingData) -> NDArray[np.int16]:
    numbers = {name: number for number, name in enumerate(sorted({a.sector for a in data.assets if a.sector}))}
    return np.array([numbers.get(asset.sector or "", NO_SECTOR) for asset in data.assets], dtype=np.int16)


def _fit_signals(data: TrainingData, configuration: ModelConfiguration, fitted: FittedSignals) -> dict[str, Arrays]:
    weights, seed = configuration.interaction_weights, configuration.seed
    weighted = data if data.interaction_weights == weights else replace(data, interaction_weights=weights)
    keys = {  # these two are for scoring alone
        signal.name: (replace(signal, weight=1.0, portfolio_power=0.0), weights, seed)
        for signal in configuration.signals()
    }
    missing = [signal for signal in configuration.signals() if keys[signal.name] not in fitted]
    if data.engine is None:
        arrays: Sequence[Arrays] = [signal.fit(weighted, random_state=seed) for signal in missing]
    else:
        arrays = data.engine.fit_signals(missing, weighted, random_state=seed)
    fitted.update(zip((keys[signal.name] for signal in missing), arrays, strict=True))
    return {name: fitted[key] for name, key in keys.items()}


def _figures(configuration: ModelConfiguration, arrays: dict[str, Arrays]) -> dict[str, Any]:
    figures = {signal.name: signal.figures(arrays[signal.name]) for signal in configuration.signals()}
    return {name: of_signal for name, of_signal in figures.items() if of_signal}
