"""The gate: by quality with a margin, and by what the finished artifact really recommends."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from shared.recommender.pipeline import recommend
from shared.recommender.types import Customer, CustomerHistory, InvestmentCapacity, RiskLevel
from tests.builders import NOW, build_asset, build_histories, build_history, build_isins, build_model
from trainer.evaluation.metrics import Metrics
from trainer.evaluation.promotion import Margins, decide_promotion, find_problems

ISINS = build_isins(20)
ASSETS = [build_asset(isin) for isin in ISINS]  # shares: level 3
SAFE = build_model(asset_risk_level=np.full(20, 3, dtype=np.int8), tradable=np.ones(20, dtype=np.bool_))
CAREFUL = CustomerHistory(Customer("C1", RiskLevel.CONSERVATIVE, InvestmentCapacity.UNKNOWN))
BOLD = CustomerHistory(Customer("C2", RiskLevel.AGGRESSIVE, InvestmentCapacity.UNKNOWN))


def figures(ndcg: float | None, roi: float | None = None, *, unsuitable: float = 0.0) -> Metrics | None:
    """Return the figures of an evaluation; None for what was not evaluated."""
    if ndcg is None:
        return None
    return Metrics(
        customers=10,
        ndcg_at_10=ndcg,
        ndcg_at_10_warm=None,
        ndcg_at_10_cold=None,
        ndcg_at_10_cold_assets=None,
        cold_customers=0,
        cold_asset_buyers=0,
        cold_asset_share=0.0,
        roi_at_10=roi,
        known_return_share=0.0 if roi is None else 1.0,
        unsuitable_share=unsuitable,
        ndcg_of_customers=np.zeros(10),
    )


@pytest.mark.parametrize(
    ("challenger", "champion", "promoted", "reason"),
    [
        (0.40, None, True, "no champion"),
        (0.40, 0.30, True, "not worse"),
        (0.40, 0.405, True, "not worse"),
        (0.40, 0.42, False, "worse than the champion: nDCG@10 0.4000, champion 0.4200, margin 0.01"),
        (None, 0.42, False, "not evaluated"),
        (float("nan"), 0.42, False, "not evaluated"),
    ],
)
def test_a_challenger_may_be_worse_by_the_margin_and_no_more(
    challenger: float | None, champion: float | None, promoted: bool, reason: str
) -> None:
    decision = decide_promotion(
        figures(challenger),
        champion=figures(champion),
        margins=Margins(0.01, 0.005, standard_error=0.002),
        problems=[],
        shortfalls=[],
    )

    assert decision.promoted is promoted
    assert reason in decision.reason


@pytest.mark.parametrize(("standard_error", "promoted"), [(0.03, True), (0.01, False)])
def test_a_difference_within_the_standard_error_is_chance(standard_error: float, promoted: bool) -> None:
    decision = decide_promotion(
        figures(0.40),
        champion=figures(0.42),
        margins=Margins(0.01, 0.005, standard_error=standard_error),
        problems=[],
    )

    assert decision.promoted is promoted
    assert f"margin {standard_error:g}" in decision.reason


@pytest.mark.parametrize(
    ("challenger", "champion", "promoted", "reason"),
    [
        (0.010, 0.012, True, "ROI@10 0.0100, champion 0.0120, margin 0.005"),
        (0.010, 0.016, False, "worse than the champion: ROI@10 0.0100, champion 0.0160, margin 0.005"),
        (-0.02, -0.01, False, "worse than the champion: ROI@10 -0.0200"),
        (0.0, -0.5, True, "ROI@10 0.0000"),
        (None, 0.016, False, "worse than the champion: ROI@10 unknown, champion 0.0160"),
        (float("nan"), 0.016, False, "worse than the champion: ROI@10 unknown"),
        (0.010, None, True, "ROI@10 of the champion unknown"),
        (0.010, float("nan"), True, "ROI@10 of the champion unknown"),
        (None, None, True, "ROI@10 of the champion unknown"),
    ],
)
def test_a_better_ndcg_does_not_buy_a_worse_return_beyond_its_margin(
    challenger: float | None, champion: float | None, promoted: bool, reason: str
) -> None:
    decision = decide_promotion(
        figures(0.9, challenger),
        champion=figures(0.1, champion),
        margins=Margins(0.01, 0.005),
        problems=[],
        shortfalls=[],
    )

    assert decision.promoted is promoted
    assert reason in decision.reason


@pytest.mark.parametrize("champion", [None, 0.1])
@pytest.mark.parametrize("share", [1e-6, 1.0])
def test_one_unsuitable_list_of_the_evaluation_keeps_the_best_model_out(champion: float | None, share: float) -> None:
    decision = decide_promotion(
        figures(0.9, 0.9, unsuitable=share), champion=figures(champion), margins=Margins(0.01, 0.005), problems=[]
    )

    assert not decision.promoted
    assert decision.reason.startswith("unsafe: ")
    assert "of the evaluated lists have an unsuitable asset" in decision.reason


def test_a_problem_keeps_the_best_model_out() -> None:
    decision = decide_promotion(
        figures(0.9), champion=figures(0.1), margins=Margins(0.01, 0.005), problems=["recommends an owned asset"]
    )

    assert not decision.promoted
    assert "recommends an owned asset" in decision.reason


def test_a_sound_model_has_no_problems() -> None:
    assert find_problems(SAFE, build_histories(SAFE, 40), assets=ASSETS, now=NOW) == []


def test_a_component_that_says_nothing_is_no_problem() -> None:
    nothing = {"profitability.known": np.zeros(20, np.bool_)}
    silent = build_model(
        arrays=nothing, asset_risk_level=np.full(20, 3, dtype=np.int8), tradable=np.ones(20, dtype=np.bool_)
    )

    assert find_problems(silent, build_histories(silent, 40), assets=ASSETS, now=NOW) == []


def test_a_model_that_calls_shares_safe_is_found_out_by_the_catalogue() -> None:
    lying = replace(SAFE, asset_risk_level=np.ones(20, dtype=np.int8))

    problems = find_problems(lying, [CAREFUL, BOLD], assets=ASSETS, now=NOW)

    assert problems == ["recommends an unsuitable asset (1 of 2 customers)"]


def test_an_asset_outside_the_catalogue_is_found() -> None:
    problems = find_problems(SAFE, [BOLD], assets=ASSETS[:5], now=NOW)

    assert problems == ["recommends an asset outside the catalogue (1 of 1 customers)"]


def test_an_owned_asset_is_found(monkeypatch: pytest.MonkeyPatch) -> None:
    owner = build_history("C3", owned=ISINS[:3])
    blind = recommend(SAFE, [build_history("C3")], k=20, now=NOW)
    monkeypatch.setattr("trainer.evaluation.promotion.recommend", lambda *_, **__: blind)

    assert find_problems(SAFE, [owner], assets=ASSETS, now=NOW) == ["recommends an owned asset (1 of 1 customers)"]


def test_a_model_without_any_tradable_asset_is_found() -> None:
    idle = replace(SAFE, tradable=np.zeros(20, dtype=np.bool_))

    assert find_problems(idle, [BOLD], assets=ASSETS, now=NOW) == ["no asset is tradable (1 of 1 customers)"]
