"""Interactions name the list that showed the asset, and indexes find what ends a watchlist entry or a dismissal"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

# For operators (docs/operations.md): of the interactions that name a request, by place and basis of the list. NULL is
# an unknown rank. A request that is not known, or of another customer, has the basis 'unknown'.
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
_PLACE = ["customer_id", "isin", "sequence"]


def upgrade() -> None:
    op.add_column("user_interactions", sa.Column("request_id", sa.Uuid(), nullable=True))
    op.add_column("user_interactions", sa.Column("rank", sa.Integer(), nullable=True))
    # The last of these interactions with an asset is one entry of the index, however many others there are.
    op.create_index(
        "ix_user_interactions_watches",
        "user_interactions",
        _PLACE,
        postgresql_where=sa.text("interaction_type IN ('watchlist', 'unwatch')"),
    )
    op.create_index(
        "ix_user_interactions_dismissals",
        "user_interactions",
        _PLACE,
        postgresql_where=sa.text("interaction_type NOT IN ('impression', 'unwatch')"),
    )
    op.execute(_CLICK_THROUGH)


def downgrade() -> None:
    op.execute("DROP VIEW click_through")
    op.drop_index("ix_user_interactions_dismissals", "user_interactions")
    op.drop_index("ix_user_interactions_watches", "user_interactions")
    op.drop_column("user_interactions", "rank")
    op.drop_column("user_interactions", "request_id")
