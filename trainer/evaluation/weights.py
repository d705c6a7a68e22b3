"""Choose the weights of a model on earlier cutoffs: fitted before each, judged on the purchases of the weeks after it.

The trainer and the benchmark's hybrid call `choose_weights`; docs/decisions/0025 has the rule and its figures.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, MutableMapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product
from typing import Any

import numpy as np
from numpy.typing import NDArray

from shared.recommender.configuration import ModelConfiguration
from shared.recommender.training_data import TrainingData, date_of
from shared.recommender.types import Weights
from trainer.evaluation.rolling import Cutoff, RollingRules, rolling_cutoffs

# What is tried, as factors of the weight that the configuration has.
SIGNAL_FACTORS: Mapping[str, Sequence[float]] = {"popularity": (1.0, 0.0, 2.0), "trend": (1.0, 0.5, 2.0)}
CONTENT_FACTORS = (1.0, 2.0)
# Shares of profitability in the whole. The largest one is taken that costs no more nDCG than the tolerance.
PROFITABILITY_SHARES = (0.0, 0.025, 0.05, 0.075, 0.1)
NDCG_TOLERANCE = 0.002
LEAST_CUTOFFS = 3
LEAST_EFFECTIVE_CUTOFFS = 6  # for a share of profitability: half a year of prices
MOST_FIGURES = 2_000  # kept between trainings, the newest

Figures = MutableMapping[tuple[str, str], float]  # (cutoff, configuration) -> nDCG@10; kept between trainings


class Budget:
    """Time for choosing, from now on. When it is spent, nothing more is started; what runs is finished."""

    def __init__(self, seconds: float, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._end = clock() + seconds

    def is_spent(self) -> bool:
        """Return whether nothing more may be started."""
        return self._clock() >= self._end


@dataclass(frozen=True)
class WeightChoice:
    """What was chosen and why. gain: of `best` over `default` in nDCG@10, with its standard error.

    profitability_cost: nDCG@10 that each share of profitability loses, plus its standard error, by share.
    """

    chosen: ModelConfiguration
    default: ModelConfiguration
    best: ModelConfiguration
    gain: float = 0.0
    standard_error: float = 0.0
    profitability_cost: Mapping[float, float] | None = None
    cutoffs: tuple[str, ...] = ()
    tried: int = 0

    def to_json(self) -> dict[str, Any]:
        """Return what the manifest keeps of the choice."""
        costs = self.profitability_cost or {}
        return {
            "cutoffs": list(self.cutoffs),
            "tried": self.tried,
            "chosen": describe_weights(self.chosen),
            "best": describe_weights(self.best),
            "default": describe_weights(self.default),
            "best_over_default": {"ndcg_at_10": round(self.gain, 6), "standard_error": round(self.standard_error, 6)},
            "ndcg_lost_at_most_by_profitability_share": {
                f"{share:g}": round(cost, 6) if math.isfinite(cost) else None for share, cost in costs.items()
            },
        }


def choose_weights(  # noqa: PLR0913 - everything but what is chosen for is by keyword
    data: TrainingData,
    configuration: ModelConfiguration,
    *,
    rules: RollingRules,
    budget: Budget,
    figures: Figures,
    tradable: NDArray[np.bool_] | None = None,
    enforce_suitability: bool = True,
) -> WeightChoice:
    """Return the configuration with the weights that did best on earlier cutoffs, all of which end by `as_of`.

    The given weights stay unless others are better by more than a standard error. Then profitability gets the largest
    share that costs no more than NDCG_TOLERANCE, and none where the signal cannot predict anything. `figures` keeps
    what was measured, for the next call; `tradable` (A,) replaces what the data say. Deterministic, except for the
    budget: fewer cutoffs are used when it is spent.
    """
    default = with_profitability_share(configuration, 0.0)
    alternatives = weight_alternatives(default)
    first = [*alternatives, *profitability_alternatives(default)]
    cutoffs: list[Cutoff] = []
    for cutoff in rolling_cutoffs(data, rules=rules, tradable=tradable, enforce_suitability=enforce_suitability):
        if cutoffs and budget.is_spent() and _lacks(cutoff, first, figures):
            break
        cutoffs.append(cutoff)
        measure(cutoff, first, figures)
    names = tuple(date_of(cutoff.day).isoformat() for cutoff in cutoffs)
    if len(cutoffs) < LEAST_CUTOFFS:
        return WeightChoice(configuration, configuration, configuration, cutoffs=names)
    ndcg = np.array([measure(cutoff, alternatives, figures) for cutoff in cutoffs])
    recency = rules.weigh([cutoff.day for cutoff in cutoffs])
    position, gain, error = find_best(ndcg, recency, rules)
    best = alternatives[position]
    chosen = best if gain > error else default
    by_share = np.array([measure(cutoff, profitability_alternatives(chosen), figures) for cutoff in cutoffs])
    costs = profitability_costs(by_share, [cutoff.day for cutoff in cutoffs], rules)
    affordable = [share for share, cost in zip(PROFITABILITY_SHARES, costs, strict=True) if cost <= NDCG_TOLERANCE]
    return WeightChoice(
        chosen=with_profitability_share(chosen, max(affordable)),
        default=default,
        best=best,
        gain=gain,
        standard_error=error,
        profitability_cost=dict(zip(PROFITABILITY_SHARES, costs, strict=True)),
        cutoffs=names,
        tried=len(alternatives),
    )


def profitability_costs(ndcg: NDArray[np.float64], days: Sequence[int], rules: RollingRules) -> list[float]:
    """Return what each share of profitability loses in nDCG, plus its standard error; ndcg: (cutoffs, shares).

    A cutoff at which no share changes a figure had too few prices and proves nothing, so it does not count. With fewer
    than LEAST_EFFECTIVE_CUTOFFS others, every share above 0 costs infinitely much.
    """
    losses = ndcg[:, :1] - ndcg
    effective = np.flatnonzero(losses.any(axis=1)).tolist()
    if len(effective) < LEAST_EFFECTIVE_CUTOFFS:
        return [0.0, *[math.inf] * (ndcg.shape[1] - 1)]
    recency = rules.weigh([days[position] for position in effective])
    return [float(cost) for cost in recency @ losses[effective] + rules.standard_error(losses[effective], recency)]


def find_best(ndcg: NDArray[np.float64], recency: NDArray[np.float64], rules: RollingRules) -> tuple[int, float, float]:
    """Return which of (N, M) alternatives has the largest gain over the first one minus its standard error.

    Returns its position, the gain and the standard error. recency: (N,) the weight of each cutoff.
    """
    gains = ndcg[:, 1:] - ndcg[:, :1]
    means, errors = recency @ gains, rules.standard_error(gains, recency)
    best = int(np.argmax(means - errors))
    return best + 1, float(means[best]), float(errors[best])


def weight_alternatives(default: ModelConfiguration) -> list[ModelConfiguration]:
    """Return the configuration itself, then every other combination of factors of the weights that it has."""
    names = [signal.name for signal in default.signals() if signal.name in SIGNAL_FACTORS]
    found = []
    for content, *factors in product(CONTENT_FACTORS, *(SIGNAL_FACTORS[name] for name in names)):
        changed = dict(zip(names, factors, strict=True))
        collaborative = tuple(
            replace(signal, weight=signal.weight * changed.get(signal.name, 1.0)) for signal in default.collaborative
        )
        weights = replace(default.weights, content=default.weights.content * content)
        found.append(replace(default, collaborative=collaborative, weights=weights))
    return list(dict.fromkeys(found))


def with_profitability_share(configuration: ModelConfiguration, share: float) -> ModelConfiguration:
    """Return the configuration with this share of profitability; the other components keep their proportion."""
    weights = configuration.weights
    rest = weights.collaborative + weights.content
    if rest == 0:
        return configuration
    others = (1.0 - share) / rest
    return replace(configuration, weights=Weights(others * weights.collaborative, others * weights.content, share))


def measure(cutoff: Cutoff, configurations: Sequence[ModelConfiguration], figures: Figures) -> list[float]:
    """Return the nDCG@10 of the configurations at a cutoff; only what `figures` does not hold is computed."""
    keys = [_key(cutoff, configuration) for configuration in configurations]
    missing = {key: one for key, one in zip(keys, configurations, strict=True) if key not in figures}
    if missing:
        figures.update(zip(missing, cutoff.evaluate(list(missing.values())), strict=True))
    found = [figures[key] for key in keys]
    for oldest in list(figures)[:-MOST_FIGURES]:
        del figures[oldest]
    return found


def describe_weights(configuration: ModelConfiguration) -> dict[str, Any]:
    """Return the weights of the components, and of the signals of those with several."""
    signals = {signal.name: round(signal.weight, 6) for signal in configuration.collaborative}
    components = {name: round(value, 6) for name, value in vars(configuration.weights).items()}
    return {"components": components, "signals": signals}


def profitability_alternatives(configuration: ModelConfiguration) -> list[ModelConfiguration]:
    """Return the configuration with each of PROFITABILITY_SHARES."""
    return [with_profitability_share(configuration, share) for share in PROFITABILITY_SHARES]


def _lacks(cutoff: Cutoff, configurations: Sequence[ModelConfiguration], figures: Figures) -> bool:
    return any(_key(cutoff, configuration) not in figures for configuration in configurations)


def _key(cutoff: Cutoff, configuration: ModelConfiguration) -> tuple[str, str]:
    return cutoff.fingerprint, _text(configuration)


@lru_cache(maxsize=1_024)
def _text(configuration: ModelConfiguration) -> str:
    """Return what a configuration is as text; every cutoff asks for the same ones."""
    return repr(configuration)
