"""The statements that read what a list does to a portfolio (decision 59)."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date
from typing import Any

from api.portfolio import MOST_ASSETS, WINDOW_DAYS, ListOrigin, PortfolioAsset
from shared.recommender.candidates import asset_risk_level
from shared.recommender.types import RiskLevel

# What the list of this customer ($1) and request ($2), made by this model ($3), knew. One row.
ORIGIN = """
SELECT (SELECT watermark->>'as_of' FROM model_versions WHERE version = $3) AS as_of,
       (SELECT interaction_sequence FROM recommendations WHERE customer_id = $1 AND request_id = $2) AS sequence,
       (SELECT risk_level FROM decisions WHERE customer_id = $1 AND request_id = $2 LIMIT 1) AS risk_level
"""
# What the customer ($1) held by orders up to a day ($3), recorded ones up to a number ($4), by the rule of the view
# `positions` (migration 0012); and the assets of the list ($2). Prices are those of the window that ends at $5.
PORTFOLIO = f"""
WITH known AS (
    SELECT isin, transaction_type = 'Buy' AS is_buy, traded_on, sequence,
           CASE WHEN units BETWEEN 1e-9 AND 1e12 THEN units END AS units
    FROM all_transactions
    WHERE customer_id = $1 AND traded_on <= $3 AND (sequence IS NULL OR $4::bigint IS NULL OR sequence <= $4)
), running AS (
    SELECT isin, is_buy, units,
           sum(CASE WHEN is_buy THEN coalesce(units, 0) ELSE -coalesce(units, 0) END) OVER in_order AS balance,
           row_number() OVER in_order AS place
    FROM known
    WINDOW in_order AS (PARTITION BY isin
                        ORDER BY traded_on, sequence NULLS FIRST, is_buy DESC ROWS UNBOUNDED PRECEDING)
), held AS (
    SELECT isin FROM running GROUP BY isin
    HAVING bool_or(is_buy) AND (
        coalesce(sum(CASE WHEN is_buy THEN coalesce(units, 0) ELSE -coalesce(units, 0) END) - least(0, min(balance))
                 > 1e-9 * sum(units) FILTER (WHERE is_buy), false)
        OR coalesce(max(place) FILTER (WHERE is_buy AND units IS NULL), 0)
           > coalesce(max(place) FILTER (WHERE NOT is_buy), 0))
), named AS MATERIALIZED (
    SELECT isin, bool_or(is_held) AS is_held
    FROM (SELECT isin, true AS is_held FROM held UNION ALL SELECT unnest($2::text[]), false) AS every GROUP BY isin
)
SELECT named.isin, named.is_held, asset.sector, asset.asset_category, asset.asset_sub_category, priced.days,
       priced.prices
FROM named
LEFT JOIN LATERAL (
    SELECT sector, asset_category, asset_sub_category FROM latest_assets a WHERE a.isin = named.isin LIMIT 1
) AS asset ON true
LEFT JOIN LATERAL (
    SELECT array_agg(priced_on) AS days, array_agg(close_price) AS prices FROM all_close_prices c
    WHERE c.isin = named.isin AND (SELECT count(*) FROM named) <= {MOST_ASSETS}
          AND priced_on BETWEEN $5::date - {WINDOW_DAYS} AND $5::date AND close_price BETWEEN 1e-9 AND 1e12
) AS priced ON true
ORDER BY named.isin
"""


def build_origin(row: Any, *, made_on: date) -> ListOrigin:
    """Return what a row of ORIGIN says; what the trainer did not write is unknown."""
    try:
        as_of = date.fromisoformat(row["as_of"])
    except (TypeError, ValueError):
        as_of = None
    levels = {level.value: level for level in RiskLevel}
    return ListOrigin(as_of, made_on, row["sequence"], levels.get(row["risk_level"]))


def build_assets(rows: Sequence[Any]) -> dict[str, tuple[bool, PortfolioAsset]]:
    """Return whether each asset is held, and the asset, by ISIN."""
    return {row["isin"]: (row["is_held"], _build_asset(row)) for row in rows}


def _build_asset(row: Any) -> PortfolioAsset:
    category = row["asset_category"]
    level = None if category is None else asset_risk_level(category, row["asset_sub_category"])
    return PortfolioAsset(row["sector"], level, dict(zip(row["days"] or (), row["prices"] or (), strict=True)))
