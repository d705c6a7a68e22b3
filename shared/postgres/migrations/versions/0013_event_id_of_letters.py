"""Dead letters are found by the event_id of their message"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0013"
down_revision = "0011"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # NULL in rows of older versions, and where the message names no event_id.
    op.add_column("dead_letters", sa.Column("event_id", sa.Uuid(), nullable=True))
    op.create_index(
        "ix_dead_letters_event_id", "dead_letters", ["event_id"], postgresql_where=sa.text("event_id IS NOT NULL")
    )


def downgrade() -> None:
    op.drop_index("ix_dead_letters_event_id", "dead_letters")
    op.drop_column("dead_letters", "event_id")
