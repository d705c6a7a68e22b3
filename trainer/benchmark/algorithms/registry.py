"""Every algorithm of the benchmark by its name, and which of them this installation can run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from trainer.benchmark.algorithms.factors import alternating_least_squares, bayesian_personalised_ranking
from trainer.benchmark.algorithms.first_version import first_version
from trainer.benchmark.algorithms.frontier import frontier_algorithm
from trainer.benchmark.algorithms.interface import Algorithm, Scored
from trainer.benchmark.algorithms.lambdamart import LambdaMart
from trainer.benchmark.algorithms.lightfm_models import lightfm_by_id, lightfm_with_features
from trainer.benchmark.algorithms.lightgcn import LightGcn
from trainer.benchmark.algorithms.neighbours import association_rules, item_neighbours
from trainer.benchmark.algorithms.policies import PREFIX, policy_algorithm
from trainer.benchmark.algorithms.popularity import popularity, random, recent_popularity
from trainer.benchmark.algorithms.signals import RESEARCH_BLEND, SIGNALS, Hybrid, SignalScore

ALGORITHMS: Mapping[str, Algorithm] = {
    "random": Scored(random),
    "popularity": Scored(popularity),
    "recent-popularity": Scored(recent_popularity(half_life_days=120.0)),
    "item-knn": Scored(item_neighbours),
    "association-rules": Scored(association_rules),
    "als": Scored(alternating_least_squares),
    "bpr": Scored(bayesian_personalised_ranking),
    "lightfm": Scored(lightfm_by_id),
    "lightfm-features": Scored(lightfm_with_features),
    "lightgcn": Scored(LightGcn()),
    **{name: Scored(SignalScore(signal)) for name, signal in SIGNALS.items()},
    "first-version": Scored(first_version),
    "blend": RESEARCH_BLEND,
    "lambdamart": LambdaMart(),
    "blend-lambdamart": LambdaMart(share=0.5),
    "hybrid": Hybrid(enforce_suitability=False),
    "hybrid-suitable": Hybrid(enforce_suitability=True),
}
# Not among "all": what is compared with one of them on a question of its own.
VARIANTS: Mapping[str, Algorithm] = {"hybrid-sparse": Hybrid(enforce_suitability=False, dense_assets=0)}
_NEEDED = {
    "als": "implicit.cpu.als",
    "bpr": "implicit.cpu.bpr",
    "lightfm": "lightfm",
    "lightfm-features": "lightfm",
    "lambdamart": "lightgbm",
    "blend-lambdamart": "lightgbm",
}


def algorithm_named(name: str) -> Algorithm:
    """Return an algorithm, a point of the frontier, or the hybrid under a policy."""
    if name.startswith(PREFIX):
        return policy_algorithm(name)
    return frontier_algorithm(name) if "@" in name else {**ALGORITHMS, **VARIANTS}[name]


def missing_library(name: str) -> str | None:
    """Return what this algorithm needs and this installation does not have."""
    module = _NEEDED.get(name)
    try:
        if module:
            import_module(module)
    except (ImportError, OSError):  # OSError: a wheel whose system library is missing
        return module.split(".")[0] if module else None
    return None
