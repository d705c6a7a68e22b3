"""Executed orders that arrive as events, one view of all transactions, and what of them is still held"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

# A load replaces `transactions` whole. A row that it brings stands for the recorded ones of the same transaction, asset
# and day, so no load doubles an order, and none removes one that its files do not have yet. A window finds them, not a
# join: it reads the rows of the customers that a query names, and never the whole table.
_ALL_TRANSACTIONS = """
CREATE VIEW all_transactions AS
SELECT customer_id, isin, transaction_id, transaction_type, traded_on, total_value, units, channel, market_id, currency,
       sequence, CASE WHEN sequence IS NULL THEN 'file' ELSE 'event' END AS origin
FROM (
    SELECT *, count(*) FILTER (WHERE sequence IS NULL) OVER (
        PARTITION BY customer_id, isin, transaction_id, transaction_type, traded_on) AS loaded
    FROM (
        SELECT customer_id, isin, transaction_id, transaction_type, traded_on, total_value, units, channel, market_id,
               NULL::text AS currency, NULL::bigint AS sequence
        FROM transactions
        UNION ALL
        SELECT customer_id, isin, transaction_id, transaction_type, traded_on, total_value, units, NULL, NULL,
               currency, sequence
        FROM recorded_transactions
    ) AS every
) AS counted
WHERE sequence IS NULL OR loaded = 0
"""
# Everything that was bought, and whether it is held: units bought less units sold, never below zero on the way, or a
# buy of unknown units that no sale follows. Units beyond the bounds of an event are unknown. A billionth of what was
# bought is a rounding error of the sums. Rows of a file have no order within a day: buys first, and before the events.
_POSITIONS = """
CREATE VIEW positions AS
WITH known AS (
    SELECT customer_id, isin, transaction_type = 'Buy' AS is_buy, traded_on, sequence,
           CASE WHEN units BETWEEN 1e-9 AND 1e12 THEN units END AS units
    FROM all_transactions
), running AS (
    SELECT customer_id, isin, is_buy, units,
           sum(CASE WHEN is_buy THEN coalesce(units, 0) ELSE -coalesce(units, 0) END) OVER in_order AS balance,
           row_number() OVER in_order AS place
    FROM known
    WINDOW in_order AS (PARTITION BY customer_id, isin
                        ORDER BY traded_on, sequence NULLS FIRST, is_buy DESC ROWS UNBOUNDED PRECEDING)
)
SELECT customer_id, isin,
       coalesce(
           sum(CASE WHEN is_buy THEN coalesce(units, 0) ELSE -coalesce(units, 0) END) - least(0, min(balance))
           > 1e-9 * sum(units) FILTER (WHERE is_buy), false)
       OR coalesce(max(place) FILTER (WHERE is_buy AND units IS NULL), 0)
          > coalesce(max(place) FILTER (WHERE NOT is_buy), 0) AS held
FROM running
GROUP BY customer_id, isin
HAVING bool_or(is_buy)
"""


def upgrade() -> None:
    op.create_table(
        "recorded_transactions",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("transaction_type", sa.Text(), nullable=False),
        sa.Column("traded_on", sa.Date(), nullable=False),
        sa.Column("total_value", sa.Float(), nullable=False),
        sa.Column("units", sa.Float(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        sa.Column("executed_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("event_offset", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        # The numbers of user_interactions: one order of everything that a customer did.
        sa.Column(
            "sequence",
            sa.BigInteger(),
            server_default=sa.text("nextval('user_interactions_sequence_seq')"),
            nullable=False,
        ),
        sa.UniqueConstraint("content_digest", name="recorded_transactions_content_digest_key"),
    )
    op.create_index(
        "ix_recorded_transactions_customer_id_sequence", "recorded_transactions", ["customer_id", "sequence"]
    )
    op.execute(_ALL_TRANSACTIONS)
    op.execute(_POSITIONS)


def downgrade() -> None:
    op.execute("DROP VIEW positions")
    op.execute("DROP VIEW all_transactions")
    op.drop_table("recorded_transactions")
