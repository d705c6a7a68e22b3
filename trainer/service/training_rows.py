"""Read everything that a model is fitted on from one snapshot, by COPY into compact columns; digest its content."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from datetime import date
from hashlib import sha256
from typing import Any

import numpy as np
import pandas as pd
from sqlalchemy import Connection, text

from shared.far_trans.schema import parse_investment_capacity, parse_risk_level
from shared.recommender.training_rows import TrainingRows
from shared.recommender.types import Asset, Customer, InteractionType

_TABLES = (
    "asset_information, recorded_assets, limit_prices, customer_information, recorded_customers, transactions,"
    " recorded_transactions, close_prices, recorded_close_prices, user_interactions"
)
_IN_MEMORY_BYTES = 1 << 26  # a larger result goes to a temporary file

# Rows dated before this, or after `latest`, are mistakes; Python cannot represent some of these dates.
EARLIEST_ROW = date(1990, 1, 1)
# Columns of text are categories, so that a million rows need little memory.
_TYPES = {
    **dict.fromkeys(("customer_id", "isin", "interaction_type"), "category"),
    **{"day": "int32", "close_price": "float64", "occurred_at": "float64"},
}
_DATED = {
    "transactions": "traded_on",
    "recorded_transactions": "traded_on",
    "close_prices": "priced_on",
    "user_interactions": "occurred_at",
}

# GREATEST ignores NULL: an asset without limit prices keeps unknown dates; its prices decide whether it is tradable.
_ASSETS = """
SELECT a.isin, a.asset_category, a.asset_sub_category, a.market_id, a.sector, a.industry,
    CASE WHEN l.min_date IS NOT NULL THEN GREATEST(l.min_date, DATE '{earliest}') END,
    CASE WHEN l.max_date IS NOT NULL THEN LEAST(GREATEST(l.max_date, DATE '{earliest}'), DATE '{latest}') END
FROM latest_assets a LEFT JOIN latest_limit_prices l USING (isin)
"""
_CUSTOMERS = "SELECT customer_id, risk_level, investment_capacity FROM latest_customers"
_PURCHASES = """
SELECT customer_id, isin, traded_on - DATE '1970-01-01' AS day FROM transactions
WHERE transaction_type = 'Buy' AND {plausible}
"""
# Without those that a loaded file contains.
_RECORDED_PURCHASES = """
SELECT customer_id, isin, traded_on - DATE '1970-01-01' AS day FROM all_transactions
WHERE transaction_type = 'Buy' AND origin = 'event' AND {plausible}
"""
_CLOSE_PRICES = """
SELECT isin, priced_on - DATE '1970-01-01' AS day, close_price FROM all_close_prices WHERE {plausible}
"""
# Impressions are no part of a history.
_INTERACTIONS = f"""
SELECT customer_id, isin, interaction_type, extract(epoch FROM occurred_at)::float8 AS occurred_at
FROM user_interactions
WHERE {{plausible}} AND interaction_type <> '{InteractionType.IMPRESSION.value}'
ORDER BY sequence
"""


def read_training_rows(connection: Connection, *, latest: date) -> TrainingRows:
    """Read everything in the transaction of this connection, which must be REPEATABLE READ and without a snapshot yet.

    Leaves out and counts purchases, prices and interactions dated before EARLIEST_ROW or after `latest`. Interactions
    come in the order of the log.
    """
    # A migration that rewrites a table after our snapshot would show that table empty: lock before the first SELECT.
    connection.execute(text(f"LOCK TABLE {_TABLES} IN ACCESS SHARE MODE"))
    plausible = {table: _plausible(table, latest) for table in _DATED}
    assets = connection.execute(text(_ASSETS.format(earliest=EARLIEST_ROW, latest=latest)))
    return TrainingRows(
        assets=tuple(Asset(*row) for row in assets),
        customers=tuple(
            Customer(customer_id, parse_risk_level(risk_level), parse_investment_capacity(capacity))
            for customer_id, risk_level, capacity in connection.execute(text(_CUSTOMERS))
        ),
        purchases=_copy(connection, _PURCHASES.format(plausible=plausible["transactions"])),
        recorded_purchases=_copy(connection, _RECORDED_PURCHASES.format(plausible=plausible["recorded_transactions"])),
        close_prices=_copy(connection, _CLOSE_PRICES.format(plausible=plausible["close_prices"])),
        interactions=_copy(connection, _INTERACTIONS.format(plausible=plausible["user_interactions"])),
        ignored=_count_ignored(connection, plausible),
    )


def digest_rows(rows: TrainingRows) -> str:
    """Return the SHA-256 of the content: equal for equal rows, in whatever order the database returns them.

    Only interactions have an order, that of the log.
    """
    digest = sha256()
    for records in (rows.assets, rows.customers):
        digest.update("\n".join(sorted(map(repr, records))).encode())
    for frame in (rows.purchases, rows.recorded_purchases, rows.close_prices):
        digest.update(np.sort(pd.util.hash_pandas_object(frame, index=False).to_numpy()).tobytes())
        digest.update(len(frame).to_bytes(8))
    digest.update(pd.util.hash_pandas_object(rows.interactions, index=False).to_numpy().tobytes())
    return digest.hexdigest()


def _plausible(table: str, latest: date) -> str:
    """Return the SQL condition of a possible date; infinite dates do not meet it."""
    column = _DATED[table]
    return f"{column} >= DATE '{EARLIEST_ROW}' AND {column} < DATE '{latest}' + 1"


def _count_ignored(connection: Connection, plausible: Mapping[str, str]) -> dict[str, int]:
    counts = {
        table: connection.scalar(text(f"SELECT count(*) FROM {table} WHERE ({condition}) IS NOT TRUE"))
        for table, condition in plausible.items()
    }
    return {table: count for table, count in counts.items() if count}


def _copy(connection: Connection, query: str) -> pd.DataFrame:
    with tempfile.SpooledTemporaryFile(max_size=_IN_MEMORY_BYTES) as file:
        cursor: Any = connection.connection.cursor()  # psycopg2's own: COPY is not in the DB-API
        cursor.copy_expert(f"COPY ({query}) TO STDOUT (FORMAT csv, HEADER)", file)
        cursor.close()
        file.seek(0)
        # An id may look like a missing value ("NA"); no value here is missing.
        return pd.read_csv(file, dtype=_TYPES, keep_default_na=False)
