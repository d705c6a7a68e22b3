"""What a request asked of its list, and previews, which change no list"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("k", sa.Integer(), nullable=True))
    op.add_column("decisions", sa.Column("options", JSONB(), nullable=True))
    # An older worker says nothing, and makes no previews.
    op.add_column("decisions", sa.Column("is_preview", sa.Boolean(), server_default="false", nullable=False))
    op.add_column("decisions", sa.Column("reference_snapshot", sa.Text(), nullable=True))


def downgrade() -> None:
    for column in ("reference_snapshot", "is_preview", "options", "k"):
        op.drop_column("decisions", column)
