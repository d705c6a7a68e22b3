"""A policy applied to the assets of a model at a date: classes, refusals and masks as arrays. A assets."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from functools import cached_property, lru_cache

import numpy as np
from numpy.typing import NDArray

from shared.recommender.id_map import AssetIdMap
from shared.recommender.labels import Labels
from shared.recommender.policy.ceilings import ceiling_of
from shared.recommender.policy.issuers import issuer_of
from shared.recommender.policy.market import Market, MarketFigures, market_of, measure_market
from shared.recommender.policy.rules import ANY, AssetRules, Policy, PriceRule, Tolerance
from shared.recommender.training_data import TrainingData, day_number
from shared.recommender.types import Asset, Customer, CustomerHistory, RiskLevel

Levels = NDArray[np.int8]
Mask = NDArray[np.bool_]
_HIGHEST = int(RiskLevel.AGGRESSIVE)
CEILINGS_KEPT = 8_192  # of a view, by profile: many customers have the same one
_Profile = tuple[RiskLevel | None, bool, date | None, int]  # level, predicted, questionnaire, highest class held


@dataclass(frozen=True, eq=False)
class PolicyView:
    """What a policy says of a model's A assets at a date.

    levels: by rule, (A,) the class that it gives, 0 where it says nothing. refused: by rule, (A,) whether it refuses
    the asset to everybody. groups: what caps and exclusions are counted by.
    """

    policy: Policy
    as_of: date
    id_map: AssetIdMap
    assets: tuple[Asset | None, ...]
    figures: MarketFigures
    levels: Mapping[str, Levels]
    refused: Mapping[str, Mask]
    groups: Mapping[str, Labels]

    @cached_property
    def asset_class(self) -> Levels:
        """(A,) 1..4: the highest of all rules."""
        highest: Levels = np.max([np.ones(len(self.assets), dtype=np.int8), *self.levels.values()], axis=0)
        return highest

    @cached_property
    def masks(self) -> Mask:
        """(5, A): may a customer with this ceiling, 0..4, have the asset?"""
        allowed = ~np.logical_or.reduce([np.zeros(len(self.assets), dtype=np.bool_), *self.refused.values()])
        ceilings = np.arange(_HIGHEST + 1, dtype=np.int8)[:, np.newaxis]
        return np.asarray(allowed & (self.asset_class <= ceilings))

    @cached_property
    def tie_order(self) -> NDArray[np.int32] | None:
        """(A,) all positions in the order of equal scores: most traded, then the freshest price, then ISIN.

        None: the policy says nothing of equal scores, so the order of the model holds.
        """
        if not self.policy.orders_ties:
            return None
        return np.lexsort((self.figures.price_age_days, -self.figures.trades)).astype(np.int32)

    @cached_property
    def tie_class(self) -> NDArray[np.int64]:
        """(A,) equal where neither liquidity nor price freshness tells assets apart."""
        keys = np.stack([self.figures.trades.astype(np.float64), self.figures.price_age_days], axis=1)
        _, classes = np.unique(keys, axis=0, return_inverse=True)
        return np.asarray(classes, dtype=np.int64).reshape(-1)

    def ceilings(self, histories: Sequence[CustomerHistory]) -> NDArray[np.int64]:
        """Return (B,) the highest class for each customer, 0 for none."""
        return np.array([self.ceiling(history) for history in histories], dtype=np.int64)

    def ceiling(self, history: CustomerHistory) -> int:
        """Return the highest class for this customer."""
        rules, held, customer = self.policy.customers, 0, history.customer
        if rules.tolerance is Tolerance.REVEALED:
            owned = self.id_map.known_indices(history.owned)
            held = int(self.asset_class[owned].max(initial=0))
        profile = customer.risk_level, customer.is_predicted, customer.questionnaire_on, held
        return self._ceiling_of_profile(profile)

    @cached_property
    def _ceiling_of_profile(self) -> Callable[[_Profile], int]:
        rules, as_of = self.policy.customers, self.as_of

        @lru_cache(maxsize=CEILINGS_KEPT)
        def ceiling_of_profile(profile: _Profile) -> int:
            level, is_predicted, asked, held = profile
            customer = Customer("", level, is_predicted=is_predicted, questionnaire_on=asked)
            return ceiling_of(rules, customer, list_date=as_of, highest_held=held)

        return ceiling_of_profile

    def allowed(self, histories: Sequence[CustomerHistory]) -> Mask:
        """Return (B, A): may the asset be in the customer's list, as far as asset and ceiling decide?"""
        return self.masks[self.ceilings(histories)]


