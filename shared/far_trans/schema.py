"""The published FAR-Trans schema: the only place that knows the CSV spellings and coded values of its six files.

The files of the benchmark (first buys, returns, lists) have a format of their own, in trainer/benchmark. Source:
Sanz-Cruzado, Droukas, McCreadie, "FAR-Trans: An Investment Dataset for Financial Asset Recommendation", Fin-RecSys
2024 (data: CC-BY 4.0).
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date
from typing import Literal

from shared.identifiers import EARLIEST_DATE, EARLIEST_QUESTIONNAIRE
from shared.recommender.types import Customer, InvestmentCapacity, RiskLevel

# "amount": not negative. "price": an amount that is 0 or large enough to divide by.
ColumnType = Literal["text", "customer_id", "isin", "date", "number", "amount", "price"]


@dataclass(frozen=True)
class Column:
    """One CSV column: its spelling there, its name in the database, its type and whether it may be empty.

    `earliest` is the first day that a date may name; the last one is tomorrow in every column.
    """

    csv_name: str
    name: str
    type: ColumnType = "text"
    required: bool = False
    allowed: tuple[str, ...] = ()
    earliest: date = EARLIEST_DATE


@dataclass(frozen=True)
class TableSchema:
    """One CSV file and the table that it fills; an optional file may be missing.

    `period` names the two date columns of which the first is never after the second. `has_line_numbers`: the table has
    a column `line_number`, which says which of several rows of the same date is the latest. `key` names the columns of
    the table, its date among them, by which an append replaces rows; rows of one file may share a key.
    """

    table: str
    columns: tuple[Column, ...]
    key: tuple[str, ...]
    optional: bool = False
    period: tuple[str, str] | None = None
    has_line_numbers: bool = False

    @property
    def file_name(self) -> str:
        return f"{self.table}.csv"

    @property
    def header(self) -> str:
        """The published first line, without its end."""
        return ",".join(column.csv_name for column in self.columns)

    @property
    def column_names(self) -> tuple[str, ...]:
        """The columns in the database, the line number first."""
        names = tuple(column.name for column in self.columns)
        return ("line_number", *names) if self.has_line_numbers else names

    def csv_names(self, *names: str) -> dict[str, str]:
        """Return the CSV spellings of these columns, each with the name in the database."""
        return {column.csv_name: column.name for column in self.columns if column.name in names}


CUSTOMER_INFORMATION = TableSchema(
    "customer_information",
    (
        Column("customerID", "customer_id", "customer_id", required=True),
        Column("customerType", "customer_type"),
        Column("riskLevel", "risk_level"),
        Column("investmentCapacity", "investment_capacity"),
        Column("lastQuestionnaireDate", "last_questionnaire_date", "date", earliest=EARLIEST_QUESTIONNAIRE),
        Column("timestamp", "recorded_on", "date", required=True),
    ),
    key=("customer_id", "recorded_on"),
    has_line_numbers=True,
)
ASSET_INFORMATION = TableSchema(
    "asset_information",
    (
        Column("ISIN", "isin", "isin", required=True),
        Column("assetName", "asset_name"),
        Column("assetShortName", "asset_short_name"),
        Column("assetCategory", "asset_category", required=True, allowed=("Stock", "Bond", "MTF")),
        Column("assetSubCategory", "asset_sub_category"),
        Column("marketID", "market_id"),
        Column("sector", "sector"),
        Column("industry", "industry"),
        Column("timestamp", "recorded_on", "date", required=True),
    ),
    key=("isin", "recorded_on"),
    has_line_numbers=True,
)
MARKETS = TableSchema(
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
    key=("exchange_id", "market_id"),
)
CLOSE_PRICES = TableSchema(
    "close_prices",
    (
        Column("ISIN", "isin", "isin", required=True),
        Column("timestamp", "priced_on", "date", required=True),
        Column("closePrice", "close_price", "price", required=True),
    ),
    key=("isin", "priced_on"),
    optional=True,
    has_line_numbers=True,
)
LIMIT_PRICES = TableSchema(
    "limit_prices",
    (
        Column("ISIN", "isin", "isin", required=True),
        Column("minDate", "min_date", "date", required=True),
        Column("maxDate", "max_date", "date", required=True),
        Column("priceMinDate", "price_min_date", "price"),
        Column("priceMaxDate", "price_max_date", "price"),
        Column("profitability", "profitability", "number"),
    ),
    key=("isin", "max_date"),
    period=("minDate", "maxDate"),
    has_line_numbers=True,
)
TRANSACTIONS = TableSchema(
    "transactions",
    (
        Column("customerID", "customer_id", "customer_id", required=True),
        Column("ISIN", "isin", "isin", required=True),
        Column("transactionID", "transaction_id", required=True),
        Column("transactionType", "transaction_type", required=True, allowed=("Buy", "Sell")),
        Column("timestamp", "traded_on", "date", required=True),
        Column("totalValue", "total_value", "amount"),
        Column("units", "units", "amount"),
        Column("channel", "channel"),
        Column("marketID", "market_id"),
    ),
    key=("customer_id", "isin", "transaction_id", "transaction_type", "traded_on"),
    optional=True,
)
TABLES = (CUSTOMER_INFORMATION, ASSET_INFORMATION, MARKETS, LIMIT_PRICES, CLOSE_PRICES, TRANSACTIONS)

_PREDICTED = "Predicted_"  # the bank's algorithm found the value
_RISK_LEVELS = dict(zip(("Conservative", "Income", "Balanced", "Aggressive"), RiskLevel, strict=True))
# The data spells CAP_LT30K and CAP_GT300K; its README also CAP_LT_30K.
_CAPACITIES = {
    "LT30K": InvestmentCapacity.LESS_THAN_30K,
    "30K_80K": InvestmentCapacity.FROM_30K_TO_80K,
    "80K_300K": InvestmentCapacity.FROM_80K_TO_300K,
    "GT300K": InvestmentCapacity.MORE_THAN_300K,
}


def parse_risk_level(code: str | None) -> RiskLevel | None:
    """Return the risk level that `code` stands for; a predicted one counts like a stated one, else None."""
    return _RISK_LEVELS.get((code or "").removeprefix(_PREDICTED))


def build_customer(
    customer_id: str, risk_code: str | None, capacity_code: str | None, questionnaire_on: date | None
) -> Customer:
    """Return the customer of a row of customer_information."""
    return Customer(
        customer_id,
        parse_risk_level(risk_code),
        parse_investment_capacity(capacity_code),
        is_predicted=(risk_code or "").startswith(_PREDICTED),
        questionnaire_on=questionnaire_on,
    )


def parse_investment_capacity(code: str | None) -> InvestmentCapacity:
    """Return the capacity band that `code` stands for; a predicted one counts like a stated one."""
    name = (code or "").removeprefix(_PREDICTED).removeprefix("CAP_")
    return _CAPACITIES.get(re.sub("^(LT|GT)_", r"\1", name), InvestmentCapacity.UNKNOWN)
