"""What a suitability policy says, as frozen types; `parsing` reads one from TOML (docs/decisions/0052)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from types import MappingProxyType

from shared.recommender.types import RiskLevel

LEAST_WINDOW_DAYS = 365
ANY = "*"  # a sub-category that the table of its category does not name


class RestrictedMode(StrEnum):
    """What becomes of a customer's level when their profile is not a valid statement of theirs."""

    ACCEPT = "accept"  # it counts as stated
    ONE_LOWER = "one_lower"
    LOWEST = "lowest"
    NOTHING = "nothing"  # nothing is suitable


class Tolerance(StrEnum):
    """How far above the stated level a list may go."""

    STRICT = "strict"
    ONE_BAND = "one_band"
    REVEALED = "revealed"  # up to the class of what the customer holds already


@dataclass(frozen=True)
class PriceRule:
    """A class by a figure of the prices of `window_days`, with at least `least_prices` prices in them.

    most: the largest figure of the classes 1, 2 and 3; above the last one the class is 4.
    """

    window_days: int
    least_prices: int
    most: tuple[float, float, float]


@dataclass(frozen=True)
class MissingPrices:
    """An asset with fewer than `least_prices` prices in `window_days` has at least the class `level`."""

    window_days: int
    least_prices: int
    level: RiskLevel


@dataclass(frozen=True)
class AssetRules:
    """How the class of an asset comes about: the highest of all that apply. None: the rule is off.

    sub_category: by category and sub-category; ANY stands for those that are not named.
    """

    unclassified: RiskLevel
    category: Mapping[str, RiskLevel] = field(default_factory=lambda: MappingProxyType({}))
    sub_category: Mapping[str, Mapping[str, RiskLevel]] = field(default_factory=lambda: MappingProxyType({}))
    volatility: PriceRule | None = None
    drawdown: PriceRule | None = None
    missing_prices: MissingPrices | None = None


@dataclass(frozen=True)
class CustomerRules:
    """How the ceiling of a customer comes about. undated: the questionnaire's day is not known at the list's date."""

    predicted: RestrictedMode
    expired: RestrictedMode
    undated: RestrictedMode
    not_available: RestrictedMode
    questionnaire_years: int = 3
    tolerance: Tolerance = Tolerance.STRICT


@dataclass(frozen=True)
class Caps:
    """The largest share of the names of portfolio and list together that one sector, category or issuer has.

    None: no cap. Assets without a sector or issuer are not capped.
    """

    sector: float | None = None
    category: float | None = None
    issuer: float | None = None

    def given(self) -> dict[str, float]:
        """Return the caps that are on, by their names."""
        return {name: share for name, share in vars(self).items() if share is not None}


@dataclass(frozen=True)
class Exclusions:
    """What no list holds."""

    isins: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sectors: tuple[str, ...] = ()
    issuers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Liquidity:
    """How liquidity is counted: purchases by anybody in `window_days`; fewer than `least_trades`: refused."""

    window_days: int
    least_trades: int = 0


@dataclass(frozen=True)
class Policy:
    """A suitability policy. digest: SHA-256 of its content, whatever its order and comments.

    max_price_age_days: an older last price refuses an asset; None: off. liquidity None: ties are broken by price
    freshness alone, and in the order of the model where they are not left out. leave_out_ties: equal scores that
    nothing tells apart are left out rather than cut by ISIN.
    """

    name: str
    version: int
    digest: str
    assets: AssetRules
    customers: CustomerRules
    caps: Caps = field(default_factory=Caps)
    exclusions: Exclusions = field(default_factory=Exclusions)
    max_price_age_days: int | None = None
    liquidity: Liquidity | None = None
    leave_out_ties: bool = True

    @property
    def orders_ties(self) -> bool:
        """Whether the policy has an order of equal scores of its own."""
        return self.leave_out_ties or self.liquidity is not None

    @property
    def needs_market(self) -> bool:
        """Whether a rule looks at prices or purchases."""
        assets = self.assets
        of_prices = (assets.volatility, assets.drawdown, assets.missing_prices, self.max_price_age_days)
        return self.orders_ties or any(rule is not None for rule in of_prices)

    @property
    def window_days(self) -> int:
        """How many days of prices and purchases the rules look at: a year at least, for the freshness of prices."""
        rules = (self.assets.volatility, self.assets.drawdown, self.assets.missing_prices, self.liquidity)
        needed = [rule.window_days for rule in rules if rule]
        return max(LEAST_WINDOW_DAYS, (self.max_price_age_days or 0) + 1, *needed)

    def __str__(self) -> str:
        return f"{self.name} {self.version} ({self.digest[:12]})"
