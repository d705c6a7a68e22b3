"""What the last load or append replaced, one generation for each reference table, so that it can be undone"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None

_TABLES = ("customer_information", "asset_information", "markets", "limit_prices", "close_prices", "transactions")


def upgrade() -> None:
    for table in _TABLES:
        # Without the constraints of the columns: a row that names the key of an appended row has no other values.
        op.execute(f"CREATE TABLE previous_{table} AS SELECT * FROM {table} WITH NO DATA")
        op.add_column(
            f"previous_{table}", sa.Column("is_added_key", sa.Boolean(), server_default="false", nullable=False)
        )
    op.create_table(
        "previous_snapshots",
        sa.Column("table_name", sa.Text(), primary_key=True),
        sa.Column("change_id", sa.BigInteger(), nullable=False),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("kept_count", sa.BigInteger(), nullable=False),
        sa.Column("row_count", sa.BigInteger(), nullable=False),
        sa.Column("rejected_count", sa.BigInteger(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("loaded_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("replaced_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("undone_at", sa.DateTime(timezone=True), nullable=True),
    )


def downgrade() -> None:
    op.drop_table("previous_snapshots")
    for table in _TABLES:
        op.drop_table(f"previous_{table}")
