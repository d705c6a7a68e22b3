"""The worker's statements; `:customer_ids` and `:request_ids` are one array for the whole batch."""

from __future__ import annotations

from shared.postgres.tables import REFERENCE_SNAPSHOTS
from shared.recommender.types import INTERACTION_WINDOW, InteractionType

CUSTOMERS = """
SELECT customer_id, risk_level, investment_capacity FROM latest_customers WHERE customer_id = ANY(:customer_ids)
"""

OWNED = """
SELECT customer_id, array_agg(DISTINCT isin ORDER BY isin) AS isins
FROM transactions
WHERE customer_id = ANY(:customer_ids) AND transaction_type = 'Buy'
GROUP BY customer_id
"""

# A row that Python cannot represent (year 1, BC, infinity) or of a type that this version does not know must not stop
# scoring: the time is moved into the readable range, an unknown type is left out. Every other column is text.
_KNOWN_TYPE = f"interaction_type IN ({', '.join(repr(kind.value) for kind in InteractionType)})"
_READABLE_TIME = """
    least(greatest(occurred_at, TIMESTAMPTZ '2000-01-01 00:00:00+00'), TIMESTAMPTZ '9000-01-01 00:00:00+00')
"""

# The newest interactions of the log, oldest first; bounded per customer.
INTERACTIONS = f"""
SELECT asked.customer_id, newest.isin, newest.interaction_type, newest.occurred_at
FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
CROSS JOIN LATERAL (
    SELECT isin, interaction_type, {_READABLE_TIME} AS occurred_at, sequence
    FROM user_interactions
    WHERE customer_id = asked.customer_id AND {_KNOWN_TYPE}
    ORDER BY sequence DESC
    LIMIT {INTERACTION_WINDOW}
) AS newest
ORDER BY asked.customer_id, newest.sequence
"""

# The assets whose last interaction is a dismissal. The recursion goes from asset to asset along the index
# (customer_id, isin, sequence): one step for each asset, however many interactions the customer has.
DISMISSED = f"""
WITH RECURSIVE latest AS (
    SELECT asked.customer_id, first.isin, first.interaction_type
    FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
    CROSS JOIN LATERAL (
        SELECT isin, interaction_type FROM user_interactions
        WHERE customer_id = asked.customer_id AND {_KNOWN_TYPE}
        ORDER BY isin DESC, sequence DESC LIMIT 1
    ) AS first
    UNION ALL
    SELECT latest.customer_id, next.isin, next.interaction_type
    FROM latest
    CROSS JOIN LATERAL (
        SELECT isin, interaction_type FROM user_interactions
        WHERE customer_id = latest.customer_id AND isin < latest.isin AND {_KNOWN_TYPE}
        ORDER BY isin DESC, sequence DESC LIMIT 1
    ) AS next
)
SELECT customer_id, array_agg(isin ORDER BY isin) AS isins
FROM latest
WHERE interaction_type = '{InteractionType.DISMISS.value}'
GROUP BY customer_id
"""

NEWEST_INTERACTIONS = """
SELECT asked.customer_id, coalesce(newest.sequence, 0) AS sequence
FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
LEFT JOIN LATERAL (
    SELECT sequence FROM user_interactions
    WHERE customer_id = asked.customer_id
    ORDER BY sequence DESC LIMIT 1
) AS newest ON true
"""

# A customer's list is a copy of the decision that made it.
STORE_LISTS = f"""
INSERT INTO recommendations (customer_id, request_id, model_version, basis, weights, items, interaction_sequence,
                             reference_snapshot, created_at)
SELECT customer_id, request_id, model_version, basis, weights, items, newest.sequence, :reference_snapshot, now()
FROM decisions JOIN ({NEWEST_INTERACTIONS}) AS newest USING (customer_id)
WHERE request_id = ANY(CAST(:request_ids AS uuid[]))
ORDER BY customer_id
ON CONFLICT (customer_id) DO UPDATE SET
    request_id = excluded.request_id, model_version = excluded.model_version, basis = excluded.basis,
    weights = excluded.weights, items = excluded.items, interaction_sequence = excluded.interaction_sequence,
    reference_snapshot = excluded.reference_snapshot, created_at = excluded.created_at
"""

# A list that answers another request names that request from then on.
RENAME_LISTS = """
UPDATE recommendations AS list SET request_id = decision.request_id
FROM decisions AS decision
WHERE decision.request_id = ANY(CAST(:request_ids AS uuid[])) AND list.customer_id = decision.customer_id
"""

# Sent at the commit; PostgreSQL drops what a savepoint undoes.
NOTIFY = "SELECT count(pg_notify(:channel, payload)) FROM unnest(CAST(:payloads AS text[])) AS sent(payload)"

# A list is fresh while the last interaction and the reference data are those that it was made with; no clock is used.
FRESH_LISTS = f"""
SELECT customer_id, model_version, basis, weights, items
FROM recommendations AS list
WHERE customer_id = ANY(:customer_ids)
  AND list.reference_snapshot = ({REFERENCE_SNAPSHOTS})
  AND NOT EXISTS (
      SELECT FROM user_interactions AS newer
      WHERE newer.customer_id = list.customer_id AND newer.sequence > coalesce(list.interaction_sequence, 0))
"""

ASSET_DISPLAYS = """
SELECT asset.isin,
       coalesce(asset.asset_name, asset.asset_short_name, asset.isin) AS assetname,
       asset.asset_category AS assetcategory,
       asset.asset_sub_category,
       asset.sector,
       asset.industry,
       coalesce(price.close_price, limits.price_max_date) AS current_price,
       limits.profitability
FROM latest_assets AS asset
-- LIMIT lets the planner look up one asset at a time.
LEFT JOIN LATERAL (
    SELECT close_price FROM latest_close_prices WHERE isin = asset.isin LIMIT 1
) AS price ON true
LEFT JOIN latest_limit_prices AS limits ON limits.isin = asset.isin
"""
