"""The worker's reading statements; `:customer_ids` is one array for the whole batch."""

from __future__ import annotations

CUSTOMERS = """
SELECT customer_id, risk_level, investment_capacity FROM current_customers WHERE customer_id = ANY(:customer_ids)
"""

OWNED = """
SELECT customer_id, array_agg(DISTINCT isin ORDER BY isin) AS isins
FROM transactions
WHERE customer_id = ANY(:customer_ids) AND transaction_type = 'Buy'
GROUP BY customer_id
"""

# Bounded per customer, whatever they clicked; oldest first.
INTERACTIONS = """
SELECT asked.customer_id, latest.isin, latest.interaction_type, latest.occurred_at
FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
CROSS JOIN LATERAL (
    SELECT isin, interaction_type, occurred_at, event_offset
    FROM user_interactions
    WHERE customer_id = asked.customer_id AND occurred_at > now() - interval '365 days'
    ORDER BY occurred_at DESC, event_offset DESC
    LIMIT 1000
) AS latest
ORDER BY asked.customer_id, latest.occurred_at, latest.event_offset
"""

# All three times are the database's own, so no skew between machines can make an old list look fresh.
# Interactions of the transaction that made the list have its time exactly: the list knows them.
FRESH_LISTS = """
SELECT customer_id, request_id, model_version, basis, weights, items, created_at
FROM recommendations AS list
WHERE customer_id = ANY(:customer_ids)
  AND NOT EXISTS (
      SELECT FROM user_interactions AS newer
      WHERE newer.customer_id = list.customer_id AND newer.recorded_at > list.created_at)
  AND NOT EXISTS (SELECT FROM reference_snapshots WHERE loaded_at >= list.created_at)
"""

ASSET_DISPLAYS = """
SELECT asset.isin,
       coalesce(asset.asset_name, asset.asset_short_name, asset.isin) AS assetname,
       asset.asset_category AS assetcategory,
       asset.sector,
       asset.industry,
       coalesce(price.close_price, limits.price_max_date) AS current_price,
       limits.profitability
FROM current_assets AS asset
-- LIMIT lets the planner look up one asset at a time.
LEFT JOIN LATERAL (
    SELECT close_price FROM current_close_prices WHERE isin = asset.isin LIMIT 1
) AS price ON true
LEFT JOIN current_limit_prices AS limits ON limits.isin = asset.isin
"""

SNAPSHOTS = "SELECT table_name, loaded_at FROM reference_snapshots"
