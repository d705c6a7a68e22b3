"""How many rows of everything a scale stands for; scale 1 has exactly the published counts."""

from __future__ import annotations

import math
from dataclasses import dataclass
from datetime import date

FIRST_DAY = date(2018, 1, 2)
LAST_DAY = date(2022, 11, 29)

_CUSTOMERS = 29_090
_ASSETS = 806
_MIN_CUSTOMERS = 300
_MIN_ASSETS = 150


@dataclass(frozen=True)
class Sizes:
    """Row counts; transactions = buys + sells."""

    customers: int
    customer_versions: int
    assets: int
    asset_versions: int
    traded_assets: int
    close_prices: int
    buys: int
    sells: int
    shared_transaction_ids: int


def build_sizes(scale: float) -> Sizes:
    """Return the counts for a scale; small ones keep at least 300 customers and 150 assets. Raises ValueError."""
    if not (math.isfinite(scale) and 0 < scale <= 100):
        raise ValueError("the scale must be more than 0 and at most 100")
    customers = max(_MIN_CUSTOMERS, round(_CUSTOMERS * scale))
    assets = max(_MIN_ASSETS, round(_ASSETS * scale))

    def per_customer(published: int) -> int:
        return round(published * customers / _CUSTOMERS)

    def per_asset(published: int) -> int:
        return round(published * assets / _ASSETS)

    return Sizes(
        customers=customers,
        customer_versions=per_customer(32_468),
        assets=assets,
        asset_versions=per_asset(836),
        traded_assets=per_asset(321),
        close_prices=per_asset(703_303),
        buys=per_customer(228_913),
        sells=per_customer(159_136),
        shared_transaction_ids=per_customer(14_500),
    )
