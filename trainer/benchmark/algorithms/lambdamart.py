"""LambdaMART (Burges 2010, by LightGBM) over the others' scores; its labels are first buys known at the time point."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta
from functools import lru_cache
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.components import standardise
from shared.recommender.history import time_decay
from shared.recommender.pipeline import K
from shared.recommender.signals.trend import Trend
from trainer.benchmark.algorithms.interface import CustomerIndices
from trainer.benchmark.algorithms.signals import RESEARCH_BLEND, SignalScore, bought_candidates
from trainer.benchmark.known import KnownData, Lists, Matrix, Split, candidates, rank

SIGNALS = (*RESEARCH_BLEND.signals, SignalScore(Trend()))
NEVER_BOUGHT = -10.0  # the standard score of an asset that nobody has bought
HALF_LIVES_DAYS = (30.0, 120.0, 360.0)
# Folds in order of time: features known at an anchor, labels from what is known by now of the window after it.
ANCHORS, ANCHOR_STEP_DAYS, GAP_DAYS, WINDOW_DAYS = 12, 28, 28, 166
CANDIDATES, GROUPS, LEAST_GROUPS, SEED = 30, 1_500, 50, 1
ROUNDS = 80
PARAMETERS = {
    **{"objective": "lambdarank", "learning_rate": 0.08, "num_leaves": 7, "min_data_in_leaf": 100},
    **{"lambdarank_truncation_level": 20, "feature_fraction": 0.5, "bagging_fraction": 0.7, "bagging_freq": 1},
    **{"lambda_l2": 5.0, "num_threads": 1, "verbosity": -1, "seed": SEED},
    **{"deterministic": True, "force_row_wise": True},
}
# More of a score or of popularity never lowers the rank; the other features may do either.
INCREASING = len(SIGNALS) + 1 + len(HALF_LIVES_DAYS) + 1


@dataclass(frozen=True)
class Examples:
    """Candidates of customers, best first by the blend: assets (B, N), features (B, N, F), which are candidates."""

    assets: NDArray[np.int64]
    features: NDArray[np.float64]
    allowed: NDArray[np.bool_]


@dataclass(frozen=True)
class LambdaMart:
    """The ranker, or standard scores of the blend plus `share` times those of the ranker."""

    share: float | None = None

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Rank by the model; by the blend alone while there are too few labels."""
        blend, learned = _scores(known, split)
        examples = _examples_of(known, split)
        scores = learned
        if self.share is not None:
            scores = standardise(blend, examples.allowed) + self.share * standardise(learned, examples.allowed)
        spread = np.full((len(scores), known.shape[1]), -np.inf)
        np.put_along_axis(spread, examples.assets, np.where(examples.allowed, scores, -np.inf), axis=1)
        return rank(spread, known, split)


@lru_cache(maxsize=1)
def _scores(known: KnownData, split: Split) -> tuple[Matrix, Matrix]:
    """Return the blend's and the learned scores of the split's candidates."""
    examples = _examples_of(known, split)
    blend = examples.features[:, :, len(SIGNALS)]
    model = _fit(known)
    if model is None:
        return blend, blend
    flat = examples.features.reshape(-1, examples.features.shape[2])
    return blend, np.asarray(model.predict(flat, num_threads=1)).reshape(blend.shape)


@lru_cache(maxsize=1)
def _examples_of(known: KnownData, split: Split) -> Examples:
    allowed = candidates(known, split)
    return _examples(known, known.customers_of(split), allowed, count=2 * CANDIDATES)


def _fit(known: KnownData) -> Any | None:
    from lightgbm import Dataset, train  # an optional peer

    features, labels, groups = [], [], []
    for anchor in range(ANCHORS):
        day = known.training.as_of - timedelta(days=GAP_DAYS + anchor * ANCHOR_STEP_DAYS)
        examples, bought = _fold(known, known.earlier(day))
        features.append(examples.features[examples.allowed])
        labels.append(bought[examples.allowed])
        groups.append(examples.allowed.sum(axis=1))
    sizes = np.concatenate(groups)
    if len(sizes) < LEAST_GROUPS:
        return None
    matrix = np.concatenate(features)
    increasing = [1] * INCREASING + [0] * (matrix.shape[1] - INCREASING)
    parameters = {**PARAMETERS, "monotone_constraints": increasing}
    return train(parameters, Dataset(matrix, np.concatenate(labels).astype(int), group=sizes), ROUNDS)


def _fold(known: KnownData, earlier: KnownData) -> tuple[Examples, NDArray[np.bool_]]:
    """Return examples at the earlier day and which of them were bought within the window that is known by now."""
    later = (known.bought_day > earlier.day) & (known.bought_day <= earlier.day + WINDOW_DAYS)
    buyers = np.intersect1d(known.customer_index[later], earlier.customer_index)
    most = GROUPS // ANCHORS
    if len(buyers) > most:
        buyers = np.sort(np.random.default_rng(SEED + earlier.day).choice(buyers, most, replace=False))
    allowed = np.zeros((len(buyers), known.shape[1]), dtype=np.bool_)
    allowed[:, earlier.bought_assets] = True
    allowed &= earlier.holdings[buyers].toarray() == 0
    examples = _examples(earlier, buyers, allowed, count=CANDIDATES)
    after = known.matrix(later.astype(np.float64))[buyers].toarray() > 0
    bought = np.take_along_axis(after, examples.assets, axis=1) & examples.allowed
    useful = bought.any(axis=1)  # a list without any hit has nothing to learn from
    return Examples(examples.assets[useful], examples.features[useful], examples.allowed[useful]), bought[useful]


def _examples(known: KnownData, customers: CustomerIndices, allowed: NDArray[np.bool_], *, count: int) -> Examples:
    bought = bought_candidates(known, allowed)
    scores = (score(known, customers) for score in SIGNALS)
    signals = [np.where(bought, standardise(of_signal, bought), NEVER_BOUGHT) for of_signal in scores]
    blend = np.asarray(sum(signals) / len(signals))
    ordered = np.argsort(-np.where(allowed, blend, -np.inf), axis=1, kind="stable")[:, : max(count, K)]
    pairs = [np.take_along_axis(matrix, ordered, axis=1) for matrix in (*signals, blend)]
    of_assets = [values[ordered] for values in _asset_features(known)]
    owned = np.asarray(known.holdings[customers].sum(axis=1), dtype=np.float64)
    of_customers = np.broadcast_to(np.log1p(owned)[:, np.newaxis], ordered.shape)
    features = np.stack([*pairs, *of_assets, of_customers], axis=2)
    return Examples(ordered, features, np.take_along_axis(allowed, ordered, axis=1))


def _asset_features(known: KnownData) -> list[NDArray[np.float64]]:
    """Return (A,) features: popularity all-time and recent (both increasing), then ages."""
    shares = [known.counts(), *(known.counts(time_decay(known.age_days, days)) for days in HALF_LIVES_DAYS)]
    logs = [np.log1p(1000.0 * count / max(count.sum(), 1e-9)) for count in shares]
    first = np.full(known.shape[1], known.day)
    last = np.full(known.shape[1], known.day - 10_000)
    np.minimum.at(first, known.asset_index, known.bought_day)
    np.maximum.at(last, known.asset_index, known.bought_day)
    return [*logs, np.log1p((known.day - first).astype(float)), np.log1p((known.day - last).astype(float))]
