"""An index that finds a customer's last interaction with each asset, and what a stored list knew"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.create_index(
        "ix_user_interactions_customer_id_isin_sequence",
        "user_interactions",
        ["customer_id", "isin", "sequence"],
        unique=False,
    )
    # Nothing orders by the sender's clock any more.
    op.drop_index("ix_user_interactions_customer_id_occurred_at", table_name="user_interactions")
    op.add_column("recommendations", sa.Column("interaction_sequence", sa.BigInteger(), nullable=True))
    op.add_column("recommendations", sa.Column("reference_snapshot", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("recommendations", "reference_snapshot")
    op.drop_column("recommendations", "interaction_sequence")
    op.create_index(
        "ix_user_interactions_customer_id_occurred_at",
        "user_interactions",
        ["customer_id", "occurred_at"],
        unique=False,
    )
    op.drop_index("ix_user_interactions_customer_id_isin_sequence", table_name="user_interactions")
