"""Small valid objects of the domain for tests; every argument has a default, so a test names only what it is about."""

from __future__ import annotations

import logging
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.logging import REPEAT_SECONDS, RepetitionFilter
from shared.recommender.configuration import COMPONENTS, build_configuration
from shared.recommender.id_map import AssetIdMap
from shared.recommender.model import NO_SECTOR, Model
from shared.recommender.pipeline import TopAssets
from shared.recommender.signal import Arrays
from shared.recommender.signals.portfolio_mix import MIX_COUNT, AssetGroup
from shared.recommender.types import (
    DEFAULT_INTERACTION_WEIGHTS,
    SEGMENT_COUNT,
    Asset,
    Contributions,
    Customer,
    CustomerHistory,
    Interaction,
    InteractionType,
    InteractionWeights,
    InvestmentCapacity,
    RiskLevel,
    Weights,
)

NOW = datetime(2022, 11, 29, 12, 0, tzinfo=UTC)
AS_OF = date(2022, 11, 29)


def build_isins(count: int) -> tuple[str, ...]:
    """Build ISINs in ascending order; position = asset index."""
    return tuple(f"GRS{index:09d}" for index in range(count))


def build_model(
    *,
    seed: int = 7,
    assets: int = 20,
    weights: Weights = Weights(0.5, 0.2, 0.3),  # noqa: B008 - frozen
    interaction_weights: InteractionWeights = DEFAULT_INTERACTION_WEIGHTS,
    arrays: Mapping[str, NDArray[Any]] | None = None,
    **overrides: Any,
) -> Model:
    """Build a random valid model with the signals of ease_next_purchase: mixed risk levels, most assets tradable.

    `arrays`: other arrays of signals, by "signal.array"; any field of the model can be given as well.
    """
    random = np.random.default_rng(seed)
    similarity, content = _similarity(random, assets), np.abs(_similarity(random, assets))
    predicted_return = random.normal(0.05, 0.2, assets).astype(np.float32)
    fields: dict[str, Any] = {
        "version": f"v{seed}-{assets}",
        "as_of": AS_OF,
        "id_map": AssetIdMap(build_isins(assets)),
        "configuration": build_configuration(
            "ease_next_purchase", weights=weights, interaction_weights=interaction_weights, seed=seed
        ),
        "asset_risk_level": random.integers(1, 4, assets).astype(np.int8),
        "tradable": random.random(assets) < 0.9,
        "bought": np.ones(assets, dtype=np.bool_),
        "new": np.zeros(assets, dtype=np.bool_),
        "sector": np.full(assets, NO_SECTOR, dtype=np.int16),
        "tie_order": np.arange(assets, dtype=np.int32),
        "signals": {
            "item_item": {"similarity": similarity},
            "edlae": {"similarity": _similarity(random, assets)},
            "content": {"similarity": content},
            "profitability": {
                "predicted_return": predicted_return,
                "known": np.ones(assets, dtype=np.bool_),
                "validation": np.array([0.1, -0.2, 0.4, 12.0], dtype=np.float32),
            },
            "segment_prior": {"popularity": random.random((SEGMENT_COUNT, assets)).astype(np.float32)},
            "next_purchase": {
                "matrix": _similarity(random, assets),
                "intercept": random.normal(0.1, 0.1, assets).astype(np.float32),
            },
            "portfolio_mix": {
                "log_shares": random.random((MIX_COUNT, assets)).astype(np.float32),
                "asset_group": random.choice(list(AssetGroup), assets).astype(np.int8),
            },
            "trend": {"log_shares": random.random(assets).astype(np.float32)},
            "popularity": {"log_shares": random.random(assets).astype(np.float32)},
            "basket": {"similarity": _similarity(random, assets)},
            "residual_next_purchase": {"similarity": _similarity(random, assets)},
            "fund_preference": {"is_fund": (random.random(assets) < 0.3).astype(np.float32)},
        },
        "metadata": {"metrics": {"ndcg_at_k": 0.4}, "watermark": {"transactions": 1}},
    }
    fields["signals"] = _changed(fields["signals"], arrays or {})
    return Model(**{**fields, **overrides})


def with_arrays(model: Model, **arrays: NDArray[Any]) -> Model:
    """Return the model with other arrays; "signal__array" names one."""
    named = {name.replace("__", "."): array for name, array in arrays.items()}
    return replace(model, signals=_changed(model.signals, named))


