"""Dead letters of a topic that was made anew are others than those of the topic before, at the same offsets"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0007"
down_revision = "0006"
branch_labels = None
depends_on = None

_PLACE = ["cluster_id", "consumer_group", "topic", "partition", "event_offset"]
# The name of the first one was given by the database.
_DROP_UNIQUE = """
DO $$
DECLARE found text;
BEGIN
    SELECT conname INTO STRICT found FROM pg_constraint WHERE conrelid = 'dead_letters'::regclass AND contype = 'u';
    EXECUTE format('ALTER TABLE dead_letters DROP CONSTRAINT %I', found);
END $$
"""


def upgrade() -> None:
    op.add_column("dead_letters", sa.Column("topic_id", sa.Text(), nullable=True))
    op.execute(_DROP_UNIQUE)
    op.create_unique_constraint(
        "dead_letters_place_key", "dead_letters", [*_PLACE, "topic_id"], postgresql_nulls_not_distinct=True
    )


def downgrade() -> None:
    op.execute(_DROP_UNIQUE)
    op.drop_column("dead_letters", "topic_id")
    op.create_unique_constraint(None, "dead_letters", _PLACE)
