"""A list is stored once, as arrays of its decision; decisions are partitioned by the month of their request's time"""

from __future__ import annotations

from datetime import UTC, datetime

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None

# The columns of 0018 that are not NULL in every row, and of a fixed width first: no bytes are lost between columns.
_DECISIONS = """
CREATE TABLE decisions (
    request_id uuid NOT NULL, digest uuid, requested_at timestamptz NOT NULL, decided_at timestamptz NOT NULL,
    made_at timestamptz, event_offset bigint NOT NULL, weight_collaborative double precision,
    weight_content double precision, weight_profitability double precision, partition integer NOT NULL, k integer,
    risk_level integer, is_preview boolean NOT NULL DEFAULT false, customer_id text NOT NULL, action text NOT NULL,
    answered_from text NOT NULL, model_version text NOT NULL, basis text NOT NULL, asset_versions bigint[],
    contributions integer[], fingerprint text, options jsonb, reference_snapshot text, content_digest text,
    weights jsonb, items jsonb,
    CONSTRAINT decisions_pkey PRIMARY KEY (request_id, requested_at)
) PARTITION BY RANGE (requested_at)
"""
_NEW_COLUMNS = {
    "digest": "uuid",
    "made_at": "timestamptz",
    "weight_collaborative": "double precision",
    "weight_content": "double precision",
    "weight_profitability": "double precision",
    "asset_versions": "bigint[]",
    "contributions": "integer[]",
}
# For operators and tests: one row for each item of each decision, of both forms (decision 43).
_DECISION_ITEMS = """
CREATE VIEW decision_items AS
SELECT decision.request_id, decision.requested_at, decision.customer_id, shown.rank, shown.isin, shown.item
FROM decisions AS decision
CROSS JOIN LATERAL (
    SELECT place::int AS rank, item->>'isin' AS isin, item
    FROM jsonb_array_elements(CASE WHEN jsonb_typeof(decision.items) = 'array' THEN decision.items END)
         WITH ORDINALITY AS each(item, place)
    UNION ALL
    SELECT place::int, version.content->>'isin', version.content::jsonb || jsonb_build_object(
        'recommendation_date',
        to_char(coalesce(decision.made_at, decision.decided_at) AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS'),
        'rank', place,
        'score', trim_scale(coalesce(part.collaborative, 0) + coalesce(part.content, 0)
                            + coalesce(part.profitability, 0)),
        'components', jsonb_build_object('collaborative', part.collaborative, 'content', part.content,
                                         'profitability', part.profitability))
    FROM unnest(decision.asset_versions) WITH ORDINALITY AS listed(asset_version_id, place)
    JOIN shown_asset_versions AS version USING (asset_version_id)
    CROSS JOIN LATERAL (
        SELECT trim_scale(decision.contributions[3 * place - 2] / 1000000.0) AS collaborative,
               trim_scale(decision.contributions[3 * place - 1] / 1000000.0) AS content,
               trim_scale(decision.contributions[3 * place] / 1000000.0) AS profitability
    ) AS part
) AS shown
"""
# As migration 0016 defines it: a view keeps to the table that it was made on.
_CLICK_THROUGH = """
CREATE VIEW click_through AS
SELECT rank, basis, impressions, clicks, round(clicks / nullif(impressions, 0)::numeric, 4) AS share
FROM (
    SELECT shown.rank, coalesce(decision.basis, 'unknown') AS basis,
           count(*) FILTER (WHERE shown.interaction_type = 'impression') AS impressions,
           count(*) FILTER (WHERE shown.interaction_type = 'click') AS clicks
    FROM user_interactions AS shown
    LEFT JOIN decisions AS decision
        ON decision.request_id = shown.request_id AND decision.customer_id = shown.customer_id
    WHERE shown.request_id IS NOT NULL AND shown.interaction_type IN ('impression', 'click')
    GROUP BY shown.rank, coalesce(decision.basis, 'unknown')
) AS counted
"""
_INDEX = "CREATE INDEX ix_decisions_customer_id_decided_at ON decisions (customer_id, decided_at)"
_BEFORE = """
CREATE TABLE decisions_before AS
SELECT request_id, customer_id, action, answered_from, model_version, basis,
       coalesce(weights, jsonb_build_object('collaborative', weight_collaborative, 'content', weight_content,
                                            'profitability', weight_profitability)) AS weights,
       risk_level,
       coalesce(items, (SELECT jsonb_agg(item ORDER BY rank) FROM decision_items AS shown
                        WHERE shown.request_id = decision.request_id AND shown.requested_at = decision.requested_at),
                '[]') AS items,
       fingerprint, partition, event_offset, requested_at, decided_at, content_digest, k, options, is_preview,
       reference_snapshot
FROM decisions AS decision
"""
# An older worker writes these columns of a list, and this version leaves them at their defaults. Older code takes such
# a list for one that is not fresh, and shows no items.
_LIST_DEFAULTS = {"model_version": "''", "basis": "''", "weights": "'{}'", "items": "'[]'"}
_FORM = ("items", "weights")


