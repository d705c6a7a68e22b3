"""Every table of the system in one place, each with its one writer (SQLAlchemy Core).

Reference tables have no keys that could refuse a published row: customers and assets come in several dated versions,
and `transaction_id` is not unique in the published file.
"""

from __future__ import annotations

from typing import Any

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Date,
    DateTime,
    Float,
    Identity,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Text,
    UniqueConstraint,
    Uuid,
    func,
    text,
)
from sqlalchemy import Table as SqlTable
from sqlalchemy.dialects.postgresql import JSONB
from sqlalchemy.types import TypeEngine

from shared.far_trans import schema as far_trans

metadata = MetaData()

_SQL_TYPES: dict[str, type[TypeEngine[Any]]] = {
    "text": Text,
    "customer_id": Text,
    "isin": Text,
    "date": Date,
    "number": Float,
    "amount": Float,
    "price": Float,
}


def _reference_table(schema: far_trans.TableSchema, *indexes: tuple[str, ...]) -> SqlTable:
    """Build the table of one published file; only FAR-Trans/script.py writes it.

    `line_number` is the line of the CSV file that the row comes from. The views `latest_...` (migration 0008) order
    rows of the same date by it. Rows inserted without a line number get one that is larger than that of any file.
    """
    columns = [Column(column.name, _SQL_TYPES[column.type], nullable=not column.required) for column in schema.columns]
    if schema.has_line_numbers:
        columns.append(Column("line_number", BigInteger, Identity(always=False), nullable=False))
    named = [Index(f"ix_{schema.table}_{'_'.join(names)}", *names) for names in indexes]
    return SqlTable(schema.table, metadata, *columns, *named)


def _timestamp(name: str, **options: object) -> Column[object]:
    return Column(name, DateTime(timezone=True), **options)  # type: ignore[arg-type]


customer_information = _reference_table(far_trans.CUSTOMER_INFORMATION, ("customer_id",))
asset_information = _reference_table(far_trans.ASSET_INFORMATION, ("isin",))
markets = _reference_table(far_trans.MARKETS, ("market_id",))
limit_prices = _reference_table(far_trans.LIMIT_PRICES, ("isin",))
close_prices = _reference_table(far_trans.CLOSE_PRICES, ("isin", "priced_on"))
transactions = _reference_table(far_trans.TRANSACTIONS, ("customer_id",))

