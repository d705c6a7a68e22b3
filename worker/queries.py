"""The worker's statements; `:customer_ids` and `:request_ids` are one array for the whole batch."""

from __future__ import annotations

import re
from collections.abc import Sequence

from shared.postgres.bulk_insert import build_insert_new
from shared.postgres.tables import LIST_DECISION, REFERENCE_SNAPSHOTS, SHOWN_LIST, decisions, is_of
from shared.recommender.types import DISMISSAL_TYPES, HISTORY_TYPES, INTERACTION_WINDOW, InteractionType

# A text that changes with every load, append and undo, and when a customer is erased: what was read before may be of
# files that were replaced, or of somebody who must be forgotten.
LOAD_MARKER = """
SELECT coalesce(string_agg(table_name || ' ' || extract(epoch FROM loaded_at), ', ' ORDER BY table_name), '')
    || ' ' || coalesce((SELECT max(number) FROM erased_customers), 0)
FROM reference_snapshots
"""

CUSTOMERS = """
SELECT customer_id, risk_level, investment_capacity,
       CASE WHEN last_questionnaire_date BETWEEN DATE '1900-01-01' AND DATE '9000-01-01'
            THEN last_questionnaire_date END AS questionnaire_on
FROM latest_customers WHERE customer_id = ANY(:customer_ids)
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


def build_histories() -> str:
    """Return the statement that reads what the four statements above read: one row for each customer and kind.

    Kinds: profile, held, sold, dismissed, interactions. In `texts` are the codes of the profile and the day of the
    questionnaire, or the assets.
    """
    no_arrays = "NULL::text[], NULL::timestamptz[]"
    return f"""
    SELECT 'profile' AS kind, customer_id::text,
           ARRAY[risk_level, investment_capacity, to_char(questionnaire_on, 'YYYY-MM-DD')]::text[] AS texts,
           NULL::text[] AS types, NULL::timestamptz[] AS times
    FROM ({CUSTOMERS}) AS profile
    UNION ALL
    SELECT CASE WHEN held THEN 'held' ELSE 'sold' END, customer_id, array_agg(isin ORDER BY isin), {no_arrays}
    FROM ({POSITIONS}) AS position GROUP BY customer_id, held
    UNION ALL
    SELECT 'dismissed', customer_id, isins, {no_arrays} FROM ({DISMISSED}) AS dismissed
    UNION ALL
    SELECT 'interactions', customer_id, array_agg(isin ORDER BY place), array_agg(interaction_type ORDER BY place),
           array_agg(occurred_at ORDER BY place)
    FROM (SELECT *, row_number() OVER () AS place FROM ({INTERACTIONS}) AS ordered) AS recent GROUP BY customer_id
    """.replace(":customer_ids", "CAST($1 AS text[])")


# Interactions, orders and changes of the profile are numbered together.
NEWEST_WRITES = """
SELECT asked.customer_id, greatest(
    (SELECT max(sequence) FROM user_interactions WHERE customer_id = asked.customer_id),
    (SELECT max(sequence) FROM recorded_transactions WHERE customer_id = asked.customer_id),
    (SELECT max(sequence) FROM recorded_customers WHERE customer_id = asked.customer_id), 0) AS sequence
FROM unnest(CAST(:customer_ids AS text[])) AS asked(customer_id)
"""

# A repetition may name another time, and the unique key of a partition has the time: every month is looked into.
NOT_DECIDED = "request_id NOT IN (SELECT decided.request_id FROM decided)"
_DECIDED = """
SELECT decisions.request_id FROM decisions WHERE decisions.request_id = ANY(CAST(:request_ids AS uuid[]))
"""
_BESIDE_COLUMNS = ("of_lists_reference_snapshot", "channel", "payloads")  # parameters of the lists and notifications

# Of a row of `given`, for user_interactions.
SEQUENCE = f"""
CASE interaction_type WHEN '{InteractionType.IMPRESSION.value}' THEN -1 ELSE 1 END
    * nextval('user_interactions_sequence_seq')
