"""The kinds of assets that the invented market has, in the proportions of the published one."""

from __future__ import annotations

CATEGORIES = {"Stock": 282.0, "Bond": 209.0, "MTF": 315.0}
TRADED_CATEGORIES = {"Stock": 200.0, "Bond": 41.0, "MTF": 80.0}

STOCK_SECTORS = {
    "Industrials": 44.0,
    "Consumer Cyclical": 41.0,
    "Technology": 30.0,
    "Financial Services": 26.0,
    "Basic Materials": 19.0,
    "Consumer Defensive": 18.0,
    "Communication Services": 13.0,
    "Healthcare": 12.0,
    "Real Estate": 12.0,
    "Energy": 10.0,
    "Utilities": 7.0,
    "": 50.0,
}
# A demo clicks on a dozen Technology assets, so even a small market has them.
STOCK_SECTOR_FLOORS = {sector: 3 for sector in STOCK_SECTORS if sector} | {"Technology": 14, "Financial Services": 5}

INDUSTRIES = {
    "Industrials": ("Marine Shipping", "Engineering & Construction", "Metal Fabrication", "Airlines"),
    "Consumer Cyclical": ("Textile Manufacturing", "Auto Manufacturers", "Specialty Retail", "Lodging"),
    "Technology": ("Software - Application", "Communication Equipment", "Semiconductors", "IT Services"),
    "Financial Services": ("Banks - Regional", "Asset Management", "Insurance - Diversified"),
    "Basic Materials": ("Steel", "Building Materials", "Specialty Chemicals"),
    "Consumer Defensive": ("Packaged Foods", "Household & Personal Products", "Grocery Stores"),
    "Communication Services": ("Telecom Services", "Entertainment", "Publishing"),
    "Healthcare": ("Drug Manufacturers - General", "Biotechnology", "Medical Care Facilities"),
    "Real Estate": ("REIT - Diversified", "Real Estate - Development", "Real Estate Services"),
    "Energy": ("Oil & Gas Integrated", "Oil & Gas Refining & Marketing"),
    "Utilities": ("Utilities - Renewable", "Utilities - Regulated Water"),
    "Corporate": ("Banks", "Power", "Oil and Gas Extraction and Refining", "IT equipment"),
}

BOND_KINDS = {"Government": 52.0, "Corporate": 157.0}
FUND_KINDS = {"Money Market": 19.0, "Bond": 108.0, "Balanced": 8.0, "Equity": 107.0, "Other": 73.0}
FUND_KIND_FLOORS = {"Money Market": 4, "Bond": 4, "Balanced": 2, "Equity": 4}

# market: weight, as in the published catalogue.
STOCK_MARKETS = {"XATH": 194.0, "XNYS": 33.0, "ENAX": 16.0, "XETR": 9.0, "XPAR": 7.0, "ALXP": 6.0, "XNGS": 5.0}
BOND_MARKETS = {"EBB": 14.0, "XATH": 19.0, "XETR": 36.0, "XNYS": 30.0, "XLUX": 24.0, "XBER": 12.0, "HDAT": 11.0}
FUND_MARKETS = {"AEDAK": 18.0, "XLUX": 125.0, "CCLX": 68.0, "XETR": 36.0, "XLON": 26.0, "XNYS": 26.0}
ISIN_PREFIXES = {"XATH": "GRS", "ENAX": "CY", "EBB": "GRC", "HDAT": "GR", "AEDAK": "GRF", "XNYS": "US", "XNGS": "US"}
ISIN_PREFIXES |= {"XETR": "DE", "XBER": "DE", "XPAR": "FR", "ALXP": "FR", "XLUX": "LU", "CCLX": "LU", "XLON": "IE"}

HOME_MARKETS = {"XATH", "AEDAK", "EBB"}

# The sectors of the dozen stocks that everybody buys.
FAVOURITES = (
    "Financial Services",
    "Utilities",
    "Financial Services",
    "Energy",
    "Industrials",
    "Technology",
    "Financial Services",
    "Consumer Cyclical",
    "Communication Services",
    "Industrials",
    "Financial Services",
    "Basic Materials",
)


def get_asset_level(category: str, sub_category: str) -> int:
    """Return the risk level of an asset, 1 to 3, as customers in the invented market see it."""
    if (category, sub_category) in {("Bond", "Government"), ("MTF", "Money Market")}:
        return 1
    if category == "Bond" or sub_category in {"Bond", "Balanced"}:
        return 2
    return 3
