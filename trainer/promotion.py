"""Whether a new model may replace the one that is served: a decision with its reason."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from shared.domain.candidates import asset_risk_level, is_suitable
from shared.domain.model import Model
from shared.domain.ranking import recommend
from shared.domain.types import Asset, CustomerHistory, Ranking

K = 10


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
) -> PromotionDecision:
    """Decide by nDCG@10 on the same split; None means not evaluated, or that there is no champion.

    A challenger may be worse by the larger of `least_margin` and the standard error of the difference: a smaller
    one is chance. Any problem that the safety check found keeps a model out, whatever its figures.
    """
    if problems:
        return PromotionDecision(False, f"unsafe: {'; '.join(problems)}")
    if challenger is None:
        return PromotionDecision(True, "not evaluated: too few purchases for a temporal split")
    if champion is None:
        return PromotionDecision(True, f"no champion to compare with; nDCG@10 {challenger:.4f}")
    margin = max(least_margin, standard_error)
    compared = f"nDCG@10 {challenger:.4f}, champion {champion:.4f}, margin {margin:.4g}"
    if challenger < champion - margin:
        return PromotionDecision(False, f"worse than the champion: {compared}")
    return PromotionDecision(True, f"not worse than the champion: {compared}")


def find_problems(
    model: Model, histories: Sequence[CustomerHistory], *, assets: Sequence[Asset], now: datetime
) -> list[str]:
    """Return what is wrong with the lists that the finished artifact gives these customers; empty is good.

    Judged by the catalogue, not by what the model itself says of its assets.
    """
    levels = {asset.isin: asset_risk_level(asset.asset_category, asset.asset_sub_category) for asset in assets}
    problems: dict[str, int] = {}
    for history, ranking in zip(histories, recommend(model, histories, k=K, now=now), strict=True):
        for problem in _problems_of(ranking, history, levels):
            problems[problem] = problems.get(problem, 0) + 1
    if histories and not model.tradable.any():
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
        if not np.isfinite([place.score, *vars(place.contributions).values()]).all():
            found.add("gives a score that is not finite")
    return found
