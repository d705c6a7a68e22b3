"""Codes of the published data and what they stand for."""

from __future__ import annotations

import pytest

from shared.far_trans.schema import TABLES, parse_investment_capacity, parse_risk_level
from shared.recommender.types import InvestmentCapacity, RiskLevel


@pytest.mark.parametrize(
    ("code", "level"),
    [
        ("Conservative", RiskLevel.CONSERVATIVE),
        ("Income", RiskLevel.INCOME),
        ("Balanced", RiskLevel.BALANCED),
        ("Aggressive", RiskLevel.AGGRESSIVE),
        ("Predicted_Aggressive", RiskLevel.AGGRESSIVE),
        ("Not_Available", None),
        ("", None),
        (None, None),
    ],
)
def test_a_predicted_risk_level_counts_like_a_stated_one(code: str | None, level: RiskLevel | None) -> None:
    assert parse_risk_level(code) is level


@pytest.mark.parametrize(
    ("code", "capacity"),
    [
        ("CAP_LT30K", InvestmentCapacity.LESS_THAN_30K),
        ("CAP_LT_30K", InvestmentCapacity.LESS_THAN_30K),
        ("CAP_30K_80K", InvestmentCapacity.FROM_30K_TO_80K),
        ("Predicted_CAP_80K_300K", InvestmentCapacity.FROM_80K_TO_300K),
        ("Predicted_CAP_GT300K", InvestmentCapacity.MORE_THAN_300K),
        ("Predicted_GT300K", InvestmentCapacity.MORE_THAN_300K),
        ("Not_Available", InvestmentCapacity.UNKNOWN),
        (None, InvestmentCapacity.UNKNOWN),
    ],
)
def test_both_spellings_of_a_capacity_are_known(code: str | None, capacity: InvestmentCapacity) -> None:
    assert parse_investment_capacity(code) is capacity


def test_only_transactions_and_close_prices_may_be_missing() -> None:
    assert {table.file_name for table in TABLES if table.optional} == {"transactions.csv", "close_prices.csv"}
