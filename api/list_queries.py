"""The statements that read lists, previews and what became of requests."""

from __future__ import annotations

from shared.events import RECOMMENDATIONS_REQUESTED
from shared.postgres.tables import LIST_DECISION, REFERENCE_SNAPSHOTS, SHOWN_LIST

# A letter that was replayed is under way again.
_OPEN_LETTER = f"d.topic = '{RECOMMENDATIONS_REQUESTED}' AND d.replayed_at IS NULL"
# An older worker leaves k NULL in its decision, whatever it replaces.
_K = """
CASE WHEN made.request_id IS NOT NULL THEN made.k
     ELSE (SELECT d.k FROM decisions d WHERE d.request_id = list.request_id LIMIT 1) END
"""
# One row for each customer that is asked. A list keeps its reference data and the last interaction, order or profile
# of the customer: no clock decides what is newer. `kept_id` and `kept_version` name the row of `decisions` that the
# gateway has an answer of: its columns are NULL while that answer holds. With its sub-selects the planner does not see
# how many are asked, so the statement is planned once, not each time.
LISTS = f"""
SELECT list.request_id, CASE WHEN is_fresh THEN made.xmin END AS version, is_stale, has_newer_interactions, is_kept,
       list.customer_id IS NOT NULL
       OR EXISTS (SELECT FROM customer_information c WHERE c.customer_id = asked.customer_id)
       OR EXISTS (SELECT FROM recorded_customers c WHERE c.customer_id = asked.customer_id) AS known,
       shown.*
FROM unnest((SELECT $1::text[]), (SELECT $2::uuid[]), (SELECT $3::xid[]))
     WITH ORDINALITY AS asked(customer_id, kept_id, kept_version, place)
LEFT JOIN recommendations list ON list.customer_id = asked.customer_id
{LIST_DECISION}
CROSS JOIN LATERAL (
    SELECT list.reference_snapshot IS DISTINCT FROM ({REFERENCE_SNAPSHOTS}) AS is_stale,
           greatest((SELECT max(i.sequence) FROM user_interactions i WHERE i.customer_id = asked.customer_id),
                    (SELECT max(t.sequence) FROM recorded_transactions t WHERE t.customer_id = asked.customer_id),
                    (SELECT max(c.sequence) FROM recorded_customers c WHERE c.customer_id = asked.customer_id), 0)
           > coalesce(list.interaction_sequence, 0) AS has_newer_interactions
    OFFSET 0
) AS since
CROSS JOIN LATERAL (SELECT NOT is_stale AND NOT has_newer_interactions AS is_fresh) AS fresh
CROSS JOIN LATERAL (SELECT is_fresh AND list.request_id = kept_id AND made.xmin = kept_version AS is_kept) AS kept
LEFT JOIN LATERAL (SELECT {SHOWN_LIST}, {_K} AS k WHERE is_kept IS NOT TRUE) AS shown ON true
ORDER BY asked.place
"""
# The same for many questions at once. A decision and the list are of one transaction, and the requests of a customer
# are answered in order, so the list of an answered request is its own or a later one. A preview is in its decision
# alone, which does not say which interactions it knew: what is forbidden today is always left out.
ANSWERS = f"""
SELECT list.request_id, {SHOWN_LIST}, {_K} AS k,
       list.reference_snapshot IS DISTINCT FROM ({REFERENCE_SNAPSHOTS}) AS is_stale,
       list.is_preview OR
       greatest((SELECT max(i.sequence) FROM user_interactions i WHERE i.customer_id = asked.customer_id),
                (SELECT max(t.sequence) FROM recorded_transactions t WHERE t.customer_id = asked.customer_id),
                (SELECT max(c.sequence) FROM recorded_customers c WHERE c.customer_id = asked.customer_id), 0)
       > coalesce(list.interaction_sequence, 0) AS has_newer_interactions,
       CASE WHEN asked.request_id IS NULL THEN list.request_id IS NOT NULL
            ELSE decision.request_id IS NOT NULL OR coalesce(letter.has_later_list, false) END AS is_answered,
       decision.request_id IS NULL AND letter.has_later_list IS FALSE AS has_failed
FROM unnest($1::text[], $2::uuid[]) WITH ORDINALITY AS asked(customer_id, request_id, place)
LEFT JOIN LATERAL (
    SELECT d.request_id, d.requested_at, d.is_preview, d.reference_snapshot FROM decisions d
    WHERE d.request_id = asked.request_id AND d.customer_id = asked.customer_id LIMIT 1
) AS decision ON true
LEFT JOIN LATERAL (
    SELECT r.request_id, r.requested_at, r.model_version, r.basis, r.items, r.weights, r.reference_snapshot,
           r.interaction_sequence, false AS is_preview
    FROM recommendations r WHERE r.customer_id = asked.customer_id AND decision.is_preview IS NOT TRUE
    UNION ALL
    SELECT decision.request_id, decision.requested_at, NULL, NULL, NULL, NULL, decision.reference_snapshot, NULL, true
    WHERE decision.is_preview
) AS list ON true
{LIST_DECISION}
LEFT JOIN LATERAL (
    -- The gateway writes its events without blanks, and a quotation mark within a text with a backslash.
    SELECT position('"save":false'::bytea IN coalesce(d.value, ''::bytea)) = 0 AND EXISTS (
        SELECT FROM decisions later
        WHERE later.request_id = list.request_id AND later.partition = d.partition
              AND later.event_offset > d.event_offset
    ) AS has_later_list
    FROM dead_letters d
    WHERE d.event_id = asked.request_id AND {_OPEN_LETTER} AND d.key = convert_to(asked.customer_id, 'UTF8')
    ORDER BY d.dead_letter_id DESC LIMIT 1
) AS letter ON true
ORDER BY asked.place
"""
SHOWN_ASSETS = """
SELECT asset_version_id, content FROM shown_asset_versions WHERE asset_version_id = ANY($1::bigint[])
"""
REQUEST = f"""
SELECT decision.requested_at, decision.decided_at AS answered_at, letter.failed_at, letter.reason,
       coalesce(decision.customer_id, letter.customer_id) AS customer_id
FROM (SELECT) AS one
LEFT JOIN decisions decision ON decision.request_id = $1
LEFT JOIN LATERAL (
    SELECT d.failed_at, d.reason,
           -- Only a customer id: other bytes of a key may be no text.
           CASE WHEN encode(d.key, 'escape') ~ '^[A-Za-z0-9_.:-]+$' THEN encode(d.key, 'escape') END AS customer_id
    FROM dead_letters d
    WHERE d.event_id = $1 AND {_OPEN_LETTER} AND decision.request_id IS NULL
    ORDER BY d.dead_letter_id DESC LIMIT 1
) AS letter ON true
WHERE decision.request_id IS NOT NULL OR letter.failed_at IS NOT NULL
"""
# What the sentences of a list may say: of a customer ($1), the list's assets ($2) and their sectors ($3), and the model
# ($4). A date of prices before 1990 is a mistake of a file.
LIST_FACTS = """
WITH bought AS MATERIALIZED (
    SELECT p.isin, asset.sector FROM positions p
    LEFT JOIN LATERAL (SELECT sector FROM latest_assets a WHERE a.isin = p.isin LIMIT 1) AS asset ON true
    WHERE p.customer_id = $1
)
SELECT item.isin, EXISTS (SELECT FROM bought b WHERE b.isin = item.isin) AS was_bought,
       (SELECT count(*) FROM bought b WHERE b.sector = item.sector AND b.isin <> item.isin) AS bought_of_sector,
       least((SELECT priced_on FROM all_close_prices c
              WHERE c.isin = item.isin AND priced_on BETWEEN DATE '1990-01-01' AND current_date
              ORDER BY priced_on LIMIT 1),
             (SELECT min_date FROM latest_limit_prices l
              WHERE l.isin = item.isin AND min_date BETWEEN DATE '1990-01-01' AND current_date LIMIT 1)
       ) AS first_known_on,
       model.as_of, model.list_rules
FROM unnest($2::text[], $3::text[]) AS item(isin, sector)
LEFT JOIN (
    SELECT watermark->>'as_of' AS as_of, configuration->'list_rules' AS list_rules
    FROM model_versions WHERE version = $4
) AS model ON true
"""
# What the list of this request ($1) of this customer ($2) was asked to be, as the worker stored it.
LIST_OPTIONS = "SELECT options FROM decisions WHERE request_id = $1 AND customer_id = $2 LIMIT 1"
EXPLANATION = """
SELECT explanation, model_version, basis FROM decisions WHERE request_id = $1 AND customer_id = $2 LIMIT 1
"""
