"""The ceiling of a customer: stated level, restricted modes, tolerance."""

from __future__ import annotations

from datetime import date

import pytest

from shared.recommender.policy.ceilings import ceiling_of, expiry_of, profile_states, stated_ceiling
from shared.recommender.types import Customer, RiskLevel
from tests.unit.recommender.policy.policies import BASE, policy_with

DAY = date(2020, 6, 1)
RECENT = date(2019, 6, 1)


def customer(level: RiskLevel | None, *, predicted: bool = False, asked: date | None = RECENT) -> Customer:
    return Customer("C", level, is_predicted=predicted, questionnaire_on=asked)


@pytest.mark.parametrize("level", RiskLevel)
def test_a_stated_level_is_the_ceiling(level: RiskLevel) -> None:
    assert ceiling_of(policy_with().customers, customer(level), list_date=DAY) == level


@pytest.mark.parametrize(("mode", "expected"), [("accept", 3), ("one_lower", 2), ("lowest", 1), ("nothing", 0)])
def test_a_predicted_profile_is_a_restricted_mode(mode: str, expected: int) -> None:
    rules = policy_with(predicted=f'"{mode}"').customers
    assert ceiling_of(rules, customer(RiskLevel.BALANCED, predicted=True), list_date=DAY) == expected


def test_a_questionnaire_expires_after_three_years_at_the_date_of_the_list() -> None:
    rules = policy_with().customers
    asked = date(2017, 6, 1)
    assert ceiling_of(rules, customer(RiskLevel.BALANCED, asked=asked), list_date=date(2020, 6, 1)) == 3
    assert ceiling_of(rules, customer(RiskLevel.BALANCED, asked=asked), list_date=date(2020, 6, 2)) == 1


def test_a_questionnaire_of_a_later_day_is_not_known_yet() -> None:
    rules = policy_with(undated='"one_lower"').customers
    later = customer(RiskLevel.BALANCED, asked=date(2020, 6, 2))
    assert profile_states(rules, later, list_date=DAY) == ("undated",)
    assert ceiling_of(rules, later, list_date=DAY) == 2
    assert ceiling_of(rules, customer(RiskLevel.BALANCED, asked=None), list_date=DAY) == 2


def test_of_two_restrictions_the_lower_counts() -> None:
    old = customer(RiskLevel.AGGRESSIVE, predicted=True, asked=date(2000, 1, 1))
    found = stated_ceiling(policy_with().customers, old, list_date=DAY)
    assert (found.level, found.is_restricted, found.states) == (1, True, ("predicted", "expired"))


@pytest.mark.parametrize(("mode", "expected"), [("lowest", 1), ("nothing", 0)])
def test_an_unknown_level_is_a_restricted_mode(mode: str, expected: int) -> None:
    rules = policy_with(not_available=f'"{mode}"').customers
    assert ceiling_of(rules, customer(None), list_date=DAY) == expected


@pytest.mark.parametrize(
    ("tolerance", "held", "expected"),
    [("strict", 4, 2), ("one_band", 0, 3), ("revealed", 0, 2), ("revealed", 3, 3), ("revealed", 1, 2)],
)
def test_tolerance_of_a_stated_level(tolerance: str, held: int, expected: int) -> None:
    rules = policy_with(tolerance=f'"{tolerance}"').customers
    assert ceiling_of(rules, customer(RiskLevel.INCOME), list_date=DAY, highest_held=held) == expected
    assert ceiling_of(rules, customer(RiskLevel.INCOME, predicted=True), list_date=DAY, highest_held=held) == 1


def test_there_is_no_band_above_the_highest() -> None:
    rules = policy_with(BASE, tolerance='"one_band"').customers
    assert ceiling_of(rules, customer(RiskLevel.AGGRESSIVE), list_date=DAY) == 4


def test_dates_at_the_ends_of_the_calendar_do_not_fail() -> None:
    assert expiry_of(date(2016, 2, 29), 3) == date(2019, 2, 28)
    assert expiry_of(date.max, 100) == date.max
