"""The ceiling of a customer: the highest class of an asset that a list may hold, 0 for none, and why."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from enum import StrEnum

from shared.recommender.policy.rules import CustomerRules, RestrictedMode, Tolerance
from shared.recommender.types import Customer, RiskLevel

NOTHING = 0


class ProfileState(StrEnum):
    """What a customer's profile is at the list's date."""

    STATED = "stated"
    PREDICTED = "predicted"
    EXPIRED = "expired"
    UNDATED = "undated"
    NOT_AVAILABLE = "not_available"


@dataclass(frozen=True)
class Ceiling:
    """The highest class for a customer, and what it follows from. is_restricted: a mode other than accept applied."""

    level: int
    states: tuple[ProfileState, ...]
    is_restricted: bool


def stated_ceiling(rules: CustomerRules, customer: Customer, *, list_date: date) -> Ceiling:
    """Return the ceiling without tolerance. Of several states of a profile the lowest result counts."""
    states = profile_states(rules, customer, list_date=list_date)
    modes = [RestrictedMode(getattr(rules, state.value)) for state in states if state is not ProfileState.STATED]
    level = int(customer.risk_level or RiskLevel.CONSERVATIVE)
    restricted = [mode for mode in modes if mode is not RestrictedMode.ACCEPT]
    return Ceiling(min([level, *(_lowered(level, mode) for mode in restricted)]), states, bool(restricted))


def ceiling_of(rules: CustomerRules, customer: Customer, *, list_date: date, highest_held: int = NOTHING) -> int:
    """Return the ceiling, tolerance included; a restricted profile has no tolerance.

    highest_held: the highest class among the assets that the customer holds.
    """
    stated = stated_ceiling(rules, customer, list_date=list_date)
    if stated.is_restricted or rules.tolerance is Tolerance.STRICT:
        return stated.level
    if rules.tolerance is Tolerance.ONE_BAND:
        return min(stated.level + 1, int(RiskLevel.AGGRESSIVE))
    return max(stated.level, highest_held)


def profile_states(rules: CustomerRules, customer: Customer, *, list_date: date) -> tuple[ProfileState, ...]:
    """Return what the profile is at this date; a questionnaire of a later day is not known at it."""
    if customer.risk_level is None:
        return (ProfileState.NOT_AVAILABLE,)
    states = []
    if customer.is_predicted:
        states.append(ProfileState.PREDICTED)
    asked = customer.questionnaire_on
    if asked is None or asked > list_date:
        states.append(ProfileState.UNDATED)
    elif expiry_of(asked, rules.questionnaire_years) < list_date:
        states.append(ProfileState.EXPIRED)
    return tuple(states) or (ProfileState.STATED,)


def expiry_of(asked: date, years: int) -> date:
    """Return the last day on which answers of this day are valid."""
    year = min(asked.year + years, date.max.year)
    try:
        return asked.replace(year=year)
    except ValueError:  # 29 February
        return asked.replace(year=year, day=28)


def _lowered(level: int, mode: RestrictedMode) -> int:
    if mode is RestrictedMode.NOTHING:
        return NOTHING
    if mode is RestrictedMode.LOWEST:
        return min(level, int(RiskLevel.CONSERVATIVE))
    return max(level - 1, int(RiskLevel.CONSERVATIVE))
