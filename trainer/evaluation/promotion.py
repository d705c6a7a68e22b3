"""Whether a new model may replace the one that is served: a decision with its reason."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from shared.recommender.candidates import asset_risk_level, is_suitable
from shared.recommender.model import Model
from shared.recommender.pipeline import recommend
from shared.recommender.types import Asset, CustomerHistory, Ranking

LEAST_SHARE = 0.5  # of the champion's purchases, customers and assets that a challenger must have learned from
COUNTED = ("purchases", "customers", "assets")


@dataclass(frozen=True)
class PromotionDecision:
    """What happens to a challenger, and why."""

    promoted: bool
    reason: str


def decide_promotion(
    *,
    challenger: float | None,
    champion: float | None,
    standard_error: float,
    least_margin: float,
    problems: Sequence[str],
    shortfalls: Sequence[str] | None = None,
) -> PromotionDecision:
    """Decide by nDCG@10 on the same split; None means not evaluated, or that there is no champion to compare with.

    A challenger may be worse by the larger of `least_margin` and the standard error of the difference: a smaller
    one is chance. Any problem that the safety check found keeps a model out, whatever its figures, and so does what
    `find_shortfalls` found. `shortfalls` is None when no model is served: only then is a model promoted that could
    not be evaluated, because any sound model is better than none.
    """
    if problems:
        return PromotionDecision(False, f"unsafe: {'; '.join(problems)}")
    if shortfalls:
        return PromotionDecision(False, f"learned too little: {'; '.join(shortfalls)}")
    if challenger is None or not math.isfinite(challenger):
        return _decide_unevaluated(is_served=shortfalls is not None)
    if champion is None:
        return PromotionDecision(True, f"no champion to compare with; nDCG@10 {challenger:.4f}")
    margin = max(least_margin, standard_error)
    compared = f"nDCG@10 {challenger:.4f}, champion {champion:.4f}, margin {margin:.4g}"
    if challenger < champion - margin:
        return PromotionDecision(False, f"worse than the champion: {compared}")
    return PromotionDecision(True, f"not worse than the champion: {compared}")


def find_shortfalls(challenger: Mapping[str, Any], champion: Mapping[str, Any] | None) -> list[str]:
    """Return which counts of what a model learned from are less than LEAST_SHARE of the champion's.

    Both are watermarks. A count that the champion's does not have (no champion, or an older version) is not compared.
    """
    known = {name: count for name in COUNTED if isinstance(count := (champion or {}).get(name), int)}
    return [
        f"from {challenger[name]} {name}, the served model from {count}"
        for name, count in known.items()
        if challenger[name] < LEAST_SHARE * count
    ]


def _decide_unevaluated(*, is_served: bool) -> PromotionDecision:
    reason = "not evaluated: too few purchases for a temporal split"
    if is_served:
        return PromotionDecision(False, f"{reason}; the served model stays")
    return PromotionDecision(True, f"{reason}; promoted because no model is served")


def find_problems(
    model: Model, histories: Sequence[CustomerHistory], *, assets: Sequence[Asset], now: datetime
) -> list[str]:
    """Return what is wrong with the lists that the finished artifact gives these customers; empty is good.

    Judged by the catalogue, not by what the model itself says of its assets.
    """
    levels = {asset.isin: asset_risk_level(asset.asset_category, asset.asset_sub_category) for asset in assets}
    problems: dict[str, int] = {}
    for history, ranking in zip(histories, recommend(model, histories, now=now), strict=True):
        for problem in _problems_of(ranking, history, levels):
            problems[problem] = problems.get(problem, 0) + 1
    if not model.tradable.any():
        problems["no asset is tradable"] = len(histories)
    return [f"{problem} ({count} of {len(histories)} customers)" for problem, count in sorted(problems.items())]


def _problems_of(ranking: Ranking, history: CustomerHistory, levels: Mapping[str, int]) -> set[str]:
    owned = set(history.owned)
    found = set()
    for place in ranking.assets:
        level = levels.get(place.isin)
        if level is None:
            found.add("recommends an asset outside the catalogue")
        elif not is_suitable(level, history.customer):
            found.add("recommends an unsuitable asset")
        if place.isin in owned:
            found.add("recommends an owned asset")
        values = (place.score, *vars(place.contributions).values())
        if not np.isfinite([value for value in values if value is not None]).all():
            found.add("gives a score that is not finite")
    return found
