"""Every algorithm of the benchmark by its name, and which of them this installation can run."""

from __future__ import annotations

from collections.abc import Mapping
from importlib import import_module

from trainer.benchmark.algorithms import prices
from trainer.benchmark.algorithms.demand_signals import next_purchase, portfolio_mix, research_blend, trend
from trainer.benchmark.algorithms.ease import ease
from trainer.benchmark.algorithms.factors import alternating_least_squares, bayesian_personalised_ranking
from trainer.benchmark.algorithms.first_version import first_version
from trainer.benchmark.algorithms.frontier import frontier_algorithm
from trainer.benchmark.algorithms.hybrid import Hybrid
from trainer.benchmark.algorithms.interface import Algorithm, Scored
from trainer.benchmark.algorithms.lambdamart import LambdaMart
from trainer.benchmark.algorithms.lightfm_models import lightfm_by_id, lightfm_with_features
from trainer.benchmark.algorithms.lightgcn import LightGcn
from trainer.benchmark.algorithms.neighbours import association_rules, item_neighbours, user_neighbours
from trainer.benchmark.algorithms.popularity import popularity, random, recent_popularity

ALGORITHMS: Mapping[str, Algorithm] = {
    "random": Scored(random),
    "popularity": Scored(popularity),
    "recent-popularity": Scored(recent_popularity(half_life_days=120.0)),
    "user-knn": Scored(user_neighbours),
    "item-knn": Scored(item_neighbours),
    "association-rules": Scored(association_rules),
    "als": Scored(alternating_least_squares),
    "bpr": Scored(bayesian_personalised_ranking),
    "lightfm": Scored(lightfm_by_id),
    "lightfm-features": Scored(lightfm_with_features),
    "lightgcn": Scored(LightGcn()),
    "ease": Scored(ease(l2=3000.0)),
    "ease-recent": Scored(ease(l2=3000.0, row_half_life_days=120.0)),
    "next-purchase": Scored(next_purchase),
    "portfolio-mix": Scored(portfolio_mix),
    "trend": Scored(trend),
    "price-linear": Scored(prices.PriceRegression(prices.linear)),
    "price-random-forest": Scored(prices.PriceRegression(prices.random_forest)),
    "price-lightgbm": Scored(prices.PriceRegression(prices.boosted_trees)),
    "first-version": Scored(first_version),
    "blend": research_blend(),
    "lambdamart": LambdaMart(),
    "blend-lambdamart": LambdaMart(share=0.5),
    "hybrid": Hybrid(enforce_suitability=False),
    "hybrid-suitable": Hybrid(enforce_suitability=True),
}
_NEEDED = {
    "als": "implicit.cpu.als",
    "bpr": "implicit.cpu.bpr",
    "lightfm": "lightfm",
    "lightfm-features": "lightfm",
    "price-lightgbm": "lightgbm",
    "lambdamart": "lightgbm",
    "blend-lambdamart": "lightgbm",
}


def algorithm_named(name: str) -> Algorithm:
    """Return an algorithm, or a point of the frontier."""
    return frontier_algorithm(name) if "@" in name else ALGORITHMS[name]


def missing_library(name: str) -> str | None:
    """Return what this algorithm needs and this installation does not have."""
    module = _NEEDED.get(name)
    try:
        if module:
            import_module(module)
    except (ImportError, OSError):  # OSError: a wheel whose system library is missing
        return module.split(".")[0] if module else None
    return None
