"""What the served hybrid is made of, one by one, and the research blend that it was distilled from."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from shared.recommender.demand import find_demand
from shared.recommender.next_purchase import fit_next_purchase
from shared.recommender.portfolio_mix import asset_groups, find_mixes, fit_portfolio_mix
from shared.recommender.trend import fit_trend
from trainer.benchmark.algorithms.ease import ease
from trainer.benchmark.algorithms.interface import CustomerIndices, Score, z_scores
from trainer.benchmark.algorithms.neighbours import user_neighbours
from trainer.benchmark.known import KnownData, Lists, Matrix, Split, rank

BLEND_EASE_L2 = 300.0
NEVER_BOUGHT = -1e6


def next_purchase(known: KnownData, customers: CustomerIndices) -> Matrix:
    """What holders of the same assets bought next."""
    demand = find_demand(known.training.purchases, asset_count=known.shape[1])
    matrix, intercept = fit_next_purchase(demand, asset_count=known.shape[1], last_day=known.day)
    np.fill_diagonal(matrix, 0.0)  # it is for interactions; here it would stretch the scale of whoever owns much
    return np.asarray(known.holdings[customers] @ matrix + intercept, dtype=np.float64)


def portfolio_mix(known: KnownData, customers: CustomerIndices) -> Matrix:
    """What holders of the same kinds of assets, of few or of many, buy lately."""
    demand = find_demand(known.training.purchases, asset_count=known.shape[1])
    groups = asset_groups(known.training.assets)
    prior = fit_portfolio_mix(demand, groups, last_day=known.day)
    mixes = find_mixes(demand, groups, customer_count=known.shape[0])
    return prior[mixes[customers]].astype(np.float64)


def trend(known: KnownData, customers: CustomerIndices) -> Matrix:
    """What all customers have been buying in the last days."""
    demand = find_demand(known.training.purchases, asset_count=known.shape[1])
    scores = fit_trend(demand, asset_count=known.shape[1], last_day=known.day)
    return np.tile(scores.astype(np.float64), (len(customers), 1))


@dataclass(frozen=True)
class Blend:
    """The sum of standard scores of its parts; each row is standardised over the split's assets that anybody bought."""

    parts: tuple[Score, ...]

    def fit_and_rank(self, known: KnownData, split: Split) -> Lists:
        """Return the best candidates; an asset that nobody bought comes last."""
        return rank(self.scores(known, split, known.customers_of(split)), known, split)

    def scores(self, known: KnownData, split: Split, customers: CustomerIndices) -> Matrix:
        """Return (B, A) scores."""
        columns = np.intersect1d(known.bought_assets, known.id_map.known_indices(split.isins))
        total = np.full((len(customers), known.shape[1]), NEVER_BOUGHT)
        total[:, columns] = sum(z_scores(part(known, customers)[:, columns]) for part in self.parts)
        return total


def research_blend() -> Blend:
    """Return the blend that did best in research before the served hybrid was made of its parts and the trend."""
    return Blend((ease(l2=BLEND_EASE_L2), next_purchase, portfolio_mix, user_neighbours))