def build_view(
    policy: Policy, *, id_map: AssetIdMap, assets: Sequence[Asset | None], market: Market, as_of: date
) -> PolicyView:
    """Apply a policy to the assets in the order of `id_map`, None for one that the catalogue does not have.

    Rows of `market` dated after `as_of` change nothing.
    """
    figures = measure_market(market, policy, day=day_number(as_of), asset_count=len(id_map))
    groups = {
        "sector": Labels.build([asset.sector if asset else None for asset in assets]),
        "category": Labels.build([asset.asset_category if asset else None for asset in assets]),
        "issuer": Labels.build([issuer_of(asset) if asset else None for asset in assets]),
    }
    levels = _levels(policy.assets, assets, figures)
    refused = _refused(policy, id_map, groups, figures)
    return PolicyView(policy, as_of, id_map, tuple(assets), figures, levels, refused, groups)


def view_of(policy: Policy, data: TrainingData) -> PolicyView:
    """Apply a policy to training data at their `as_of`; made once for the data."""
    return data.derived(
        ("policy", policy.digest),
        lambda: build_view(policy, id_map=data.id_map, assets=data.assets, market=market_of(data), as_of=data.as_of),
    )


def described_levels(rules: AssetRules, category: str, sub_category: str | None) -> dict[str, RiskLevel]:
    """Return the classes by category and by sub-category, of those rules that say something."""
    table = rules.sub_category.get(category, {})
    found = {
        "category": rules.category.get(category),
        "sub_category": table.get(sub_category or "", table.get(ANY)),
    }
    named = {rule: level for rule, level in found.items() if level is not None}
    return named or {"unclassified": rules.unclassified}


def _levels(rules: AssetRules, assets: Sequence[Asset | None], figures: MarketFigures) -> dict[str, Levels]:
    described = [described_levels(rules, one.asset_category, one.asset_sub_category) if one else {} for one in assets]
    levels = {
        name: np.array([one.get(name, 0) for one in described], dtype=np.int8)
        for name in ("unclassified", "category", "sub_category")
    }
    if rules.volatility:
        levels["volatility"] = _by_bounds(figures.volatility, rules.volatility)
    if rules.drawdown:
        levels["drawdown"] = _by_bounds(figures.drawdown, rules.drawdown)
    if rules.missing_prices:
        few = figures.recent_prices < rules.missing_prices.least_prices
        levels["missing_prices"] = np.where(few, np.int8(rules.missing_prices.level), np.int8(0))
    return levels


def _by_bounds(values: NDArray[np.float64], rule: PriceRule) -> Levels:
    """Return (A,) the class of each figure, one at a bound belongs to the lower class; 0 where it is not known."""
    classes = np.searchsorted(np.array(rule.most), np.nan_to_num(values), side="left") + 1
    return np.where(np.isfinite(values), classes, 0).astype(np.int8)


def _refused(
    policy: Policy, id_map: AssetIdMap, groups: Mapping[str, Labels], figures: MarketFigures
) -> dict[str, Mask]:
    exclusions = policy.exclusions
    listed = np.zeros(len(id_map), dtype=np.bool_)
    listed[id_map.known_indices(exclusions.isins)] = True
    refused = {
        "excluded_isin": listed,
        "excluded_category": groups["category"].are_among(exclusions.categories),
        "excluded_sector": groups["sector"].are_among(exclusions.sectors),
        "excluded_issuer": groups["issuer"].are_among(exclusions.issuers),
    }
    if policy.max_price_age_days is not None:
        refused["price_freshness"] = figures.price_age_days > policy.max_price_age_days
    if policy.liquidity is not None:
        refused["liquidity"] = figures.trades < policy.liquidity.least_trades
    return refused
