"""The published FAR-Trans schema: the only place that knows CSV spellings and coded values.

Source: Sanz-Cruzado, Droukas, McCreadie, "FAR-Trans: An Investment Dataset for Financial Asset
Recommendation",
Fin-RecSys 2024 (data: CC-BY 4.0).
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from shared.domain.types import InvestmentCapacity, RiskLevel

ColumnType = Literal["text", "date", "number", "non_negative"]


@dataclass(frozen=True)
class Column:
    """One CSV column: its spelling there, its name in the database, its type and whether it may be empty."""

    csv_name: str
    name: str
    type: ColumnType = "text"
    required: bool = False
    allowed: tuple[str, ...] = ()


@dataclass(frozen=True)
class TableSchema:
    """One CSV file and the table that it fills; an optional file may be missing."""

    file_name: str
    table: str
    columns: tuple[Column, ...]
    optional: bool = False


CUSTOMER_INFORMATION = TableSchema(
    "customer_information.csv",
    "customer_information",
    (
        Column("customerID", "customer_id", required=True),
        Column("customerType", "customer_type"),
        Column("riskLevel", "risk_level"),
        Column("investmentCapacity", "investment_capacity"),
        Column("lastQuestionnaireDate", "last_questionnaire_date", "date"),
        Column("timestamp", "recorded_on", "date", required=True),
    ),
)
ASSET_INFORMATION = TableSchema(
    "asset_information.csv",
    "asset_information",
    (
        Column("ISIN", "isin", required=True),
        Column("assetName", "asset_name"),
        Column("assetShortName", "asset_short_name"),
        Column("assetCategory", "asset_category", required=True, allowed=("Stock", "Bond", "MTF")),
        Column("assetSubCategory", "asset_sub_category"),
        Column("marketID", "market_id"),
        Column("sector", "sector"),
        Column("industry", "industry"),
        Column("timestamp", "recorded_on", "date", required=True),
    ),
)
MARKETS = TableSchema(
    "markets.csv",
    "markets",
    (
        Column("exchangeID", "exchange_id", required=True),
        Column("marketID", "market_id", required=True),
        Column("name", "name"),
        Column("description", "description"),
        Column("country", "country"),
        Column("tradingDays", "trading_days"),
        Column("tradingHours", "trading_hours"),
        Column("marketClass", "market_class"),
    ),
)
CLOSE_PRICES = TableSchema(
    "close_prices.csv",
    "close_prices",
    (
        Column("ISIN", "isin", required=True),
        Column("timestamp", "priced_on", "date", required=True),
        Column("closePrice", "close_price", "non_negative", required=True),
    ),
    optional=True,
)
LIMIT_PRICES = TableSchema(
    "limit_prices.csv",
    "limit_prices",
    (
        Column("ISIN", "isin", required=True),
        Column("minDate", "min_date", "date", required=True),
        Column("maxDate", "max_date", "date", required=True),
        Column("priceMinDate", "price_min_date", "non_negative"),
        Column("priceMaxDate", "price_max_date", "non_negative"),
        Column("profitability", "profitability", "number"),
    ),
)
TRANSACTIONS = TableSchema(
    "transactions.csv",
    "transactions",
    (
        Column("customerID", "customer_id", required=True),
        Column("ISIN", "isin", required=True),
        Column("transactionID", "transaction_id", required=True),
        Column("transactionType", "transaction_type", required=True, allowed=("Buy", "Sell")),
        Column("timestamp", "traded_on", "date", required=True),
        Column("totalValue", "total_value", "non_negative"),
        Column("units", "units", "non_negative"),
        Column("channel", "channel"),
        Column("marketID", "market_id"),
    ),
    optional=True,
)
TABLES = (CUSTOMER_INFORMATION, ASSET_INFORMATION, MARKETS, LIMIT_PRICES, CLOSE_PRICES, TRANSACTIONS)

_RISK_LEVELS = {
    "Conservative": RiskLevel.CONSERVATIVE,
    "Income": RiskLevel.INCOME,
    "Balanced": RiskLevel.BALANCED,
    "Aggressive": RiskLevel.AGGRESSIVE,
}
# The data spells CAP_LT30K and CAP_GT300K; its README also CAP_LT_30K.
_CAPACITIES = {
    "CAP_LT30K": InvestmentCapacity.LESS_THAN_30K,
    "CAP_LT_30K": InvestmentCapacity.LESS_THAN_30K,
    "CAP_30K_80K": InvestmentCapacity.FROM_30K_TO_80K,
    "CAP_80K_300K": InvestmentCapacity.FROM_80K_TO_300K,
    "CAP_GT300K": InvestmentCapacity.MORE_THAN_300K,
    "CAP_GT_300K": InvestmentCapacity.MORE_THAN_300K,
}


def parse_risk_level(code: str | None) -> RiskLevel | None:
    """Return the risk level that `code` stands for; a predicted one counts like a stated one, else None."""
    return _RISK_LEVELS.get((code or "").removeprefix("Predicted_"))


def parse_investment_capacity(code: str | None) -> InvestmentCapacity:
    """Return the capacity band that `code` stands for; a predicted one counts like a stated one."""
    name = (code or "").removeprefix("Predicted_")
    name = name if name.startswith("CAP_") else f"CAP_{name}"
    return _CAPACITIES.get(name, InvestmentCapacity.UNKNOWN)
