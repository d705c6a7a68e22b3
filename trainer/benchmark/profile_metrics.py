"""How lists agree with the customer's risk profile, compared with random lists, and with the best suitable ten.

Profile coherence@10 is the share of the ten whose risk level is at most one away from the customer's; its strict form
asks for the same level. This definition, and the lift over random lists, are those of the published code of the
profile-stratified LightGCN on FAR-Trans (Samthesimpsons/Risk-Based-Segmentation-for-FAR, src/utils/metrics.py). Three
points are ours: an asset's level is that of the suitability rule (there, quartiles of volatility grade shares), random
lists draw from the customer's own candidates (there, from all assets), and a customer whose level is not known has no
figure (there, 0). The share at or below the customer's level, which the suitability rule asks for, is ours.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from shared.recommender.list_rules import NO_ASSET
from shared.recommender.pipeline import K
from trainer.benchmark.ground_truth import Figures, GroundTruth, Mask, row_means, take
from trainer.benchmark.known import Lists

RULES = ("profile_coherence", "profile_match", "suitable_places")
PROFILE_METRICS = (*RULES, *(f"{rule}_lift" for rule in RULES), "regret")


def profile_metrics(lists: Lists, truth: GroundTruth) -> dict[str, Figures]:
    """Return (B,) PROFILE_METRICS of (B, K) lists, NaN where one does not exist.

    X_lift: X by its expected value in a random list; NaN where no candidate obeys the rule. regret: mean monthly return
    of the best ten suitable candidates whose return is known, with hindsight, minus that of the list's known ones.
    """
    if truth.asset_levels is None:
        return {name: np.full(len(lists), np.nan) for name in PROFILE_METRICS}
    figures = {}
    for rule, (obeyed, expected) in _rules(truth).items():
        share = row_means(np.where(lists != NO_ASSET, take(obeyed, lists), np.nan))
        share[np.isnan(expected)] = np.nan
        figures[rule] = share
        figures[f"{rule}_lift"] = np.divide(share, expected, out=np.full(len(lists), np.nan), where=expected > 0)
    own = row_means(truth.at_places(truth.returns, lists))
    figures["regret"] = truth.derived("best suitable", lambda: best_suitable_returns(truth)) - own
    return figures


def expected_share(obeyed: Mask, candidates: Mask) -> Figures:
    """Return (B,) the mean share of places that obey a rule in a random list of the row's candidates, NaN without any.

    Each candidate is equally likely at each place, so the mean is the share among the candidates, whatever the length.
    """
    counts = candidates.sum(axis=1)
    obeying = (obeyed & candidates).sum(axis=1)
    shares: Figures = np.divide(obeying, counts, out=np.full(len(counts), np.nan), where=counts > 0)
    return shares


def best_suitable_returns(truth: GroundTruth) -> Figures:
    """Return (B,) the mean return of the K best suitable candidates with a known return, NaN without any."""
    assert truth.suitable is not None
    eligible = truth.candidates & truth.suitable & np.isfinite(truth.returns)
    returns = np.where(eligible, truth.returns, -np.inf)
    most = min(K, returns.shape[1])
    best = np.partition(returns, returns.shape[1] - most, axis=1)[:, -most:]
    return row_means(np.where(best > -np.inf, best, np.nan))


def _rules(truth: GroundTruth) -> Mapping[str, tuple[Mask, Figures]]:
    """Return for each rule (B, A) which assets obey it and (B,) the expected share; made once for the time point."""
    return truth.derived("profile rules", lambda: _build_rules(truth))


def _build_rules(truth: GroundTruth) -> dict[str, tuple[Mask, Figures]]:
    assert truth.asset_levels is not None
    assert truth.suitable is not None
    levels = [truth.known.training.customers[position].risk_level for position in truth.customers]
    known = np.array([level is not None for level in levels], dtype=np.bool_)
    own = np.array([level or 0 for level in levels], dtype=np.int8)
    distance = np.abs(truth.asset_levels[np.newaxis] - own[:, np.newaxis])
    obeyed = dict(zip(RULES, (distance <= 1, distance == 0, truth.suitable), strict=True))
    expected = {rule: expected_share(mask, truth.candidates) for rule, mask in obeyed.items()}
    for rule in RULES[:2]:
        expected[rule][~known] = np.nan
    return {rule: (obeyed[rule], expected[rule]) for rule in RULES}