def upgrade() -> None:
    op.create_table(
        "shown_asset_versions",
        sa.Column("asset_version_id", sa.BigInteger(), primary_key=True, autoincrement=False),
        sa.Column("content", postgresql.JSON(), nullable=False),
    )
    # Rows of decisions stay as they are, in the first partition; readers know both forms. There is one list for each
    # customer.
    op.add_column("recommendations", sa.Column("requested_at", sa.DateTime(timezone=True), nullable=True))
    for name, default in _LIST_DEFAULTS.items():
        op.alter_column("recommendations", name, server_default=sa.text(default))
    op.execute(
        "UPDATE recommendations AS list SET requested_at = decision.requested_at "
        "FROM decisions AS decision WHERE decision.request_id = list.request_id"
    )
    op.execute("DROP VIEW click_through")
    op.execute("ALTER TABLE decisions RENAME TO decisions_past")
    op.execute("ALTER TABLE decisions_past DROP CONSTRAINT decisions_pkey")
    op.execute("DROP INDEX ix_decisions_customer_id_decided_at")
    op.execute(_DECISIONS)
    op.execute(_INDEX)
    _create_partitions()
    op.execute(_CLICK_THROUGH)
    op.execute(_DECISION_ITEMS)


def _create_partitions() -> None:
    """Create that of all months up to now, and those of the next ones; the default has what no partition is for."""
    newest = op.get_bind().scalar(sa.text("SELECT max(requested_at) FROM decisions_past"))
    if newest is None:  # the order of the columns is the new one
        first = _month(datetime.now(UTC), 0)
        op.execute("DROP TABLE decisions_past")
        op.execute(f"CREATE TABLE decisions_past PARTITION OF decisions FOR VALUES FROM (MINVALUE) TO ('{first}')")
    else:
        first = _month(max(datetime.now(UTC), newest), 1)
        for name, kind in _NEW_COLUMNS.items():
            op.execute(f"ALTER TABLE decisions_past ADD COLUMN {name} {kind}")
        for name in _FORM:
            op.alter_column("decisions_past", name, nullable=True)
        op.execute(f"ALTER TABLE decisions ATTACH PARTITION decisions_past FOR VALUES FROM (MINVALUE) TO ('{first}')")
    for after in range(2):
        start, end = (_month(datetime.fromisoformat(first), months) for months in (after, after + 1))
        name = f"decisions_{start[:4]}_{start[5:7]}"
        op.execute(f"CREATE TABLE {name} PARTITION OF decisions FOR VALUES FROM ('{start}') TO ('{end}')")
    op.execute("CREATE TABLE decisions_other PARTITION OF decisions DEFAULT")


def _month(moment: datetime, months: int) -> str:
    number = 12 * moment.year + moment.month - 1 + months
    return f"{number // 12:04}-{number % 12 + 1:02}-01 00:00:00+00:00"


def downgrade() -> None:
    op.execute(_BEFORE)
    op.execute("DROP VIEW decision_items")
    op.execute("DROP VIEW click_through")
    op.execute("DROP TABLE decisions")
    op.execute("ALTER TABLE decisions_before RENAME TO decisions")
    # A request_id is in two partitions only where two workers answered different requests with it at the same time.
    op.execute(
        "DELETE FROM decisions AS one USING decisions AS other "
        "WHERE one.request_id = other.request_id AND one.ctid > other.ctid"
    )
    op.execute("ALTER TABLE decisions ADD CONSTRAINT decisions_pkey PRIMARY KEY (request_id)")
    nullable = ("risk_level", "fingerprint", "content_digest", "k", "options", "reference_snapshot", "request_id")
    for column in sa.inspect(op.get_bind()).get_columns("decisions"):
        if column["name"] not in nullable:
            op.alter_column("decisions", column["name"], nullable=False)
    op.alter_column("decisions", "is_preview", server_default="false")
    op.execute(_INDEX)
    op.execute(
        "UPDATE recommendations AS list SET model_version = decision.model_version, basis = decision.basis, "
        "weights = decision.weights, items = decision.items FROM decisions AS decision "
        "WHERE decision.request_id = list.request_id AND decision.requested_at = list.requested_at"
    )
    op.drop_column("recommendations", "requested_at")
    for name in _LIST_DEFAULTS:
        op.alter_column("recommendations", name, server_default=None)
    op.drop_table("shown_asset_versions")
    op.execute(_CLICK_THROUGH)
