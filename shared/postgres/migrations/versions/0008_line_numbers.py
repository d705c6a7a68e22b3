"""Name the line of the CSV file in `line_number`, and the latest rows in views `latest_...`"""

from __future__ import annotations

from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None

# view: table, key, date. The latest row has the largest date; of several with that date, the largest line number.
_VIEWS = {
    "latest_customers": ("customer_information", "customer_id", "recorded_on"),
    "latest_assets": ("asset_information", "isin", "recorded_on"),
    "latest_limit_prices": ("limit_prices", "isin", "max_date"),
    "latest_close_prices": ("close_prices", "isin", "priced_on"),
}
# Rows that are inserted without a line number (by older code, by hand) get a larger one than any line of a file.
_FIRST_DEFAULT = 10**12


def upgrade() -> None:
    # The views of migration 0004 follow the renamed column, so older code reads the same rows as before. Existing rows
    # keep their numbers, which have the order of the file; the next load replaces them by line numbers.
    for view, (table, key, day) in _VIEWS.items():
        op.alter_column(table, "sequence", new_column_name="line_number")
        op.execute(f"ALTER TABLE {table} ALTER COLUMN line_number RESTART WITH {_FIRST_DEFAULT}")
        op.execute(
            f"CREATE VIEW {view} AS "
            f"SELECT DISTINCT ON ({key}) * FROM {table} ORDER BY {key}, {day} DESC, line_number DESC"
        )


def downgrade() -> None:
    for view, (table, _, _) in _VIEWS.items():
        op.execute(f"DROP VIEW {view}")
        op.alter_column(table, "line_number", new_column_name="sequence")
