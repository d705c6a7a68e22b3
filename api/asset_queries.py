"""The statements that read the catalogue and watchlists; `$1` or `$2` is the date of the active model."""

from __future__ import annotations

from shared.postgres import tables
from shared.postgres.tables import is_of
from shared.recommender.types import WATCH_TYPES

# The recursion goes from asset to asset along the index of WATCH_TYPES: one step for each asset that was ever watched,
# however many interactions the customer has. An asset that left the catalogue cannot be unwatched, and is not shown.
WATCHLIST = f"""
WITH RECURSIVE latest AS (
    (SELECT isin, interaction_type, occurred_at, sequence FROM user_interactions
     WHERE customer_id = $1 AND {is_of(WATCH_TYPES)}
     ORDER BY isin DESC, sequence DESC LIMIT 1)
    UNION ALL
    SELECT next.isin, next.interaction_type, next.occurred_at, next.sequence
    FROM latest
    CROSS JOIN LATERAL (
        SELECT isin, interaction_type, occurred_at, sequence FROM user_interactions
        WHERE customer_id = $1 AND isin < latest.isin AND {is_of(WATCH_TYPES)}
        ORDER BY isin DESC, sequence DESC LIMIT 1
    ) AS next
)
SELECT latest.isin, asset.assetname, asset.assetcategory, asset.sector, asset.industry, asset.current_price,
       least(greatest(latest.occurred_at, TIMESTAMPTZ '2000-01-01 00:00:00+00'),
             TIMESTAMPTZ '9000-01-01 00:00:00+00') AS added_at
FROM latest
CROSS JOIN LATERAL (SELECT * FROM shown_assets($2) AS shown WHERE shown.isin = latest.isin LIMIT 1) AS asset
WHERE latest.interaction_type = 'watchlist'
ORDER BY latest.sequence DESC
"""
# Migration 0018 defines what is shown of an asset.
_SHOWN_ASSETS = """
SELECT isin, assetname, assetcategory, asset_sub_category AS assetsubcategory, sector, industry, current_price,
       profitability, price_date, currency, trailing_return_12m
FROM shown_assets($1)
"""
ASSETS = f"{_SHOWN_ASSETS} ORDER BY isin LIMIT $2"
ASSET = f"{_SHOWN_ASSETS} WHERE isin = $2 LIMIT 1"
ACTIVE_AS_OF = (
    "SELECT watermark->>'as_of' AS as_of FROM model_versions WHERE active ORDER BY sequence DESC NULLS LAST LIMIT 1"
)
CATALOGUE_VERSION = f"SELECT concat(({tables.CATALOGUE_VERSION}), ' as of ' || ({ACTIVE_AS_OF}))"
