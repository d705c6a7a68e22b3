"""Policies for tests, as TOML with changes."""

from __future__ import annotations

from shared.recommender.policy.parsing import parse_policy
from shared.recommender.policy.rules import Policy

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
