"""The words of the domain as frozen types; glossary: docs/glossary.md."""

from __future__ import annotations

import math
from collections.abc import Collection
from dataclasses import dataclass
from datetime import date, datetime
from enum import IntEnum, StrEnum
from typing import NamedTuple

from shared.errors import InvalidWeights

MOST_NEW_ASSET_DAYS = 3_650
INTERACTION_WINDOW = 1_000  # so many interactions of a customer, the newest of the log, are fetched for scoring


class RiskLevel(IntEnum):
    """How much risk a customer accepts, or an asset carries; 1 is the least."""

    CONSERVATIVE = 1
    INCOME = 2
    BALANCED = 3
    AGGRESSIVE = 4


class InvestmentCapacity(IntEnum):
    """How much a customer might invest, in four bands; UNKNOWN where the bank does not know."""

    UNKNOWN = 0
    LESS_THAN_30K = 1
    FROM_30K_TO_80K = 2
    FROM_80K_TO_300K = 3
    MORE_THAN_300K = 4


CAPACITY_COUNT = len(InvestmentCapacity)  # the length of an enumeration is counted each time
SEGMENT_COUNT = (len(RiskLevel) + 1) * CAPACITY_COUNT


def segment_index(risk_level: RiskLevel | None, capacity: InvestmentCapacity) -> int:
    """Return the number of a segment (risk level x investment capacity), unknowns included, from 0."""
    return int(risk_level or 0) * CAPACITY_COUNT + int(capacity)


class InteractionType(StrEnum):
    """What a customer did with an asset in the app; an impression says only that the app showed it."""

    CLICK = "click"
    VIEW = "view"
    WATCHLIST = "watchlist"
    DISMISS = "dismiss"
    IMPRESSION = "impression"
    UNWATCH = "unwatch"
    UNDISMISS = "undismiss"


# An impression is no part of a history. Of each asset the last of WATCH_TYPES says whether it is watched, the last of
# DISMISSAL_TYPES whether it is dismissed: to end a watchlist entry shows no interest, so it ends no dismissal.
HISTORY_TYPES = tuple(kind for kind in InteractionType if kind is not InteractionType.IMPRESSION)
WATCH_TYPES = (InteractionType.WATCHLIST, InteractionType.UNWATCH)
DISMISSAL_TYPES = tuple(kind for kind in HISTORY_TYPES if kind is not InteractionType.UNWATCH)


class Basis(StrEnum):
    """What a ranking rests on: the customer's own history, or the prior of their segment.

    NOTHING_SUITABLE: the list is empty because the policy refuses every asset that it could hold.
    """

    HISTORY = "history"
    SEGMENT_PRIOR = "segment_prior"
    NOTHING_SUITABLE = "nothing_suitable"


@dataclass(frozen=True)
class Customer:
    """A customer as the recommender needs them; `risk_level` None means that the bank does not know it.

    is_predicted: the bank's algorithm found the level, not the customer. questionnaire_on: the day of the answers.
    """

    customer_id: str
    risk_level: RiskLevel | None = None
    investment_capacity: InvestmentCapacity = InvestmentCapacity.UNKNOWN
    is_predicted: bool = False
    questionnaire_on: date | None = None


@dataclass(frozen=True)
class Interaction:
    """One event of a customer with one asset. `occurred_at` is the sender's clock: age for time decay, never order."""

    isin: str
    type: InteractionType
    occurred_at: datetime


@dataclass(frozen=True)
class CustomerHistory:
    """What a customer owns and what they did in the app, in the order of the log.

    `formerly_held` is what they bought and sold entirely: it may be recommended again, and says as much of their taste
    as what they own. In a training and an evaluation everything that was ever bought counts as owned.
    `interactions` may be the newest ones only. `dismissed` are all assets whose last interaction ever is a dismissal;
    those among `interactions` need not be repeated there.
    """

    customer: Customer
    owned: tuple[str, ...] = ()
    interactions: tuple[Interaction, ...] = ()
    dismissed: tuple[str, ...] = ()
    formerly_held: tuple[str, ...] = ()

    @property
    def ever_owned(self) -> tuple[str, ...]:
        """What signals learn from and score with: everything that was ever bought, sold or not."""
        return self.owned + self.formerly_held


