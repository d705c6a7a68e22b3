"""One consistent reading of everything that a model is fitted on, by COPY into compact columns."""

from __future__ import annotations

import tempfile
from typing import Any

import pandas as pd
from sqlalchemy import Connection, text

from shared.domain.types import Asset, Customer
from shared.far_trans import parse_investment_capacity, parse_risk_level
from shared.training_records import TrainingRows

_TABLES = "asset_information, limit_prices, customer_information, transactions, close_prices, user_interactions"
_IN_MEMORY_BYTES = 1 << 26  # beyond that a reading waits on disk

_ASSETS = """
SELECT a.isin, a.asset_category, a.asset_sub_category, a.market_id, a.sector, a.industry, l.min_date, l.max_date
FROM current_assets a LEFT JOIN current_limit_prices l USING (isin)
"""
_CUSTOMERS = "SELECT customer_id, risk_level, investment_capacity FROM current_customers"
_PURCHASES = """
SELECT customer_id, isin, traded_on - DATE '1970-01-01' AS day FROM transactions WHERE transaction_type = 'Buy'
"""
_CLOSE_PRICES = "SELECT isin, priced_on - DATE '1970-01-01' AS day, close_price FROM daily_close_prices"
_INTERACTIONS = """
SELECT customer_id, isin, interaction_type, extract(epoch FROM occurred_at)::float8 AS occurred_at
FROM user_interactions
ORDER BY sequence
"""


def read_training_rows(connection: Connection) -> TrainingRows:
    """Read everything in one transaction of this connection, which must be REPEATABLE READ."""
    with connection.begin():
        # Before the snapshot is taken: a TRUNCATE of the loader that committed after it would show empty tables.
        connection.execute(text(f"LOCK TABLE {_TABLES} IN ACCESS SHARE MODE"))
        return TrainingRows(
            assets=tuple(Asset(*row) for row in connection.execute(text(_ASSETS))),
            customers=tuple(
                Customer(customer_id, parse_risk_level(risk_level), parse_investment_capacity(capacity))
                for customer_id, risk_level, capacity in connection.execute(text(_CUSTOMERS))
            ),
            purchases=_copy(connection, _PURCHASES, {"customer_id": "category", "isin": "category", "day": "int32"}),
            close_prices=_copy(
                connection, _CLOSE_PRICES, {"isin": "category", "day": "int32", "close_price": "float64"}
            ),
            interactions=_copy(
                connection,
                _INTERACTIONS,
                {"customer_id": "category", "isin": "category", "interaction_type": "category"},
            ),
        )


def _copy(connection: Connection, query: str, types: dict[str, Any]) -> pd.DataFrame:
    """Return the rows of a query; text columns as categories, so that a million rows stay small."""
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        cursor: Any = connection.connection.cursor()  # psycopg2's own: COPY is not in the DB-API
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", file)
        cursor.close()
        file.seek(0)
        # An id may look like a missing value ("NA"): nothing here is ever missing.
        return pd.read_csv(file, dtype=types, keep_default_na=False)
