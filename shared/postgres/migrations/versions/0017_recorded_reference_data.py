"""Close prices, assets and customers that arrive as events, beside the loaded files in the views"""

from __future__ import annotations

from collections.abc import Sequence

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None

_CUSTOMER = ("customer_id", "customer_type", "risk_level", "investment_capacity", "last_questionnaire_date")
_ASSET = (
    *("isin", "asset_name", "asset_short_name", "asset_category", "asset_sub_category", "market_id", "sector"),
    "industry",
)
# view: loaded table, table of events, key, date, other columns of both in the order of the view of migration 0008.
_VIEWS: dict[str, tuple[str, str, str, str, tuple[str, ...]]] = {
    "latest_customers": ("customer_information", "recorded_customers", "customer_id", "recorded_on", _CUSTOMER),
    "latest_assets": ("asset_information", "recorded_assets", "isin", "recorded_on", _ASSET),
}
_PRICES = "SELECT isin, priced_on, close_price, line_number, 'file' AS origin, NULL::text AS currency, NULL::bigint"


def upgrade() -> None:
    _create_tables()
    for view, (table, recorded, key, day, names) in _VIEWS.items():
        columns = ", ".join((*names, day))
        # The largest date, whatever its origin. On one date an event is later than every row of a file, the last
        # event of the log is the latest, and of rows of a file the last line.
        op.execute(
            f"CREATE OR REPLACE VIEW {view} AS "
            f"SELECT DISTINCT ON ({key}) {columns}, line_number, origin, sequence FROM ("
            f"SELECT {columns}, line_number, 'file' AS origin, NULL::bigint AS sequence FROM {table} "
            f"UNION ALL SELECT {columns}, NULL, 'event', sequence FROM {recorded}) AS every "
            f"ORDER BY {key}, {day} DESC, sequence DESC NULLS LAST, line_number DESC"
        )
    # Each source has an index (isin, priced_on, ...), which the planner merges. An event replaces a loaded price of its
    # day, whichever came first: a load that has an older price of a day does not undo a correction.
    # The view daily_close_prices has loaded prices only; older trainers read it.
    for create, day in {"OR REPLACE VIEW latest_close_prices": "", "VIEW all_close_prices": ", priced_on"}.items():
        descending = "" if day else " DESC"
        op.execute(
            f"CREATE {create} AS "
            f"SELECT DISTINCT ON (isin{day}) isin, priced_on, close_price, line_number, origin, currency, sequence "
            f"FROM ({_PRICES} AS sequence FROM close_prices UNION ALL "
            "SELECT isin, priced_on, close_price, NULL, 'event', currency, sequence FROM recorded_close_prices) "
            f"AS every ORDER BY isin, priced_on{descending}, sequence DESC NULLS LAST, line_number DESC"
        )


def downgrade() -> None:
    views = {view: (table, key, f"{day} DESC") for view, (table, _, key, day, _) in _VIEWS.items()}
    views["latest_close_prices"] = ("close_prices", "isin", "priced_on DESC")
    op.execute("DROP VIEW all_close_prices")
    for view, (table, key, day) in views.items():
        op.execute(f"DROP VIEW {view}")
        op.execute(
            f"CREATE VIEW {view} AS SELECT DISTINCT ON ({key}) * FROM {table} ORDER BY {key}, {day}, line_number DESC"
        )
    for name in ("reference_changes", "recorded_customers", "recorded_assets", "recorded_close_prices"):
        op.drop_table(name)


def _create_tables() -> None:
    texts = [sa.Column(name, sa.Text(), nullable=True) for name in (*_CUSTOMER[1:4], *_ASSET[1:3], *_ASSET[4:])]
    columns = {column.name: column for column in texts}
    # The numbers of user_interactions: one order of everything that concerns a customer's list.
    customer_sequence = sa.Column(
        "sequence",
        sa.BigInteger(),
        server_default=sa.text("nextval('user_interactions_sequence_seq')"),
        nullable=False,
    )
    op.create_table(
        "recorded_customers",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.Column("customer_id", sa.Text(), nullable=False),
        *(columns[name] for name in _CUSTOMER[1:4]),
        sa.Column("last_questionnaire_date", sa.Date(), nullable=True),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        *_event_columns(),
        customer_sequence,
    )
    op.create_table(
        "recorded_assets",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.Column("isin", sa.Text(), nullable=False),
        *(columns[name] for name in _ASSET[1:3]),
        sa.Column("asset_category", sa.Text(), nullable=False),
        *(columns[name] for name in _ASSET[4:]),
        sa.Column("recorded_on", sa.Date(), nullable=False),
        *_event_columns(),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False),
    )
    op.create_table(
        "recorded_close_prices",
        sa.Column("event_id", sa.Uuid(), primary_key=True),
        sa.Column("isin", sa.Text(), nullable=False),
        sa.Column("priced_on", sa.Date(), nullable=False),
        sa.Column("close_price", sa.Float(), nullable=False),
        sa.Column("currency", sa.Text(), nullable=True),
        *_event_columns(),
        sa.Column("sequence", sa.BigInteger(), sa.Identity(always=False), nullable=False),
    )
    op.create_table(
        "reference_changes",
        sa.Column("topic", sa.Text(), primary_key=True),
        sa.Column("partition", sa.Integer(), primary_key=True),
        sa.Column("changes", sa.BigInteger(), nullable=False),
    )
    _create_index("recorded_customers", "customer_id", "sequence")
    _create_index("recorded_assets", "isin")
    _create_index("recorded_close_prices", "isin", "priced_on", "sequence")


def _create_index(table: str, *columns: str) -> None:
    op.create_index(f"ix_{table}_{'_'.join(columns)}", table, list(columns))


def _event_columns() -> Sequence[sa.Column[object]]:
    return (
        sa.Column("occurred_at", sa.DateTime(timezone=True), nullable=False),
        sa.Column("content_digest", sa.Text(), nullable=False),
        sa.Column("fingerprint", sa.Text(), nullable=True),
        sa.Column("partition", sa.Integer(), nullable=False),
        sa.Column("event_offset", sa.BigInteger(), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), server_default=sa.func.now(), nullable=False),
    )
