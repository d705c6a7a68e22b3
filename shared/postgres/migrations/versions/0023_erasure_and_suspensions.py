"""Customers that were erased stay out, whoever writes; suspensions of assets, categories and models"""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0019"
branch_labels = None
depends_on = None

# Every table that an event or a file can bring a customer back to. An older service or loader needs no change: the
# database removes what it writes (decision 53). Without an erased customer a trigger costs one look into a table.
_GUARDED = (
    *("customer_information", "transactions"),
    *("user_interactions", "recorded_transactions", "recorded_customers", "recommendations"),
)
_FIND_ERASED = """
    IF NOT EXISTS (SELECT FROM erased_customers) THEN
        RETURN NULL;
    END IF;
    SELECT array_agg(customer_id) INTO erased
    FROM (SELECT DISTINCT customer_id FROM added) AS one
    WHERE EXISTS (SELECT FROM erased_customers AS gone WHERE gone.customer_digest = customer_digest(one.customer_id));
    IF erased IS NULL THEN
        RETURN NULL;
    END IF;
"""
_FUNCTIONS = (
    """
CREATE FUNCTION customer_digest(customer_id text) RETURNS bytea LANGUAGE sql IMMUTABLE STRICT AS
$$ SELECT sha256(convert_to(customer_id, 'UTF8')) $$
""",
    f"""
CREATE FUNCTION remove_erased_customers() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erased text[];
BEGIN
    {_FIND_ERASED}
    EXECUTE format('DELETE FROM %s WHERE customer_id = ANY($1)', TG_RELID::regclass) USING erased;
    RETURN NULL;
END $$
""",
    # A request that is not decided needs an end that GET /requests/{request_id} can tell.
    f"""
CREATE FUNCTION remove_erased_decisions() RETURNS trigger LANGUAGE plpgsql AS $$
DECLARE
    erased text[];
BEGIN
    {_FIND_ERASED}
    INSERT INTO dead_letters (cluster_id, consumer_group, topic, partition, event_offset, reason, event_id)
    SELECT '', 'erasure', 'recommendations.requested.v1', partition, event_offset,
           'CustomerErased: the customer was erased', request_id
    FROM added WHERE customer_id = ANY(erased)
    ON CONFLICT DO NOTHING;
    DELETE FROM decisions WHERE customer_id = ANY(erased);
    RETURN NULL;
END $$
""",
    # A letter stays as the end of its request, without its message. `escape` is text whatever the bytes are.
    """
CREATE FUNCTION blank_erased_letters() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NOT EXISTS (SELECT FROM erased_customers) THEN
        RETURN NULL;
    END IF;
    UPDATE dead_letters AS letter
    SET key = NULL, value = NULL, reason = 'CustomerErased: the customer was erased'
    WHERE letter.dead_letter_id IN (
        SELECT dead_letter_id FROM added
        CROSS JOIN LATERAL (
            SELECT sha256(added.key) AS digest
            UNION ALL
            SELECT sha256(convert_to(named[1], 'UTF8'))
            FROM regexp_matches(encode(added.value, 'escape'), '"([A-Za-z0-9_][A-Za-z0-9_.:-]{0,63})"', 'g') AS named
        ) AS one
        JOIN erased_customers AS gone ON gone.customer_digest = one.digest
    );
    RETURN NULL;
END $$
""",
)
# The last event about a subject decides. One worker owns a partition, and a subject has one: numbers are in order.
_CURRENT = """
CREATE VIEW current_suspensions AS
SELECT kind, subject, reason, recorded_at
FROM (SELECT DISTINCT ON (kind, subject) kind, subject, reason, recorded_at, suspended
      FROM recorded_suspensions ORDER BY kind, subject, sequence DESC) AS latest
WHERE suspended
"""


def upgrade() -> None:
    op.create_table(
        "erased_customers",
        sa.Column("customer_digest", sa.LargeBinary(), primary_key=True),
        sa.Column("event_id", sa.Uuid(), nullable=False),
        sa.Column("pseudonym", sa.Text(), nullable=True),
        sa.Column("erased_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("published_at", sa.DateTime(timezone=True), nullable=True),
        sa.Column("number", sa.BigInteger(), sa.Identity(always=False), nullable=False),
        sa.UniqueConstraint("number", name="erased_customers_number_key"),
    )
    for statement in _FUNCTIONS:
        op.execute(statement)
    for table in _GUARDED:
        _guard(table, "remove_erased_customers")
    _guard("decisions", "remove_erased_decisions")
    _guard("dead_letters", "blank_erased_letters")
    op.create_table(
        "recorded_suspensions",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.Column("kind", sa.Text(), nullable=False),
        sa.Column("subject", sa.Text(), nullable=False),
        sa.Column("suspended", sa.Boolean(), nullable=False),
        sa.Column("reason", sa.Text(), nullable=False),
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("event_offset", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False),
    )
    op.create_index(
        "ix_recorded_suspensions_kind_subject_sequence", "recorded_suspensions", ["kind", "subject", "sequence"]
    )
    op.execute(_CURRENT)


def _guard(table: str, function: str) -> None:
    op.execute(
        f"CREATE TRIGGER erased_customers AFTER INSERT ON {table} REFERENCING NEW TABLE AS added "
        f"FOR EACH STATEMENT EXECUTE FUNCTION {function}()"
    )


def downgrade() -> None:
    op.execute("DROP VIEW current_suspensions")
    op.drop_table("recorded_suspensions")
    for table in (*_GUARDED, "decisions", "dead_letters"):
        op.execute(f"DROP TRIGGER erased_customers ON {table}")
    for function in ("remove_erased_customers()", "remove_erased_decisions()", "blank_erased_letters()"):
        op.execute(f"DROP FUNCTION {function}")
    op.execute("DROP FUNCTION customer_digest(text)")
    op.drop_table("erased_customers")
