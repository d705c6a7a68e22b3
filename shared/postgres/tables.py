"""Every table of the system in one place, each with its one writer (SQLAlchemy Core).

Reference tables have no keys that could refuse a published row: customers and assets come in several dated versions,
and `transaction_id` is not unique in the published file.
"""

from __future__ import annotations

from collections.abc import Iterable
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
from sqlalchemy.dialects.postgresql import ARRAY, JSON, JSONB
from sqlalchemy.types import TypeEngine

from shared.events import ASSETS_CHANGED, CLOSE_PRICES_RECORDED, SUSPENSIONS_CHANGED
from shared.far_trans import schema as far_trans
from shared.recommender.types import InteractionType

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

# Texts that are compared for equality only: no clock decides what is newer. The first one changes with every load,
# append and undo, and with every batch that changes assets or suspensions: a list made before may be wrong, so it is
# stale. A price changes no list, only what the catalogue shows: it changes the second text alone. What is known of a
# customer is numbered with their interactions (`sequence`), so it makes only their own list older.
_CHANGES = """
(SELECT coalesce(string_agg(', ' || topic || ' ' || partition || ' ' || changes, '' ORDER BY topic, partition), '')
 FROM reference_changes WHERE topic {condition})
"""
REFERENCE_SNAPSHOTS = f"""
SELECT coalesce(string_agg(table_name || ' ' || extract(epoch FROM loaded_at), ', ' ORDER BY table_name), '')
    || {_CHANGES.format(condition=f"IN ('{ASSETS_CHANGED}', '{SUSPENSIONS_CHANGED}')")}
FROM reference_snapshots
"""
CATALOGUE_VERSION = f"""
SELECT ({REFERENCE_SNAPSHOTS}) || {_CHANGES.format(condition=f"= '{CLOSE_PRICES_RECORDED}'")}
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
    # The order in which the worker consumed them, which is the log's for each customer; no clock is involved. Those of
    # impressions are negative: whatever asks for the last interaction does not see them.
    Column("sequence", BigInteger, Identity(always=False), nullable=False),
    Column("request_id", Uuid),  # of the list that showed the asset; NULL where the app names none
    Column("rank", Integer),  # the place in that list
    Index("ix_user_interactions_customer_id_sequence", "customer_id", "sequence"),
    # Of older versions; nothing here needs it any more.
    Index("ix_user_interactions_customer_id_isin_sequence", "customer_id", "isin", "sequence"),
    Index(
        "ix_user_interactions_watches",
        *("customer_id", "isin", "sequence"),
        postgresql_where=text("interaction_type IN ('watchlist', 'unwatch')"),
    ),
    Index(
        "ix_user_interactions_dismissals",
        *("customer_id", "isin", "sequence"),
        postgresql_where=text("interaction_type NOT IN ('impression', 'unwatch')"),
    ),
)


def is_of(types: Iterable[InteractionType]) -> str:
    """Return the SQL condition that an interaction has one of these types."""
    return f"interaction_type IN ({', '.join(repr(kind.value) for kind in types)})"


# Executed orders, each once. The view `all_transactions` (migration 0012) joins them with the loaded `transactions` and
# says in `origin` where a row is from; the view `positions` says what is held.
recorded_transactions = SqlTable(
    "recorded_transactions",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("customer_id", Text, nullable=False),
    Column("isin", Text, nullable=False),
    Column("transaction_id", Text, nullable=False),
    Column("transaction_type", Text, nullable=False),
    Column("traded_on", Date, nullable=False),  # the day of executed_at in UTC
    Column("total_value", Float, nullable=False),
    Column("units", Float, nullable=False),
    Column("currency", Text),
    _timestamp("executed_at", nullable=False),
    Column("content_digest", Text, nullable=False),  # shared.events.content_digest
    Column("fingerprint", Text),
    Column("partition", Integer, nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    _timestamp("recorded_at", nullable=False, server_default=func.now()),
    # The numbers of user_interactions: one order of everything that a customer did.
    Column("sequence", BigInteger, server_default=text("nextval('user_interactions_sequence_seq')"), nullable=False),
    UniqueConstraint("content_digest", name="recorded_transactions_content_digest_key"),
    Index("ix_recorded_transactions_customer_id_sequence", "customer_id", "sequence"),
)


def _recorded_table(
    schema: far_trans.TableSchema, name: str, *others: Column[Any], sequence: Column[Any], index: tuple[str, ...]
) -> SqlTable:
    """Build the table of the events that stand beside the rows of a published file; each event is one row.

    The views `latest_...` and `all_close_prices` (migration 0017) join both: `origin` says where a row is from.
    """
    columns = [Column(column.name, _SQL_TYPES[column.type], nullable=not column.required) for column in schema.columns]
    return SqlTable(
        name,
        metadata,
        Column("event_id", Uuid, primary_key=True),
        *columns,
        *others,
        _timestamp("occurred_at", nullable=False),
        Column("content_digest", Text, nullable=False),
        Column("fingerprint", Text),
        Column("partition", Integer, nullable=False),
        Column("event_offset", BigInteger, nullable=False),
        _timestamp("recorded_at", nullable=False, server_default=func.now()),
        sequence,
        Index(f"ix_{name}_{'_'.join(index)}", *index),
    )


def _numbers() -> Column[Any]:
    return Column("sequence", BigInteger, Identity(always=False), nullable=False)


recorded_customers = _recorded_table(
    far_trans.CUSTOMER_INFORMATION,
    "recorded_customers",
    # The numbers of user_interactions: a list is older than a change of its customer.
    sequence=Column(
        "sequence", BigInteger, server_default=text("nextval('user_interactions_sequence_seq')"), nullable=False
    ),
    index=("customer_id", "sequence"),
)
recorded_assets = _recorded_table(far_trans.ASSET_INFORMATION, "recorded_assets", sequence=_numbers(), index=("isin",))
recorded_close_prices = _recorded_table(
    far_trans.CLOSE_PRICES,
    "recorded_close_prices",
    Column("currency", Text),
    sequence=_numbers(),
    index=("isin", "priced_on", "sequence"),
)
# How many batches of each partition changed assets or prices. One worker owns a partition, so none waits for another.
reference_changes = SqlTable(
    "reference_changes",
    metadata,
    Column("topic", Text, primary_key=True),
    Column("partition", Integer, primary_key=True),
    Column("changes", BigInteger, nullable=False),
)

# What operators suspended or resumed, each event one row. The view `current_suspensions` (migration 0023) has those
# subjects whose last event suspends them; the reason is text for people.
recorded_suspensions = SqlTable(
    "recorded_suspensions",
    metadata,
    Column("event_id", Uuid, primary_key=True),
    Column("kind", Text, nullable=False),  # asset, category or model
    Column("subject", Text, nullable=False),  # isin, name of a category, version
    Column("suspended", Boolean, nullable=False),
    Column("reason", Text, nullable=False),
    _timestamp("occurred_at", nullable=False),
    Column("content_digest", Text, nullable=False),
    Column("fingerprint", Text),
    Column("partition", Integer, nullable=False),
    Column("event_offset", BigInteger, nullable=False),
    _timestamp("recorded_at", nullable=False, server_default=func.now()),
    _numbers(),
    Index("ix_recorded_suspensions_kind_subject_sequence", "kind", "subject", "sequence"),
)
# A number that changes with every batch of suspensions, never backwards.
SUSPENSIONS_VERSION = f"""
SELECT coalesce(sum(changes), 0)::bigint FROM reference_changes WHERE topic = '{SUSPENSIONS_CHANGED}'
"""

# What lists showed of an asset, each content once and never changed: the JSON of an item without what depends on the
# list. A decision names its rows by their ids, which their texts determine; they are never deleted.
shown_asset_versions = SqlTable(
    "shown_asset_versions",
    metadata,
    Column("asset_version_id", BigInteger, primary_key=True, autoincrement=False),
    Column("content", JSON, nullable=False),
)

# What `list`, a row of recommendations, shows: the decision that it names, `made`, has the list. An older worker writes
# the list beside the name of its decision.
LIST_DECISION = (
    "LEFT JOIN decisions AS made ON made.request_id = list.request_id AND made.requested_at = list.requested_at"
)
SHOWN_LIST = """
coalesce(made.model_version, list.model_version) AS model_version, coalesce(made.basis, list.basis) AS basis,
CASE WHEN made.request_id IS NULL THEN list.items ELSE made.items END AS items,
CASE WHEN made.request_id IS NULL THEN list.weights ELSE made.weights END AS weights,
made.asset_versions, made.contributions, coalesce(made.made_at, made.decided_at) AS made_at,
made.weight_collaborative, made.weight_content, made.weight_profitability
"""

# The newest list of each customer: a reference to the decision that it answers, which has the list (decision 43).
recommendations = SqlTable(
    "recommendations",
    metadata,
    Column("customer_id", Text, primary_key=True),
    # Of the decision. An older worker writes no `requested_at`, and the list itself into the columns with a default.
    Column("request_id", Uuid, nullable=False),
    _timestamp("requested_at"),
    Column("model_version", Text, nullable=False, server_default=text("''")),
    Column("basis", Text, nullable=False, server_default=text("''")),
    Column("weights", JSONB, nullable=False, server_default=text("'{}'")),
    Column("items", JSONB, nullable=False, server_default=text("'[]'")),
    # What the list knew: the customer's last interaction or order (0: none), and the reference data. NULL in old rows.
    Column("interaction_sequence", BigInteger),
    Column("reference_snapshot", Text),
    _timestamp("created_at", nullable=False),
)

# One row per request event, never changed: what was answered, from what, by which model. The list is in arrays, or in
# `weights` and `items`: in rows of older versions, and where a number does not fit. The view `decision_items`
# (migration 0019) reads both. Partitions are months of `requested_at` (worker/decision_months.py); fixed widths first.
decisions = SqlTable(
    "decisions",
    metadata,
    Column("request_id", Uuid, primary_key=True),
    Column("digest", Uuid),  # the first half of shared.events.content_digest
    _timestamp("requested_at", primary_key=True),  # the event's own time
    _timestamp("decided_at", nullable=False),
    _timestamp("made_at"),  # of a list that answers again: when it was made; NULL: at decided_at
    Column("event_offset", BigInteger, nullable=False),
    Column("weight_collaborative", Float),
    Column("weight_content", Float),
    Column("weight_profitability", Float),
    Column("partition", Integer, nullable=False),
    Column("k", Integer),  # how many assets were asked; NULL in rows of older versions
    Column("risk_level", Integer),  # NULL: not known to the bank
    # A preview is the answer of its request alone. Only it has the reference data here: a list has its own.
    Column("is_preview", Boolean, nullable=False, server_default="false"),
    Column("customer_id", Text, nullable=False),
    Column("action", Text, nullable=False),
    Column("answered_from", Text, nullable=False),  # 'scored' or 'stored'
    Column("model_version", Text, nullable=False),
    Column("basis", Text, nullable=False),
    Column("asset_versions", ARRAY(BigInteger)),  # rows of shown_asset_versions, best first
    # Of each asset those of collaborative, content and profitability, in millionths; NULL is unknown.
    Column("contributions", ARRAY(Integer)),
    Column("fingerprint", Text),
    Column("options", JSONB(none_as_null=True)),  # the fields of ListOptions that the request has; NULL for none
    Column("reference_snapshot", Text),
    Column("policy_digest", Text),  # the first characters of the digest of the suitability policy; NULL in older rows
    Column("content_digest", Text),  # what older versions wrote in place of `digest`
    Column("weights", JSONB(none_as_null=True)),
    Column("items", JSONB(none_as_null=True)),
    Column("explanation", JSONB(none_as_null=True)),  # where the request asks why: worker/explanations.py
    Index("ix_decisions_customer_id_decided_at", "customer_id", "decided_at"),
    postgresql_partition_by="RANGE (requested_at)",
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

# --- written by script/erase_customer.py ---
# Customers that must not come back: triggers (migration 0023) remove what anybody writes of them. The id itself is not
# kept. pseudonym: of the decisions that stay under a legal hold. published_at: of the event, NULL while it is not sent.
erased_customers = SqlTable(
    "erased_customers",
    metadata,
    Column("customer_digest", LargeBinary, primary_key=True),  # SHA-256 of the id
    Column("event_id", Uuid, nullable=False),
    Column("pseudonym", Text),
    _timestamp("erased_at", nullable=False, server_default=func.now()),
    _timestamp("published_at"),
    Column("number", BigInteger, Identity(always=False), nullable=False),  # grows with each erasure
    UniqueConstraint("number", name="erased_customers_number_key"),
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
