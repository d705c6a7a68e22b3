"""Policies for tests, as TOML with changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

import numpy as np

from shared.recommender.id_map import AssetIdMap
from shared.recommender.policy.market import Market
from shared.recommender.policy.parsing import parse_policy
from shared.recommender.policy.rules import Policy
from shared.recommender.policy.view import PolicyView, build_view
from shared.recommender.training_data import ClosePrices, day_number
from shared.recommender.types import Asset
from tests.builders import AS_OF

BASE = """
format = 1
name = "test"
version = 3

[asset_risk]
unclassified = "balanced"

[asset_risk.category]
Stock = "balanced"
Bond = "conservative"

[asset_risk.sub_category.Bond]
Government = "conservative"
"*" = "income"

[customer]
tolerance = "strict"
predicted = "one_lower"
expired = "lowest"
undated = "accept"
not_available = "lowest"
"""
VOLATILITY = """
[asset_risk.volatility]
window_days = 365
least_prices = 3
most = {conservative = 0.05, income = 0.15, balanced = 0.4}
"""
DRAWDOWN = """
[asset_risk.drawdown]
window_days = 365
least_prices = 3
most = {conservative = 0.05, income = 0.15, balanced = 0.5}
"""
MISSING = """
[asset_risk.missing_prices]
window_days = 365
least_prices = 2
level = "aggressive"
"""
EVERY_RULE = f"""{BASE}{VOLATILITY}{DRAWDOWN}{MISSING}
[caps]
sector = 0.3
category = 0.7
issuer = 0.2

[exclusions]
isins = ["GRS000000003"]
sectors = ["Tobacco"]
issuers = ["ARMS"]

[prices]
max_age_days = 100

[liquidity]
window_days = 365
least_trades = 1
"""


def policy_with(text: str = BASE, **replacements: str) -> Policy:
    """Parse the policy with other values of these keys."""
    lines = [
        f"{name} = {replacements.get(name, '')}" if (name := line.split(" = ")[0]) in replacements else line
        for line in text.splitlines()
    ]
    return parse_policy("\n".join(lines))


def market_with(rows: Sequence[tuple[int, int, float]] = (), trades: Sequence[tuple[int, int]] = ()) -> Market:
    """Build prices (asset, days before AS_OF, price) and purchases (asset, days before AS_OF)."""
    last = day_number(AS_OF)
    ordered = sorted((asset, last - days, price) for asset, days, price in rows)
    columns = [np.array([row[number] for row in ordered]) for number in range(3)]
    prices = ClosePrices(columns[0].astype(np.int32), columns[1].astype(np.int32), columns[2].astype(np.float64))
    assets = np.array([asset for asset, _ in trades], dtype=np.int32)
    return Market(prices, assets, np.array([last - days for _, days in trades], dtype=np.int32))


def view_with(
    policy: Policy, assets: Sequence[Asset | None], market: Market | None = None, *, as_of: date = AS_OF
) -> PolicyView:
    """Apply the policy to assets GRS000000000, GRS000000001, ..."""
    id_map = AssetIdMap(tuple(f"GRS{index:09d}" for index in range(len(assets))))
    return build_view(policy, id_map=id_map, assets=assets, market=market or market_with(), as_of=as_of)
