"""The keys of a recommended asset in their order: those of the public contract, then later ones."""

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
# Lists of earlier versions are answered without these.
LATER_KEYS = ["price_date", "currency", "trailing_return_12m"]
