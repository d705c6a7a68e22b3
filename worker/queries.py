"""The worker's statements; `:customer_ids` and `:request_ids` are one array for the whole batch."""

from __future__ import annotations

from shared.postgres.tables import LIST_DECISION, REFERENCE_SNAPSHOTS, SHOWN_LIST, is_of
from shared.recommender.types import DISMISSAL_TYPES, HISTORY_TYPES, INTERACTION_WINDOW, InteractionType

# A text that changes with every load, append and undo: what was read before may be of files that were replaced.
LOAD_MARKER = """
SELECT coalesce(string_agg(table_name || ' ' || extract(epoch FROM loaded_at), ', ' ORDER BY table_name), '')
FROM reference_snapshots
"""

CUSTOMERS = """
SELECT customer_id, risk_level, investment_capacity FROM latest_customers WHERE customer_id = ANY(:customer_ids)
"""

# What was bought and is held, or was sold entirely (migration 0012).
POSITIONS = "SELECT customer_id, isin, held FROM positions WHERE customer_id = ANY(:customer_ids) ORDER BY isin"

# A row that Python cannot represent (year 1, BC, infinity) or of a type that this version does not know must not stop
# scoring: the time is moved into the readable range, an unknown type is left out. Every other column is text.
_READABLE_TIME = """
    least(greatest(occurred_at, TIMESTAMPTZ '2000-01-01 00:00:00+00'), TIMESTAMPTZ '9000-01-01 00:00:00+00')
"""

# The newest interactions of the log, oldest first; bounded per customer. Numbers of impressions are negative.
INTERACTIONS = f"""
SELECT asked.customer_id, newest.isin, newest.interaction_type, newest.occurred_at
FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
CROSS JOIN LATERAL (
    SELECT isin, interaction_type, {_READABLE_TIME} AS occurred_at, sequence
    FROM user_interactions
    WHERE customer_id = asked.customer_id AND sequence > 0 AND {is_of(HISTORY_TYPES)}
    ORDER BY sequence DESC
    LIMIT {INTERACTION_WINDOW}
) AS newest
ORDER BY asked.customer_id, newest.sequence
"""

# The assets whose last interaction of DISMISSAL_TYPES is a dismissal. The recursion goes from asset to asset along the
# index of these types: one step for each asset, however many interactions the customer has.
DISMISSED = f"""
WITH RECURSIVE latest AS (
    SELECT asked.customer_id, first.isin, first.interaction_type
    FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
    CROSS JOIN LATERAL (
        SELECT isin, interaction_type FROM user_interactions
        WHERE customer_id = asked.customer_id AND {is_of(DISMISSAL_TYPES)}
        ORDER BY isin DESC, sequence DESC LIMIT 1
    ) AS first
    UNION ALL
    SELECT latest.customer_id, next.isin, next.interaction_type
    FROM latest
    CROSS JOIN LATERAL (
        SELECT isin, interaction_type FROM user_interactions
        WHERE customer_id = latest.customer_id AND isin < latest.isin AND {is_of(DISMISSAL_TYPES)}
        ORDER BY isin DESC, sequence DESC LIMIT 1
    ) AS next
)
SELECT customer_id, array_agg(isin ORDER BY isin) AS isins
FROM latest
WHERE interaction_type = '{InteractionType.DISMISS.value}'
GROUP BY customer_id
"""

# Interactions, orders and changes of the profile are numbered together.
NEWEST_WRITES = """
SELECT asked.customer_id, greatest(
    (SELECT max(sequence) FROM user_interactions WHERE customer_id = asked.customer_id),
    (SELECT max(sequence) FROM recorded_transactions WHERE customer_id = asked.customer_id),
    (SELECT max(sequence) FROM recorded_customers WHERE customer_id = asked.customer_id), 0) AS sequence
FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
"""

# Of a row of `given`, for user_interactions.
SEQUENCE = f"""
CASE interaction_type WHEN '{InteractionType.IMPRESSION.value}' THEN -1 ELSE 1 END
    * nextval('user_interactions_sequence_seq')
"""

# A customer's list is that of the decision which it names. What an older worker wrote of it goes.
STORE_LISTS = f"""
INSERT INTO recommendations
    (customer_id, request_id, requested_at, interaction_sequence, reference_snapshot, created_at)
SELECT customer_id, request_id, requested_at, newest.sequence, :reference_snapshot, now()
FROM unnest(CAST(:customer_ids AS text[]), CAST(:request_ids AS uuid[]), CAST(:requested_at AS timestamptz[]))
     AS made(customer_id, request_id, requested_at)
JOIN ({NEWEST_WRITES}) AS newest USING (customer_id)
ORDER BY customer_id
ON CONFLICT (customer_id) DO UPDATE SET
    request_id = excluded.request_id, requested_at = excluded.requested_at, model_version = DEFAULT, basis = DEFAULT,
    weights = DEFAULT, items = DEFAULT, interaction_sequence = excluded.interaction_sequence,
    reference_snapshot = excluded.reference_snapshot, created_at = excluded.created_at
"""

DECIDED = """
SELECT request_id, customer_id, action, fingerprint, coalesce(replace(digest::text, '-', ''), content_digest)
FROM decisions WHERE request_id = ANY(CAST(%s AS uuid[]))
"""

# A list that answers another request names that request from then on, whose decision has the list as well.
RENAME_LISTS = """
UPDATE recommendations AS list
SET request_id = answered.request_id, requested_at = answered.requested_at, model_version = DEFAULT, basis = DEFAULT,
    weights = DEFAULT, items = DEFAULT
FROM unnest(CAST(:customer_ids AS text[]), CAST(:request_ids AS uuid[]), CAST(:requested_at AS timestamptz[]))
     AS answered(customer_id, request_id, requested_at)
WHERE list.customer_id = answered.customer_id
"""

BASES = """
SELECT customer_id, request_id, basis FROM decisions WHERE request_id = ANY(CAST(:request_ids AS uuid[]))
"""

# Sent at the commit; PostgreSQL drops what a savepoint undoes.
NOTIFY = "SELECT count(pg_notify(:channel, payload)) FROM unnest(CAST(:payloads AS text[])) AS sent(payload)"

# A list is fresh while the last interaction, order or change of the profile, the loaded reference data and the assets
# are those that it was made with; no clock is used. An older worker writes neither k nor options into its decision.
FRESH_LISTS = f"""
SELECT list.customer_id, {SHOWN_LIST}, made.k, made.options
FROM recommendations AS list
{LIST_DECISION}
WHERE list.customer_id = ANY(:customer_ids)
  AND list.reference_snapshot = ({REFERENCE_SNAPSHOTS})
  AND NOT EXISTS (
      SELECT FROM user_interactions AS newer
      WHERE newer.customer_id = list.customer_id AND newer.sequence > coalesce(list.interaction_sequence, 0))
  AND NOT EXISTS (
      SELECT FROM recorded_transactions AS newer
      WHERE newer.customer_id = list.customer_id AND newer.sequence > coalesce(list.interaction_sequence, 0))
  AND NOT EXISTS (
      SELECT FROM recorded_customers AS newer
      WHERE newer.customer_id = list.customer_id AND newer.sequence > coalesce(list.interaction_sequence, 0))
"""

# Migration 0018 defines what is shown of an asset.
ASSET_DISPLAYS = "SELECT * FROM shown_assets(CAST(:as_of AS date))"
