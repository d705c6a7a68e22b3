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
from trainer.evaluation.metrics import Metrics

LEAST_SHARE = 0.5  # of the champion's purchases, customers and assets that a challenger must have learned from
COUNTED = ("purchases", "customers", "assets")


@dataclass(frozen=True)
class PromotionDecision:
    """What happens to a challenger, and why; `is_redundant`: the served model is the same, so nobody needs this one."""

    promoted: bool
    reason: str
    is_redundant: bool = False


@dataclass(frozen=True)
class Margins:
    """How much worse than the champion a challenger may be.

    ndcg_at_10: at least this, or the standard error of the difference, if that is more: a smaller one is chance.
    roi_at_10: of the monthly return of the lists.
    """

    ndcg_at_10: float
    roi_at_10: float
    standard_error: float = 0.0


def decide_promotion(
    challenger: Metrics | None,
    *,
    champion: Metrics | None,
    margins: Margins,
    problems: Sequence[str],
    shortfalls: Sequence[str] | None = None,
) -> PromotionDecision:
    """Decide by nDCG@10 and ROI@10 on the same split; None: not evaluated, or there is no champion to compare with.

    Any problem that the safety check found keeps a model out, whatever its figures, and so does one unsuitable list of
    the evaluation, and what `find_shortfalls` found. `shortfalls` is None when no model is served: only then is a model
    promoted that could not be evaluated, because any sound model is better than none.
    """
    unsafe = [*problems, *_find_unsuitable(challenger)]
    if unsafe:
        return PromotionDecision(False, f"unsafe: {'; '.join(unsafe)}")
    if shortfalls:
        return PromotionDecision(False, f"learned too little: {'; '.join(shortfalls)}")
    if challenger is None or not math.isfinite(challenger.ndcg_at_10):
        return _decide_unevaluated(is_served=shortfalls is not None)
    if champion is None:
        return PromotionDecision(True, f"no champion to compare with; nDCG@10 {challenger.ndcg_at_10:.4f}")
    margin = max(margins.ndcg_at_10, margins.standard_error)
    compared = f"nDCG@10 {challenger.ndcg_at_10:.4f}, champion {champion.ndcg_at_10:.4f}, margin {margin:.4g}"
    if challenger.ndcg_at_10 < champion.ndcg_at_10 - margin:
        return PromotionDecision(False, f"worse than the champion: {compared}")
    returns = _compare_returns(challenger.roi_at_10, champion.roi_at_10, margin=margins.roi_at_10)
    if not returns.promoted:
        return returns
    return PromotionDecision(True, f"not worse than the champion: {compared}; {returns.reason}")


def _find_unsuitable(challenger: Metrics | None) -> list[str]:
    share = challenger.unsuitable_share if challenger else 0.0
    return [] if share == 0.0 else [f"{share:.2%} of the evaluated lists have an unsuitable asset"]


def _compare_returns(challenger: float | None, champion: float | None, *, margin: float) -> PromotionDecision:
    """A return that nobody knows is compared with nothing; unknown where the champion's is known is worse."""
    if champion is None or not math.isfinite(champion):
        return PromotionDecision(True, "ROI@10 of the champion unknown")
    if challenger is None or not math.isfinite(challenger):
        return PromotionDecision(False, f"worse than the champion: ROI@10 unknown, champion {champion:.4f}")
    compared = f"ROI@10 {challenger:.4f}, champion {champion:.4f}, margin {margin:.4g}"
    if challenger < champion - margin:
        return PromotionDecision(False, f"worse than the champion: {compared}")
    return PromotionDecision(True, compared)


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
        values = (place.score, *place.contributions)
        if not np.isfinite([value for value in values if value is not None]).all():
            found.add("gives a score that is not finite")
    return found