@dataclass(frozen=True)
class Weights:
    """Weights of the three components; finite, not negative, not all zero. Raises InvalidWeights."""

    collaborative: float
    content: float
    profitability: float

    def __post_init__(self) -> None:
        values = (self.collaborative, self.content, self.profitability)
        if not all(math.isfinite(value) for value in values) or min(values) < 0 or sum(values) <= 0:
            raise InvalidWeights
        if not math.isfinite(sum(values)):
            raise InvalidWeights

    def normalised(self) -> Weights:
        """Return the same proportions, summing to one."""
        largest = max(self.collaborative, self.content, self.profitability)
        values = [value / largest for value in (self.collaborative, self.content, self.profitability)]
        return Weights(*(value / sum(values) for value in values))

    def without(self, silent: Collection[str]) -> Weights | None:
        """Return the weights with 0 for the components of these names; None when nothing is left."""
        values = {name: 0.0 if name in silent else value for name, value in vars(self).items()}
        return Weights(**values) if any(values.values()) else None


@dataclass(frozen=True)
class InteractionWeights:
    """How much of an owned asset an interaction counts for, by type: half of it after `half_life_days`.

    window: how many interactions of a customer count, the newest of the log; exclusions have no window.
    Raises InvalidWeights when a weight is negative or not finite, the half-life is zero, or the window is not in
    1..INTERACTION_WINDOW.
    """

    click: float = 0.8
    view: float = 0.2
    watchlist: float = 1.0
    half_life_days: float = 30.0
    window: int = INTERACTION_WINDOW

    def __post_init__(self) -> None:
        values = (self.click, self.view, self.watchlist, self.half_life_days)
        if not all(math.isfinite(value) for value in values) or min(values) < 0 or self.half_life_days == 0:
            raise InvalidWeights("interaction weights must be finite and not negative, the half-life above zero")
        if type(self.window) is not int or not 1 <= self.window <= INTERACTION_WINDOW:
            raise InvalidWeights(f"the interaction window must be a number from 1 to {INTERACTION_WINDOW}")

    def of(self, interaction_type: InteractionType) -> float:
        """Return the weight of one interaction of this type; 0 where it shows no interest in the asset."""
        return float(vars(self).get(interaction_type.value, 0.0))


DEFAULT_INTERACTION_WEIGHTS = InteractionWeights()


@dataclass(frozen=True)
class ListRules:
    """What holds for a list besides the scores (docs/decisions/0027).

    largest_sector_share: of the places of a list. exploration_share: of the customers whose last place is for a new
    asset. new_asset_days: how long an asset that nobody has bought is new, ten years at most. Raises InvalidWeights.
    """

    largest_sector_share: float = 0.5
    exploration_share: float = 0.1
    new_asset_days: int = 30

    def __post_init__(self) -> None:
        shares = (self.largest_sector_share, self.exploration_share)
        if not all(0 <= share <= 1 for share in shares):
            raise InvalidWeights("shares of list rules must be from 0 to 1")
        if type(self.new_asset_days) is not int or not 0 <= self.new_asset_days <= MOST_NEW_ASSET_DAYS:
            raise InvalidWeights(f"new_asset_days must be a whole number from 0 to {MOST_NEW_ASSET_DAYS}")


DEFAULT_LIST_RULES = ListRules()


@dataclass(frozen=True)
class ListOptions:
    """What one request asks of its list, besides weights and k; None: nothing (docs/decisions/0033).

    categories, sectors: only assets of these, as the catalogue spells them; an asset without a sector is in none.
    exclude: ISINs that the list never holds. per_sector, per_category: at most so many assets of one sector or
    category; assets without a sector are not limited. Such a list is shorter rather than against a limit.
    """

    categories: tuple[str, ...] | None = None
    sectors: tuple[str, ...] | None = None
    exclude: tuple[str, ...] | None = None
    per_sector: int | None = None
    per_category: int | None = None


NO_OPTIONS = ListOptions()


class Contributions(NamedTuple):
    """What each component adds to an asset's score; they sum to the score. None: the component says nothing."""

    collaborative: float | None
    content: float | None
    profitability: float | None


class RankedAsset(NamedTuple):
    """One place in a ranking; `rank` counts from 1. A tuple is made in a quarter of the time of an object."""

    isin: str
    rank: int
    score: float
    contributions: Contributions


@dataclass(frozen=True)
class Ranking:
    """A customer's list, best first."""

    customer_id: str
    basis: Basis
    assets: tuple[RankedAsset, ...]


@dataclass(frozen=True)
class Asset:
    """The latest description of an asset, as far as scoring needs it."""

    isin: str
    asset_category: str
    asset_sub_category: str | None = None
    market_id: str | None = None
    sector: str | None = None
    industry: str | None = None
    tradable_from: date | None = None
    tradable_until: date | None = None
    name: str | None = None
