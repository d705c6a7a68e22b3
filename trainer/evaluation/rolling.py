"""Earlier cutoffs, a few weeks apart, on which weights are compared. C customers with a history, A assets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from shared.recommender.alternatives import recommend_alternatives
from shared.recommender.configuration import ModelConfiguration
from shared.recommender.fitting import fit_model, tradable_assets
from shared.recommender.history import time_decay
from shared.recommender.training_data import TrainingData, date_of
from shared.recommender.types import CustomerHistory
from trainer.evaluation.metrics import RelevantAssets
from trainer.evaluation.splits import first_bought, sample_customers


@dataclass(frozen=True)
class RollingRules:
    """Which cutoffs are used. A cutoff counts half for every `half_life_days` that it is older than the newest.

    Cutoffs are days whose number is a multiple of `step_days`: the next training finds the same ones again.
    """

    step_days: int = 28
    window_days: int = 84
    most_cutoffs: int = 12
    half_life_days: float = 180.0
    most_customers: int = 400  # of a cutoff; of more, a sample
    least_customers: int = 30

    def weigh(self, days: Sequence[int]) -> NDArray[np.float64]:
        """Return (N,) the weight of each cutoff; they sum to one."""
        weights = time_decay(max(days) - np.array(days, dtype=np.float64), self.half_life_days)
        return np.asarray(weights / weights.sum())

    def standard_error(self, values: NDArray[np.float64], weights: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return (M,) standard errors of the weighted means of (N, M) values.

        Neighbouring windows overlap, so that N cutoffs hold as much as N * step / window separate ones.
        """
        squares = weights[:, np.newaxis] ** 2 * (values - weights @ values) ** 2
        return np.asarray(np.sqrt(squares.sum(axis=0) * max(self.window_days / self.step_days, 1.0)))


@dataclass(frozen=True, eq=False)
class Cutoff:
    """What was known at the end of a day, and what customers with a history bought first in the window after it.

    relevant: for each history, the positions of the assets. tradable: (A,) what could be bought at the cutoff.
    """

    day: int
    training: TrainingData
    tradable: NDArray[np.bool_]
    histories: list[CustomerHistory]
    relevant: list[frozenset[int]]
    enforce_suitability: bool

    @cached_property
    def fingerprint(self) -> str:
        """The same for the same data, customers and window; different data give another one."""
        digest = hashlib.sha256(
            repr((self.day, self.enforce_suitability, self.histories, self.training.assets)).encode()
        )
        digest.update(repr([sorted(assets) for assets in self.relevant]).encode())
        rows = (self.training.purchases, self.training.close_prices, self.training.interactions)
        for array in (self.tradable, *(column for table in rows for column in vars(table).values())):
            digest.update(np.ascontiguousarray(array).tobytes())
        return digest.hexdigest()

    def evaluate(self, configurations: Sequence[ModelConfiguration]) -> list[float]:
        """Return the nDCG@10 of configurations that differ in weights alone: the signals are fitted once."""
        training = replace(self.training)  # a copy, so that nothing derived from the rows outlives the fit
        model = replace(fit_model(training, configurations[0], version="rolling"), tradable=self.tradable)
        lists = recommend_alternatives(
            model,
            self.histories,
            configurations=configurations,
            now=self.training.now,
            enforce_suitability=self.enforce_suitability,
        )
        relevant = RelevantAssets(self.relevant)
        return [float(relevant.ndcg(of_one).mean()) for of_one in lists]


def rolling_cutoffs(
    data: TrainingData, *, rules: RollingRules, tradable: NDArray[np.bool_] | None, enforce_suitability: bool
) -> Iterator[Cutoff]:
    """Yield the cutoffs, newest first, whose window has ended by `as_of`; those with too few customers are left out.

    `tradable` (A,) stands in for what the data say of every cutoff.
    """
    if not len(data.purchases.day):
        return
    newest = (data.last_day - rules.window_days) // rules.step_days * rules.step_days
    days = range(newest, int(data.purchases.day[0]), -rules.step_days)
    for day in days[: rules.most_cutoffs]:
        training = data.known_at(date_of(day))
        available = tradable_assets(training) if tradable is None else tradable
        relevant = first_bought(data, after=day, until=day + rules.window_days, tradable=available)
        with_history = set(training.purchases.customer_index.tolist())
        customers = [customer for customer in relevant if customer in with_history]
        customers = sample_customers(customers, most=rules.most_customers, seed=day)
        if len(customers) >= rules.least_customers:
            histories = training.histories(customers)
            found = [relevant[customer] for customer in customers]
            yield Cutoff(day, training, available, histories, found, enforce_suitability)
