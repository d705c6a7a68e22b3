"""The queue of requested trainings in columns instead of text"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0009"
down_revision = "0008"
branch_labels = None
depends_on = None

# Older versions store a request as triggered_by = 'request <event_id>[ again]: <reason>' and its state in progress.
_REQUEST = "'^request ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})( again)?: (.*)$'"
_FILL = f"""
UPDATE model_versions SET
    queued = status = 'training' AND progress IS NOT DISTINCT FROM 'queued',
    request_id = (regexp_match(triggered_by, {_REQUEST}))[1]::uuid,
    request_reason = (regexp_match(triggered_by, {_REQUEST}))[3],
    request_repeated = triggered_by ~ {_REQUEST} AND (regexp_match(triggered_by, {_REQUEST}))[2] IS NOT NULL
"""
# Code of the release before writes only the text; this code writes both, and never changes progress alone while queued.
# A later migration drops this trigger.
_FOLLOW_OLDER_CODE = f"""
CREATE FUNCTION model_versions_follow_older_code() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE parsed text[];
BEGIN
    IF TG_OP = 'INSERT' THEN
        IF NEW.status = 'training' AND NEW.progress = 'queued' AND NOT NEW.queued THEN
            parsed := regexp_match(NEW.triggered_by, {_REQUEST});
            NEW.queued := true;
            NEW.request_id := parsed[1]::uuid;
            NEW.request_reason := parsed[3];
            NEW.request_repeated := parsed[2] IS NOT NULL;
        END IF;
    ELSIF NEW.progress IS DISTINCT FROM OLD.progress OR NEW.status <> 'training' THEN
        NEW.queued := false;
    END IF;
    RETURN NEW;
END $$
"""
_TRIGGER = """
CREATE TRIGGER follow_older_code BEFORE INSERT OR UPDATE ON model_versions
FOR EACH ROW EXECUTE FUNCTION model_versions_follow_older_code()
"""


def upgrade() -> None:
    for name in ("queued", "request_repeated"):
        op.add_column("model_versions", sa.Column(name, sa.Boolean(), server_default="false", nullable=False))
    op.add_column("model_versions", sa.Column("request_id", sa.Uuid(), nullable=True))
    op.add_column("model_versions", sa.Column("request_reason", sa.Text(), nullable=True))
    for statement in (_FILL, _FOLLOW_OLDER_CODE, _TRIGGER):
        op.execute(statement)


def downgrade() -> None:
    op.execute("DROP TRIGGER follow_older_code ON model_versions")
    op.execute("DROP FUNCTION model_versions_follow_older_code")
    for name in ("queued", "request_repeated", "request_id", "request_reason"):
        op.drop_column("model_versions", name)
