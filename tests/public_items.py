"""The keys of a recommended asset, in the order of the public contract."""

ITEM_KEYS = [
    "isin",
    "assetname",
    "assetcategory",
    "sector",
    "industry",
    "current_price",
    "profitability",
    "recommendation_date",
    "score",
    "rank",
    "components",
]