# What FAR-Trans/script.py loaded last into each reference table.
reference_snapshots = SqlTable(
    "reference_snapshots",
    metadata,
    Column("table_name", Text, primary_key=True),
    Column("row_count", BigInteger, nullable=False),
    Column("rejected_count", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    _timestamp("loaded_at", nullable=False, server_default=func.now()),
)


def _previous_table(table: SqlTable) -> SqlTable:
    """Build the table of the rows that the last load or append removed from a reference table.

    After an append it also has a row for each key that was added (`is_added_key`), with no other columns.
    """
    columns = [Column(column.name, column.type) for column in table.columns]
    is_added_key = Column("is_added_key", Boolean, nullable=False, server_default="false")
    return SqlTable(f"previous_{table.name}", metadata, *columns, is_added_key)


previous_tables = {
    table.name: _previous_table(table)
    for table in (customer_information, asset_information, markets, limit_prices, close_prices, transactions)
}
# The snapshot before the last load or append of each table: what an undo restores.
previous_snapshots = SqlTable(
    "previous_snapshots",
    metadata,
    Column("table_name", Text, primary_key=True),
    Column("change_id", BigInteger, nullable=False),  # the same for all tables of one load or append, growing
    Column("kind", Text, nullable=False),  # 'load' or 'append'
    Column("kept_count", BigInteger, nullable=False),  # rows of the table previous_...
    Column("row_count", BigInteger, nullable=False),
    Column("rejected_count", BigInteger, nullable=False),
    Column("source", Text, nullable=False),
    _timestamp("loaded_at", nullable=False),
    # `loaded_at` of the snapshot that replaced this one; an older loader changes only that of reference_snapshots.
    _timestamp("replaced_at", nullable=False),
    _timestamp("undone_at"),
)

# A text that changes with every load, append and undo; compared for equality only: no clock decides what is newer.
REFERENCE_SNAPSHOTS = """
SELECT coalesce(string_agg(table_name || ' ' || extract(epoch FROM loaded_at), ', ' ORDER BY table_name), '')
FROM reference_snapshots
"""

# --- written by the worker ---
user_interactions = SqlTable(
    "user_interactions",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("isin", Text, nullable=False),
    Column("interaction_type", Text, nullable=False),
    _timestamp("occurred_at", nullable=False),
    Column("fingerprint", Text),
    Column("partition", Integer, nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    _timestamp("recorded_at", nullable=False, server_default=func.now()),
    # The order in which the worker consumed them, which is the log's for each customer; no clock is involved.
    Column("sequence", BigInteger, Identity(always=False), nullable=False),
    Index("ix_user_interactions_customer_id_sequence", "customer_id", "sequence"),
    Index("ix_user_interactions_customer_id_isin_sequence", "customer_id", "isin", "sequence"),
)

# The newest list of each customer, as the API answers it.
recommendations = SqlTable(
    "recommendations",
    metadata,
    Column("customer_id", Text, primary_key=True),
    Column("request_id", Uuid, nullable=False),
    Column("model_version", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("weights", JSONB, nullable=False),
    Column("items", JSONB, nullable=False),
    # What the list knew: the customer's last interaction (0: none), and which reference data. NULL in older rows.
    Column("interaction_sequence", BigInteger),
    Column("reference_snapshot", Text),
    _timestamp("created_at", nullable=False),
)

# One row per request event, never changed: what was answered, from what, by which model.
decisions = SqlTable(
    "decisions",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("answered_from", Text, nullable=False),  # 'scored' or 'stored'
    Column("model_version", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("weights", JSONB, nullable=False),
    Column("risk_level", Integer),  # NULL: not known to the bank
    Column("items", JSONB, nullable=False),
    Column("fingerprint", Text),
    Column("content_digest", Text),  # shared.events.content_digest; NULL in rows of older versions
    Column("partition", Integer, nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    _timestamp("requested_at", nullable=False),
    _timestamp("decided_at", nullable=False),
    Index("ix_decisions_customer_id_decided_at", "customer_id", "decided_at"),
)

dead_letters = SqlTable(
    "dead_letters",
    metadata,
    Column("dead_letter_id", BigInteger, primary_key=True, autoincrement=True),
    Column("cluster_id", Text, nullable=False),
    Column("consumer_group", Text, nullable=False),
    Column("topic", Text, nullable=False),
    Column("partition", Integer, nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    Column("key", LargeBinary),
    Column("value", LargeBinary),
    Column("reason", Text, nullable=False),
    _timestamp("failed_at", nullable=False, server_default=func.now()),
    _timestamp("replayed_at"),
    Column("topic_id", Text),  # Kafka's id of the topic; NULL in rows of older versions
    Column("event_id", Uuid),  # NULL in rows of older versions, and where the message names none
    Index("ix_dead_letters_event_id", "event_id", postgresql_where=text("event_id IS NOT NULL")),
    UniqueConstraint(
        *("cluster_id", "consumer_group", "topic", "partition", "event_offset", "topic_id"),
        name="dead_letters_place_key",
        postgresql_nulls_not_distinct=True,
    ),
)

# --- each row belongs to the consumer group that it names ---
consumer_offsets = SqlTable(
    "consumer_offsets",
    metadata,
    Column("cluster_id", Text, primary_key=True),
    Column("consumer_group", Text, primary_key=True),
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("next_offset", BigInteger, nullable=False),
    Column("topic_id", Text),  # Kafka's id of the topic that the offset belongs to; NULL in rows of older versions
    _timestamp("updated_at", nullable=False, server_default=func.now()),
)

# --- written by the trainer ---
# status: training, stored (made but not promoted: see reason), promoted (was or is served), failed
model_versions = SqlTable(
    "model_versions",
    metadata,
    Column("version", Text, primary_key=True),
    Column("status", Text, nullable=False),
    Column("active", Boolean, nullable=False, server_default="false"),
    Column("sequence", BigInteger),  # of the pointer file when it last named this version
    Column("algorithm", Text),
    # The queue: a row in training waits while it is queued. Text for people: triggered_by, progress.
    Column("queued", Boolean, nullable=False, server_default="false"),
    Column("request_id", Uuid),  # event_id of the RetrainRequested that asked for it, NULL for other triggers
    Column("request_reason", Text),
    Column("request_repeated", Boolean, nullable=False, server_default="false"),  # queued again after a crash
    Column("triggered_by", Text, nullable=False),
    Column("progress", Text),
    Column("metrics", JSONB),
    Column("champion_metrics", JSONB),
    Column("reason", Text),
    Column("configuration", JSONB),
    Column("watermark", JSONB),  # as_of, row counts, interaction offsets
    Column("manifest_sha256", Text),
    Column("pinned", Boolean, nullable=False, server_default="false"),  # stays on the volume; served: until unpinned
    Column("servable", Boolean),  # whether the models volume has it; NULL while the trainer has not said so
    _timestamp("started_at", nullable=False, server_default=func.now()),
    _timestamp("finished_at"),
    _timestamp("activated_at"),
)

# One row per command that had its effect: a repetition has none, another content under the same id is a dead letter.
model_commands = SqlTable(
    "model_commands",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("event_type", Text, nullable=False),
    Column("content_digest", Text, nullable=False),  # shared.events.content_digest
    _timestamp("handled_at", nullable=False, server_default=func.now()),
)
