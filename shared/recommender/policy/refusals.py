"""Why an asset is not in a customer's list: rule, inputs and threshold; one function for every service."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from shared.recommender.candidates import CatalogueView, policy_of
from shared.recommender.history import dismissed_isins
from shared.recommender.limits import LimitCounts
from shared.recommender.model import Model
from shared.recommender.policy.ceilings import stated_ceiling
from shared.recommender.policy.concentration import portfolio_limits
from shared.recommender.policy.rules import PriceRule
from shared.recommender.policy.view import PolicyView
from shared.recommender.types import CustomerHistory, RiskLevel


@dataclass(frozen=True)
class Refusal:
    """A rule that refuses an asset to a customer, what it looked at, and the bound that these inputs are beyond."""

    rule: str
    inputs: Mapping[str, Any]
    threshold: Any


def find_refusals(
    model: Model, history: CustomerHistory, isin: str, *, catalogue: CatalogueView | None, listed: Sequence[str] = ()
) -> list[Refusal]:
    """Return every reason for which the list of this customer may not hold this asset; none: it is a candidate.

    listed: the assets that the list has; with them the caps are checked as well. Exactly the assets without a reason
    are candidates (`candidate_mask`). Raises ValueError without a policy.
    """
    policy = policy_of(model, catalogue)
    if policy is None:
        raise ValueError("reasons need a policy")
    if isin not in model.id_map:
        return [Refusal("unknown", {"isin": isin}, "known to the model")]
    asset = model.id_map.asset_index(isin)
    reasons = [*_unavailable(model, history, asset, catalogue), *_excluded(policy, asset)]
    if policy.asset_class[asset] > (ceiling := policy.ceiling(history)):
        reasons.append(_too_risky(policy, history, asset, ceiling))
    if not reasons and listed:
        reasons += _over_caps(policy, history, asset, model.id_map.known_indices(listed))
    return reasons


def count_refusals(
    model: Model, histories: Sequence[CustomerHistory], *, catalogue: CatalogueView | None
) -> Counter[str]:
    """Return how often each rule of the policy refuses an available asset to these customers; one may have several."""
    policy = policy_of(model, catalogue)
    if policy is None:
        raise ValueError("reasons need a policy")
    available = model.tradable if catalogue is None else model.tradable & catalogue.listed
    above = policy.asset_class > policy.ceilings(histories)[:, np.newaxis]
    counts = Counter({rule: int((mask & available).sum()) * len(histories) for rule, mask in policy.refused.items()})
    for rule in policy.levels:
        decides = policy.levels[rule] == policy.asset_class
        counts[f"risk_{rule}"] = int((above & available & decides).sum())
    return +counts


def _unavailable(
    model: Model, history: CustomerHistory, asset: int, catalogue: CatalogueView | None
) -> Iterable[Refusal]:
    isin = model.id_map.isins[asset]
    if catalogue is not None and catalogue.suspended[asset]:
        yield Refusal("suspended", {"isin": isin}, "not suspended")
    elif catalogue is not None and not catalogue.listed[asset]:
        yield Refusal("catalogue", {"isin": isin}, "in the catalogue")
    if not model.tradable[asset]:
        yield Refusal("tradable", {"as_of": model.as_of.isoformat()}, "tradable at this day")
    if isin in history.owned:
        yield Refusal("held", {"isin": isin}, "not held")
    if isin in dismissed_isins(history):
        yield Refusal("dismissed", {"isin": isin}, "not dismissed")


def _excluded(policy: PolicyView, asset: int) -> Iterable[Refusal]:
    figures, rules = policy.figures, policy.policy
    inputs: dict[str, tuple[dict[str, Any], Any]] = {
        "price_freshness": ({"price_age_days": _number(figures.price_age_days[asset])}, rules.max_price_age_days),
        "liquidity": (
            {"trades": int(figures.trades[asset])},
            rules.liquidity.least_trades if rules.liquidity else None,
        ),
        "excluded_isin": ({"isin": policy.id_map.isins[asset]}, "not among exclusions.isins"),
    }
    for rule, mask in policy.refused.items():
        if mask[asset]:
            yield Refusal(rule, *(inputs.get(rule) or _excluded_group(policy, rule.removeprefix("excluded_"), asset)))


def _excluded_group(policy: PolicyView, group: str, asset: int) -> tuple[dict[str, Any], Any]:
    return {group: label_of(policy, group, asset)}, f"no excluded {group}"


def _too_risky(policy: PolicyView, history: CustomerHistory, asset: int, ceiling: int) -> Refusal:
    asset_class = int(policy.asset_class[asset])
    rules = [name for name, levels in policy.levels.items() if levels[asset] == asset_class]
    customer = history.customer
    stated = stated_ceiling(policy.policy.customers, customer, list_date=policy.as_of)
    inputs = {
        "asset_class": asset_class,
        "class_by": {name: _class_inputs(policy, name, asset) for name in rules},
        "stated_level": None if customer.risk_level is None else int(customer.risk_level),
        "profile": [state.value for state in stated.states],
        "questionnaire_on": customer.questionnaire_on and customer.questionnaire_on.isoformat(),
        "tolerance": policy.policy.customers.tolerance.value,
    }
    return Refusal(f"risk_{rules[0]}", inputs, {"ceiling": ceiling})


def _class_inputs(policy: PolicyView, rule: str, asset: int) -> dict[str, Any]:
    """Return what a rule of classes looked at, and the bounds of the class."""
    figures, rules, described = policy.figures, policy.policy.assets, policy.assets[asset]
    if rule == "missing_prices" and rules.missing_prices:
        return {"prices": int(figures.recent_prices[asset]), "least_prices": rules.missing_prices.least_prices}
    if rule in ("volatility", "drawdown"):
        bounds: PriceRule = getattr(rules, rule)
        figure = float(getattr(figures, rule)[asset])
        count = int(getattr(figures, f"{rule}_prices")[asset])
        return {rule: round(figure, 6), "prices": count, "most": list(bounds.most)}
    if described is None:
        return {}
    return {"category": described.asset_category, "sub_category": described.asset_sub_category}


def _over_caps(policy: PolicyView, history: CustomerHistory, asset: int, listed: Sequence[int]) -> Iterable[Refusal]:
    names = list(policy.policy.caps.given())
    limits = portfolio_limits(policy, history, max(len(listed), 1))
    for name, limit in zip(names, limits, strict=True):
        if asset not in listed and not LimitCounts([limit], listed).add(asset):
            label = label_of(policy, name, asset)
            members = policy.groups[name].numbers == policy.groups[name].numbers[asset]
            yield Refusal(
                f"cap_{name}",
                {name: label, "held": int(members[list(limit.held)].sum()), "listed": int(members[list(listed)].sum())},
                {"most": limit.most, "share": policy.policy.caps.given()[name]},
            )


def label_of(policy: PolicyView, group: str, asset: int) -> str | None:
    """Return the sector, category or issuer of an asset."""
    return policy.groups[group].name(asset)


def level_name(level: int) -> str:
    """Return the name of a class or ceiling, `nothing` for 0."""
    return RiskLevel(level).name.lower() if level else "nothing"


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
