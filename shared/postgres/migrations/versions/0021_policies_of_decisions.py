"""Which suitability policy a list obeys: the digest of the policy in each decision"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0024"
branch_labels = None
depends_on = None


def upgrade() -> None:
    op.add_column("decisions", sa.Column("policy_digest", sa.Text(), nullable=True))


def downgrade() -> None:
    op.drop_column("decisions", "policy_digest")
