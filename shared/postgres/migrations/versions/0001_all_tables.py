"""All tables"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects import postgresql

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_table(
        "asset_information",
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("asset_name", sa.Text(), nullable=True),
        sa.Column("asset_short_name", sa.Text(), nullable=True),
        sa.Column("asset_category", sa.Text(), nullable=False),
        sa.Column("asset_sub_category", sa.Text(), nullable=True),
        sa.Column("market_id", sa.Text(), nullable=True),
        sa.Column("sector", sa.Text(), nullable=True),
        sa.Column("industry", sa.Text(), nullable=True),
        sa.Column("recorded_on", sa.Date(), nullable=False),
    )
    op.create_index("ix_asset_information_isin", "asset_information", ["isin"], unique=False)
    op.create_table(
        "close_prices",
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("priced_on", sa.Date(), nullable=False),
        sa.Column("close_price", sa.Float(), nullable=False),
    )
    op.create_index("ix_close_prices_isin_priced_on", "close_prices", ["isin", "priced_on"], unique=False)
    op.create_table(
        "consumer_offsets",
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("next_offset", sa.BigInteger(), nullable=False),
        sa.Column("updated_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("cluster_id", "consumer_group", "topic", "partition"),
    )
    op.create_table(
        "customer_information",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("customer_type", sa.Text(), nullable=True),
        sa.Column("risk_level", sa.Text(), nullable=True),
        sa.Column("investment_capacity", sa.Text(), nullable=True),
        sa.Column("last_questionnaire_date", sa.Date(), nullable=True),
        sa.Column("recorded_on", sa.Date(), nullable=False),
    )
    op.create_index("ix_customer_information_customer_id", "customer_information", ["customer_id"], unique=False)
    op.create_table(
        "dead_letters",
        sa.Column("dead_letter_id", sa.BigInteger(), autoincrement=True, nullable=False),
        sa.Column("cluster_id", sa.Text(), nullable=False),
        sa.Column("consumer_group", sa.Text(), nullable=False),
        sa.Column("topic", sa.Text(), nullable=False),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("event_offset", sa.BigInteger(), nullable=False),
        sa.Column("key", sa.LargeBinary(), nullable=True),
        sa.Column("value", sa.LargeBinary(), nullable=True),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("failed_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("replayed_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("dead_letter_id"),
        sa.UniqueConstraint("cluster_id", "consumer_group", "topic", "partition", "event_offset"),
    )
    op.create_table(
        "decisions",
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("action", sa.Text(), nullable=False),
        sa.Column("answered_from", sa.Text(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("weights", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("risk_level", sa.Integer(), nullable=True),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("event_offset", sa.BigInteger(), nullable=False),
        sa.Column("requested_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("decided_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("request_id"),
    )
    op.create_index("ix_decisions_customer_id_decided_at", "decisions", ["customer_id", "decided_at"], unique=False)
    op.create_table(
        "limit_prices",
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("min_date", sa.Date(), nullable=False),
        sa.Column("max_date", sa.Date(), nullable=False),
        sa.Column("price_min_date", sa.Float(), nullable=True),
        sa.Column("price_max_date", sa.Float(), nullable=True),
        sa.Column("profitability", sa.Float(), nullable=True),
    )
    op.create_index("ix_limit_prices_isin", "limit_prices", ["isin"], unique=False)
    op.create_table(
        "markets",
        sa.Column("exchange_id", sa.Text(), nullable=False),
        sa.Column("market_id", sa.Text(), nullable=False),
        sa.Column("name", sa.Text(), nullable=True),
        sa.Column("description", sa.Text(), nullable=True),
        sa.Column("country", sa.Text(), nullable=True),
        sa.Column("trading_days", sa.Text(), nullable=True),
        sa.Column("trading_hours", sa.Text(), nullable=True),
        sa.Column("market_class", sa.Text(), nullable=True),
    )
    op.create_index("ix_markets_market_id", "markets", ["market_id"], unique=False)
    op.create_table(
        "model_versions",
        sa.Column("version", sa.Text(), nullable=False),
        sa.Column("status", sa.Text(), nullable=False),
        sa.Column("active", sa.Boolean(), server_default="false", nullable=False),
        sa.Column("sequence", sa.BigInteger(), nullable=True),
        sa.Column("algorithm", sa.Text(), nullable=True),
        sa.Column("triggered_by", sa.Text(), nullable=False),
        sa.Column("progress", sa.Text(), nullable=True),
        sa.Column("metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("champion_metrics", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("reason", sa.Text(), nullable=True),
        sa.Column("configuration", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("watermark", postgresql.JSONB(astext_type=sa.Text()), nullable=True),
        sa.Column("manifest_sha256", sa.Text(), nullable=True),
        sa.Column("started_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.Column("finished_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("activated_at", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("version"),
    )
    op.create_table(
        "recommendations",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("request_id", sa.Uuid(), nullable=False),
        sa.Column("model_version", sa.Text(), nullable=False),
        sa.Column("basis", sa.Text(), nullable=False),
        sa.Column("weights", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("items", postgresql.JSONB(astext_type=sa.Text()), nullable=False),
        sa.Column("created_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("customer_id"),
    )
    op.create_table(
        "reference_snapshots",
        sa.Column("table_name", sa.Text(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("rejected_count", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("table_name"),
    )
    op.create_table(
        "transactions",
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("transaction_id", sa.Text(), nullable=False),
        sa.Column("transaction_type", sa.Text(), nullable=False),
        sa.Column("traded_on", sa.Date(), nullable=False),
        sa.Column("total_value", sa.Float(), nullable=True),
        sa.Column("units", sa.Float(), nullable=True),
        sa.Column("channel", sa.Text(), nullable=True),
        sa.Column("market_id", sa.Text(), nullable=True),
    )
    op.create_index("ix_transactions_customer_id", "transactions", ["customer_id"], unique=False)
    op.create_table(
        "user_interactions",
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("customer_id", sa.Text(), nullable=False),
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("interaction_type", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("event_offset", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.text("now()"), nullable=False),
        sa.PrimaryKeyConstraint("event_id"),
    )
    op.create_index(
        "ix_user_interactions_customer_id_occurred_at",
        "user_interactions",
        ["customer_id", "occurred_at"],
        unique=False,
    )


def downgrade() -> None:
    op.drop_index("ix_user_interactions_customer_id_occurred_at", table_name="user_interactions")
    op.drop_table("user_interactions")
    op.drop_index("ix_transactions_customer_id", table_name="transactions")
    op.drop_table("transactions")
    op.drop_table("reference_snapshots")
    op.drop_table("recommendations")
    op.drop_table("model_versions")
    op.drop_index("ix_markets_market_id", table_name="markets")
    op.drop_table("markets")
    op.drop_index("ix_limit_prices_isin", table_name="limit_prices")
    op.drop_table("limit_prices")
    op.drop_index("ix_decisions_customer_id_decided_at", table_name="decisions")
    op.drop_table("decisions")
    op.drop_table("dead_letters")
    op.drop_index("ix_customer_information_customer_id", table_name="customer_information")
    op.drop_table("customer_information")
    op.drop_table("consumer_offsets")
    op.drop_index("ix_close_prices_isin_priced_on", table_name="close_prices")
    op.drop_table("close_prices")
    op.drop_index("ix_asset_information_isin", table_name="asset_information")
    op.drop_table("asset_information")
