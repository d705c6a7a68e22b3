"""Why an asset is in a list, or not: the answer beside the decision of the preview that asks"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op
from sqlalchemy.dialects.postgresql import JSONB

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    # An older worker writes none.
    op.add_column("decisions", sa.Column("explanation", JSONB(), nullable=True))


def downgrade() -> None:
    op.drop_column("decisions", "explanation")