"""


# A customer's list is that of the decision which it names: of those that are stored now the last one that was scored.
# What an older worker wrote of it goes. One customer is one partition, consumed in order and fenced, so the last
# decision is the newest.
_LISTS = f"""
INSERT INTO recommendations
    (customer_id, request_id, requested_at, interaction_sequence, reference_snapshot, created_at)
SELECT customer_id, request_id, requested_at, newest.sequence, :reference_snapshot, now()
FROM (
    SELECT DISTINCT ON (customer_id) customer_id, request_id, requested_at
    FROM stored JOIN unnest(CAST(:request_ids AS uuid[])) WITH ORDINALITY AS given(request_id, place) USING (request_id)
    WHERE answered_from = 'scored' AND NOT is_preview
    ORDER BY customer_id, place DESC
) AS made
CROSS JOIN LATERAL ({NEWEST_WRITES.replace(":customer_ids", "ARRAY[made.customer_id]")}) AS newest(customer, sequence)
ORDER BY customer_id
ON CONFLICT (customer_id) DO UPDATE SET
    request_id = excluded.request_id, requested_at = excluded.requested_at, model_version = DEFAULT, basis = DEFAULT,
    weights = DEFAULT, items = DEFAULT, interaction_sequence = excluded.interaction_sequence,
    reference_snapshot = excluded.reference_snapshot, created_at = excluded.created_at
"""
# Sent at the commit; PostgreSQL drops what a savepoint undoes.
NOTIFY = "SELECT count(pg_notify(:channel, payload)) FROM unnest(CAST(:payloads AS text[])) AS sent(payload)"


def build_store_decisions(names: Sequence[str]) -> str:
    """Return the statement that stores decisions and their lists, and notifies; it returns the new request_ids.

    A request that has a decision, of whatever time, gets no other one.
    Its parameters are one array for each of the names, the reference snapshot, the channel and the payloads.
    """
    returning = "request_id, requested_at, customer_id, answered_from, is_preview"
    insert = build_insert_new(decisions, tuple(names), returning, (), where=NOT_DECIDED)
    numbers = {name: f"${number}" for number, name in enumerate((*names, *_BESIDE_COLUMNS), start=1)}
    places = iter(numbers.values())
    insert = re.sub("%s", lambda _: next(places), insert)
    named = f"decided AS MATERIALIZED ({_DECIDED}), stored AS ({insert}), lists AS ({_LISTS}), sent AS ({NOTIFY})"
    for name, column in (("customer_ids", "customer_id"), ("request_ids", "request_id")):
        named = named.replace(f":{name}", numbers[column])
    for name in _BESIDE_COLUMNS:
        named = named.replace(f":{name.removeprefix('of_lists_')}", f"CAST({numbers[name]} AS text)")
    return f"WITH {named} SELECT stored.request_id FROM stored CROSS JOIN sent"


DECIDED = """
SELECT request_id, customer_id::text, action::text, fingerprint::text,
       coalesce(replace(digest::text, '-', ''), content_digest)::text
FROM decisions WHERE request_id = ANY(CAST($1 AS uuid[]))
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

# A list is fresh while the last interaction, order or change of the profile, the loaded reference data and the assets
# are those that it was made with; no clock is used. An older worker writes neither k nor options into its decision.
FRESH_LISTS = f"""
SELECT list.customer_id, {SHOWN_LIST}, made.k, made.options, made.policy_digest
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

DECIDED_CUSTOMERS = """
SELECT DISTINCT customer_id FROM decisions
WHERE decided_at > now() - make_interval(days => :days) AND NOT is_preview ORDER BY customer_id
"""

SUSPENSIONS = "SELECT kind, subject FROM current_suspensions"

# Migration 0018 defines what is shown of an asset.
ASSET_DISPLAYS = "SELECT * FROM shown_assets(CAST(:as_of AS date))"
