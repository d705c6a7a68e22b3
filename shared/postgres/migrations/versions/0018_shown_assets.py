"""What lists and the catalogue show of an asset: the latest known price with its date, and the trailing return"""

from __future__ import annotations

from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None

# The one definition, for worker and gateway (decision 35). A function in SQL is inlined like a view; its text is read
# when it is used, so that later migrations may replace the views.
# Prices beyond the loader's bounds (row_checks.py) are no prices: quotients of them overflow. A date before 1990 or
# after tomorrow is a mistake: such a price is shown last, and without a date. Of prices of the same day the close
# price counts. LIMIT lets the planner look up one asset at a time.
_SHOWN_ASSETS = """
CREATE FUNCTION shown_assets(as_of date)
RETURNS TABLE (
    isin text, assetname text, assetcategory text, asset_sub_category text, sector text, industry text,
    current_price double precision, profitability double precision, price_date date, currency text,
    trailing_return_12m double precision
)
LANGUAGE sql STABLE
AS $function$
SELECT asset.isin, coalesce(asset.asset_name, asset.asset_short_name, asset.isin), asset.asset_category,
       asset.asset_sub_category, asset.sector, asset.industry,
       price.price, limits.profitability, price.priced_on, price.currency,
       newest.close_price / earlier.close_price - 1
FROM latest_assets AS asset
LEFT JOIN latest_limit_prices AS limits ON limits.isin = asset.isin
LEFT JOIN LATERAL (
    SELECT close_price, priced_on, currency FROM latest_close_prices WHERE isin = asset.isin LIMIT 1
) AS close ON true
LEFT JOIN LATERAL (
    SELECT known.price, known.currency,
           CASE WHEN known.day BETWEEN DATE '1990-01-01' AND current_date + 1 THEN known.day END AS priced_on
    FROM (VALUES (close.close_price, close.priced_on, close.currency, 1),
                 (limits.price_max_date, limits.max_date, NULL, 2),
                 (limits.price_min_date, limits.min_date, NULL, 3)) AS known(price, day, currency, place)
    WHERE known.price BETWEEN 1e-9 AND 1e12
    ORDER BY priced_on DESC NULLS LAST, known.place LIMIT 1
) AS price ON true
LEFT JOIN LATERAL (
    SELECT close_price, (priced_on - INTERVAL '12 months')::date AS year_before
    FROM all_close_prices
    WHERE isin = asset.isin AND priced_on BETWEEN $1 - 30 AND $1 AND close_price BETWEEN 1e-9 AND 1e12
    ORDER BY priced_on DESC LIMIT 1
) AS newest ON true
LEFT JOIN LATERAL (
    SELECT close_price
    FROM all_close_prices
    WHERE isin = asset.isin AND priced_on BETWEEN newest.year_before - 30 AND newest.year_before
          AND close_price BETWEEN 1e-9 AND 1e12
    ORDER BY priced_on DESC LIMIT 1
) AS earlier ON true
$function$
"""


def upgrade() -> None:
    op.execute(_SHOWN_ASSETS)


def downgrade() -> None:
    op.execute("DROP FUNCTION shown_assets(date)")
