"""Which model versions are pinned"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("pinned", sa.Boolean(), server_default="false", nullable=False))


def downgrade() -> None:
    op.drop_column("model_versions", "pinned")