def with_weights(model: Model, weights: Weights) -> Model:
    """Return the model with other weights of its components."""
    return replace(model, configuration=replace(model.configuration, weights=weights))


def build_customer(
    customer_id: str = "C1",
    risk_level: RiskLevel | None = RiskLevel.AGGRESSIVE,
    investment_capacity: InvestmentCapacity = InvestmentCapacity.FROM_30K_TO_80K,
) -> Customer:
    """Build a customer who accepts every asset, unless told otherwise."""
    return Customer(customer_id, risk_level, investment_capacity)


def build_interaction(isin: str, type: str = "click", *, days_ago: float = 0.0, now: datetime = NOW) -> Interaction:  # noqa: A002
    """Build an interaction so many days before `now`."""
    return Interaction(isin, InteractionType(type), now - timedelta(days=days_ago))


def build_history(
    customer: Customer | str = "C1", *, owned: Sequence[str] = (), interactions: Sequence[Interaction] = ()
) -> CustomerHistory:
    """Build what one customer owns and did; a plain id stands for `build_customer(id)`."""
    who = build_customer(customer) if isinstance(customer, str) else customer
    return CustomerHistory(who, tuple(owned), tuple(interactions))


def build_histories(model: Model, count: int, *, seed: int = 7, now: datetime = NOW) -> list[CustomerHistory]:
    """Build random customers of a model: all segments, some cold, some who own much, all interaction types."""
    random = np.random.default_rng(seed)
    return [_random_history(random, model, f"C{index}", now) for index in range(count)]


def build_asset(isin: str, category: str = "Stock", sub_category: str | None = None, **fields: Any) -> Asset:
    """Build the description of an asset."""
    return Asset(isin, category, sub_category, **fields)


def _random_history(random: np.random.Generator, model: Model, customer_id: str, now: datetime) -> CustomerHistory:
    isins = model.id_map.isins
    owned = random.choice(len(isins), size=min(len(isins), int(random.geometric(0.3)) - 1), replace=False)
    interactions = [
        build_interaction(
            isins[random.integers(len(isins))],
            str(random.choice([kind.value for kind in InteractionType])),
            days_ago=float(random.uniform(-1, 200)),
            now=now,
        )
        for _ in range(int(random.integers(0, 4)))
        if isins
    ]
    risk_level = random.choice([None, *RiskLevel])
    capacity = InvestmentCapacity(int(random.choice(list(InvestmentCapacity))))
    customer = Customer(customer_id, None if risk_level is None else RiskLevel(int(risk_level)), capacity)
    return build_history(customer, owned=[isins[index] for index in owned], interactions=interactions)


def _similarity(random: np.random.Generator, assets: int) -> NDArray[np.float32]:
    matrix = random.normal(0, 0.1, (assets, assets)).astype(np.float32)
    np.fill_diagonal(matrix, 0)
    return matrix


def _changed(signals: Mapping[str, Arrays], arrays: Mapping[str, NDArray[Any]]) -> dict[str, Arrays]:
    changed = {name: dict(of_signal) for name, of_signal in signals.items()}
    for name, array in arrays.items():
        signal, _, of_signal = name.partition(".")
        changed[signal][of_signal] = array
    return dict(changed)


def written(lines: Sequence[MutableMapping[str, Any]]) -> list[MutableMapping[str, Any]]:
    """Return those of the captured log lines that the filter of every process writes."""
    repetitions = RepetitionFilter(REPEAT_SECONDS)
    levels = logging.getLevelNamesMapping()
    records = [logging.LogRecord("trainer", levels[line["log_level"].upper()], "", 0, "", None, None) for line in lines]
    for record, line in zip(records, lines, strict=True):
        record.msg = line
    return [line for record, line in zip(records, lines, strict=True) if repetitions.filter(record)]


def build_top_assets(lists: Sequence[Sequence[Contributions]]) -> tuple[TopAssets, frozenset[str]]:
    """Build lists of the first assets with these contributions, and the components that say nothing in any of them."""
    top = TopAssets.empty(len(lists), max((len(parts) for parts in lists), default=0))
    for row, parts in enumerate(lists):
        top.asset_indices[row, : len(parts)] = range(len(parts))
        for place, one in enumerate(parts):
            top.contributions[:, row, place] = [value or 0.0 for value in one]
    every = [one for parts in lists for one in parts]
    silent = [name for name in COMPONENTS if every and all(getattr(one, name) is None for one in every)]
    return top, frozenset(silent)
