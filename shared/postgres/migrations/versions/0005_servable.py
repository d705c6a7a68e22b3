"""Which model versions are on the models volume"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("model_versions", sa.Column("servable", sa.Boolean(), nullable=True))


def downgrade() -> None:
    op.drop_column("model_versions", "servable")
