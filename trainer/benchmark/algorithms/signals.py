"""The signals of the recommender, one by one and blended, and the hybrid that the worker serves."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.asset_matrix import DENSE_ASSETS
from shared.recommender.components import standardise
from shared.recommender.configuration import ALGORITHMS, DEFAULT_SEED, build_configuration
from shared.recommender.fitting import fit_model
from shared.recommender.model import Model
from shared.recommender.pipeline import CHUNK_SIZE, recommend_indices
from shared.recommender.signal import Arrays, Batch, Signal
from shared.recommender.signals.item_item import ItemItem
from shared.recommender.signals.next_purchase import NextPurchase
from shared.recommender.signals.portfolio_mix import PortfolioMix
from shared.recommender.signals.trend import Trend
from shared.recommender.signals.user_knn import UserKnn
from shared.recommender.types import Weights
from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.algorithms.price_regression import PriceRegression
from trainer.benchmark.known import KnownData, Lists, Matrix, Split, candidates, rank
from trainer.evaluation.rolling import RollingRules
from trainer.evaluation.weights import Budget, choose_weights

NEVER_BOUGHT = -1e6  # the score of an asset that nobody has bought: it comes last

# The series of the benchmark are sparse: two prices make a sample, and a price stands for 40 days.
_SPARSE_PRICES = PriceRegression(
    indicators="momentum_ranks",
    horizon_weekdays=119,
    longest_history_weekdays=380,
    stale_after_weekdays=28,
    least_observations=0,
    least_training_rows=100,
)


@dataclass(frozen=True)
class SignalScore:
    """Scores by one signal."""

    signal: Signal

    def __call__(self, known: KnownData, customers: CustomerIndices) -> Matrix:
        """Return (B, A) scores."""
        arrays = _fit_signal(self.signal, known)
        histories = known.training.histories(customers.tolist())
        scores = np.empty((len(customers), known.shape[1]))
        for start in range(0, len(customers), CHUNK_SIZE):
            rows = slice(start, start + CHUNK_SIZE)
            batch = Batch(known.id_map, histories[rows], known.training.history[customers[rows]])
            scores[rows] = self.signal.score(arrays, batch)
        return scores


@dataclass(frozen=True)
class Blend:
    """The sum of the standard scores of signals, over the candidates of each customer that anybody has bought."""

    signals: tuple[SignalScore, ...]

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the best candidates."""
        return rank(self.scores(known, split), known, split)

    def scores(self, known: KnownData, split: Split) -> Matrix:
        """Return (B, A) scores of the split's customers."""
        bought = bought_candidates(known, candidates(known, split))
        customers = known.customers_of(split)
        total = sum(standardise(score(known, customers), bought) for score in self.signals)
        return np.where(bought, total, NEVER_BOUGHT)


@dataclass(frozen=True)
class Hybrid:
    """The served hybrid, with the weights that the trainer would choose at the time point; or other `weights`.

    The protocol knows no suitability, so the plain `hybrid` ranks without that rule, as every other algorithm does.
    """

    enforce_suitability: bool
    weights: Weights | None = None
    dense_assets: int = DENSE_ASSETS  # with more assets than this, matrices are sparse

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Fit on what was known and rank; the split says what can be bought, as `limit_prices` does when serving."""
        return recommend_indices(
            fit_hybrid(known, split, dense_assets=self.dense_assets),
            known.training.histories(known.customers_of(split).tolist()),
            now=known.training.now,
            weights=self.weights,
            enforce_suitability=self.enforce_suitability,
        )

    def weight_choice(self, known: KnownData, split: Split) -> Mapping[str, Any]:
        """Return what was chosen at the time point, as the manifest of a model has it."""
        choice: Mapping[str, Any] = fit_hybrid(known, split, dense_assets=self.dense_assets).metadata["weights"]
        return choice


SIGNALS: Mapping[str, Signal] = {
    "user-knn": UserKnn(),
    "ease": ItemItem(l2=3000.0),
    "ease-recent": ItemItem(l2=3000.0, row_half_life_days=120.0),
    "next-purchase": NextPurchase(),
    "portfolio-mix": PortfolioMix(),
    "trend": Trend(),
    "price-linear": replace(_SPARSE_PRICES, regression="ridge", l2=20.0),
    "price-random-forest": replace(
        _SPARSE_PRICES, regression="random_forest", trees=100, leaves=64, least_leaf_rows=10
    ),
    "price-boosted-trees": replace(_SPARSE_PRICES, trees=80, leaves=7, least_leaf_rows=20),
}

# The blend that did best in research, before the hybrid was made of its signals and the trend.
RESEARCH_BLEND = Blend(
    (SignalScore(ItemItem(l2=300.0)), SignalScore(NextPurchase()), SignalScore(PortfolioMix()), SignalScore(UserKnn()))
)


def bought_candidates(known: KnownData, allowed: NDArray[np.bool_]) -> NDArray[np.bool_]:
    """Return which of the allowed assets (B, A) anybody has bought."""
    return allowed & (known.counts() > 0)


@lru_cache(maxsize=16)
def _fit_signal(signal: Signal, known: KnownData) -> Arrays:
    return signal.fit(known.training, random_state=DEFAULT_SEED)


@lru_cache(maxsize=1)  # the same fit serves every weight and both rules of suitability
def fit_hybrid(known: KnownData, split: Split, *, dense_assets: int = DENSE_ASSETS) -> Model:
    """Return the model of a time point, with the weights that were chosen on what was known then."""
    tradable = np.zeros(known.shape[1], dtype=np.bool_)
    tradable[known.id_map.known_indices(split.isins)] = True
    choice = choose_weights(
        known.training,
        build_configuration(next(iter(ALGORITHMS)), dense_assets=dense_assets),
        rules=RollingRules(),
        budget=Budget(math.inf),
        figures={},
        tradable=tradable,
        enforce_suitability=False,
    )
    model = fit_model(known.training, choice.chosen, version="benchmark", metadata={"weights": choice.to_json()})
    return replace(model, tradable=tradable)
