"""What the invented market consists of: markets, kinds of assets, sectors and names.

Codes and trading hours of the 38 markets are public facts. All names of companies and securities are invented.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from shared.far_trans.synthetic.sizes import Rng

_EUROPEAN, _ATHENS, _GERMAN, _AMERICAN = "08:00-16:30", "08:15-15:20", "07:00-21:00", "14:30-21:00"
# Exchange, market, name, country, trading hours.
_MARKETS = (
    ("AEDAK", "AEDAK", "Greek Mutual Funds", "Greece", _ATHENS),
    ("XAMS", "ALXA", "Growth Market Amsterdam", "Netherlands", _EUROPEAN),
    ("XBRU", "ALXB", "Growth Market Brussels", "Belgium", _EUROPEAN),
    ("XPAR", "ALXP", "Growth Market Paris", "France", _EUROPEAN),
    ("XLUX", "CCLX", "Luxembourg Fund Centre", "Luxembourg", _EUROPEAN),
    ("ATHEX", "ENAX", "Athens Alternative Market", "Greece", _ATHENS),
    ("XLIS", "ENXL", "Access Market Lisbon", "Portugal", _EUROPEAN),
    ("HDAT", "HDAT", "Athens Electronic Debt Market", "Greece", _ATHENS),
    ("MTAA", "MTAA", "Milan Stock Market", "Italy", _EUROPEAN),
    ("OOTC", "OOTC", "Over the Counter", "-", ""),
    ("XMTS", "PORT", "Lisbon Debt Market", "Portugal", _EUROPEAN),
    ("XAMS", "XAMS", "Amsterdam Main Market", "Netherlands", _EUROPEAN),
    ("XDUB", "XASM", "Dublin Professional Market", "Ireland", _EUROPEAN),
    ("XASX", "XASX", "Sydney All Markets", "Australia", "00:00-06:00"),
    ("ATHEX", "XATH", "Athens Main Market", "Greece", _ATHENS),
    ("BMEX", "XBAR", "Barcelona Market", "Spain", _EUROPEAN),
    ("XBER", "XBER", "Berlin Market", "Germany", _GERMAN),
    ("XCIE", "XCIE", "Channel Islands Market", "United Kingdom", "09:00-16:30"),
    ("XCYS", "XCYS", "Nicosia Market", "Cyprus", "08:30-15:00"),
    ("XDUB", "XDUB", "Dublin Main Market", "Ireland", _EUROPEAN),
    ("XETR", "XETR", "Frankfurt Electronic Market", "Germany", _GERMAN),
    ("XHEL", "XHEL", "Helsinki Market", "Finland", "08:00-16:00"),
    ("XHKG", "XHKG", "Hong Kong Market", "China", "02:30-09:30"),
    ("XLON", "XLON", "London Market", "United Kingdom", _EUROPEAN),
    ("XLUX", "XLUX", "Luxembourg Main Market", "Luxembourg", "07:00-15:30"),
    ("BMEX", "XMAD", "Madrid Market", "Spain", _EUROPEAN),
    ("XMOD", "XMOD", "Montreal Market", "Canada", "07:00-21:30"),
    ("XMUN", "XMUN", "Munich Market", "Germany", _GERMAN),
    ("XNAS", "XNAS", "New York Electronic Market", "USA", _AMERICAN),
    ("XNEC", "XNEC", "Newcastle Market", "Australia", "00:00-06:00"),
    ("XNAS", "XNGS", "New York Electronic Market, select tier", "USA", _AMERICAN),
    ("XNAS", "XNMS", "New York Electronic Market, global tier", "USA", _AMERICAN),
    ("XNYS", "XNYS", "New York Main Market", "USA", _AMERICAN),
    ("XOSL", "XOSL", "Oslo Market", "Norway", "08:00-15:20"),
    ("XPAR", "XPAR", "Paris Main Market", "France", _EUROPEAN),
    ("XSTU", "XSTU", "Stuttgart Market", "Germany", _GERMAN),
    ("XSWX", "XSWX", "Zurich Market", "Switzerland", _EUROPEAN),
    ("ATHEX", "EBB", "Athens Book Building", "Greece", _ATHENS),
)

# Weights are counts of the published catalogue.
CATEGORIES = {"Stock": 282, "Bond": 209, "MTF": 315}
TRADED_CATEGORIES = {"Stock": 200, "Bond": 41, "MTF": 80}
BOND_KINDS = {"Government": 52, "Corporate": 157}
FUND_KINDS = {"Money Market": 19, "Bond": 108, "Balanced": 8, "Equity": 107, "Other": 73}
FUND_KIND_FLOORS = {"Money Market": 4, "Bond": 4, "Balanced": 2, "Equity": 4}
MARKETS_OF_CATEGORY = {
    "Stock": {"XATH": 194, "XNYS": 33, "ENAX": 16, "XETR": 9, "XPAR": 7, "ALXP": 6, "XNGS": 5},
    "Bond": {"EBB": 14, "XATH": 19, "XETR": 36, "XNYS": 30, "XLUX": 24, "XBER": 12, "HDAT": 11},
    "MTF": {"AEDAK": 18, "XLUX": 125, "CCLX": 68, "XETR": 36, "XLON": 26, "XNYS": 26},
}
HOME_MARKETS = {"XATH", "AEDAK", "EBB"}
ISIN_PREFIXES = {"XATH": "GRS", "ENAX": "CY", "EBB": "GRC", "HDAT": "GR", "AEDAK": "GRF", "XNYS": "US", "XNGS": "US"}
ISIN_PREFIXES |= {"XETR": "DE", "XBER": "DE", "XPAR": "FR", "ALXP": "FR", "XLUX": "LU", "CCLX": "LU", "XLON": "IE"}


class Sector(NamedTuple):
    """Its published stocks, the share of customers who prefer it, how much more daring customers do, its industries."""

    stocks: int
    preference: float
    daring: float
    industries: tuple[str, ...]


SECTORS = {
    "Financial Services": Sector(26, 0.2, 0.0, ("Banks - Regional", "Asset Management", "Insurance - Diversified")),
    "Utilities": Sector(7, 0.12, -0.9, ("Utilities - Renewable", "Utilities - Regulated Water")),
    "Energy": Sector(10, 0.11, 0.2, ("Oil & Gas Integrated", "Oil & Gas Refining & Marketing")),
    "Industrials": Sector(
        44, 0.12, 0.3, ("Marine Shipping", "Engineering & Construction", "Metal Fabrication", "Airlines")
    ),
    "Technology": Sector(
        30, 0.1, 1.0, ("Software - Application", "Communication Equipment", "Semiconductors", "IT Services")
    ),
    "Consumer Cyclical": Sector(
        41, 0.08, 0.6, ("Textile Manufacturing", "Auto Manufacturers", "Specialty Retail", "Lodging")
    ),
    "Communication Services": Sector(13, 0.08, -0.4, ("Telecom Services", "Entertainment", "Publishing")),
    "Basic Materials": Sector(19, 0.06, 0.5, ("Steel", "Building Materials", "Specialty Chemicals")),
    "Consumer Defensive": Sector(18, 0.05, -1.0, ("Packaged Foods", "Household & Personal Products", "Grocery Stores")),
    "Healthcare": Sector(12, 0.04, 0.2, ("Drug Manufacturers - General", "Biotechnology", "Medical Care Facilities")),
    "Real Estate": Sector(12, 0.04, -0.3, ("REIT - Diversified", "Real Estate - Development", "Real Estate Services")),
}
SECTOR_NAMES = list(SECTORS)
INDUSTRIES = {name: sector.industries for name, sector in SECTORS.items()}
INDUSTRIES["Corporate"] = ("Banks", "Power", "Oil and Gas Extraction and Refining", "IT equipment")
# The sectors of stocks, the largest one first; the last ones have no sector.
STOCK_SECTORS = {name: SECTORS[name].stocks for name in sorted(SECTORS, key=lambda name: -SECTORS[name].stocks)}
STOCK_SECTORS |= {"": 50}
# The demo clicks on a dozen Technology assets, so a small market has them too.
STOCK_SECTOR_FLOORS = dict.fromkeys(SECTORS, 3) | {"Technology": 14, "Financial Services": 5}
# The sectors of the dozen stocks that are bought most, in order.
FAVOURITES = ["Financial Services", "Utilities", "Financial Services", "Energy", "Industrials", "Technology"]
FAVOURITES += ["Financial Services", "Consumer Cyclical", "Communication Services", "Industrials"]
FAVOURITES += ["Financial Services", "Basic Materials"]

_STARTS = ["Vel", "Kor", "Zan", "Thal", "Mer", "Pyr", "Ost", "Lun", "Dra", "Kel", "Sil", "Tor", "Bran"]
_STARTS += ["Nim", "Fal", "Gor", "Hest", "Ild", "Jor", "Quen", "Ryl", "Sark", "Trev", "Ulm", "Vond"]
_STARTS += ["Wex", "Yar", "Zeph", "Arv", "Bel", "Cald", "Dorn", "Eryn", "Fenn", "Galt", "Harv"]
_MIDDLES = ["an", "ar", "el", "en", "il", "in", "or", "ol", "un", "ur", "es", "is", "av", "ev", "om", "ad", "eth"]
_ENDS = ["tis", "dor", "nix", "lia", "ra", "mon", "ta", "rex", "via", "dis", "na", "ros", "phos", "gon", "tera"]
_GREEK = str.maketrans("ABCDEFGHIJKLMNOPQRSTUVWXYZ", "ΑΒΨΔΕΦΓΗΙΞΚΛΜΝΟΠΚΡΣΤΘΩΒΧΥΖ")


def build_market_rows() -> Iterator[tuple[str, ...]]:
    """Yield the rows of markets.csv."""
    for exchange_id, market_id, name, country, hours in _MARKETS:
        place = f"in {country}" if country != "-" else "outside the exchanges"
        opening = f", open {hours} GMT" if hours else ""
        description = f"{name}, a place of trade {place}{opening}. Part of an invented data set."
        about = (name, description, country)
        yield (exchange_id, market_id, *about, "Mon,Tue,Wed,Thu,Fri", hours, "Public Securities")


def build_company_names(count: int, *, rng: Rng) -> list[str]:
    """Return that many different one-word names."""
    names: dict[str, None] = {}
    while len(names) < count:
        name = "".join(words[rng.integers(len(words))] for words in (_STARTS, _MIDDLES, _ENDS))
        if name in names:
            name += _MIDDLES[rng.integers(len(_MIDDLES))]
        names[name] = None
    return list(names)


def build_short_name(name: str, market_id: str) -> str:
    """Return a ticker: five Greek capitals on the Athens market, else six Latin ones."""
    return name.upper()[:5].translate(_GREEK) if market_id == "XATH" else name.upper()[:6]


def build_isin(prefix: str, number: int) -> str:
    """Return 12 characters: prefix, number, and the check digit of ISO 6166."""
    body = prefix + str(number).zfill(11 - len(prefix))
    return body + str(compute_check_digit(body))


def compute_check_digit(body: str) -> int:
    """Return the Luhn digit of the body with letters written as 10 to 35 (ISO 6166)."""
    digits = [int(digit) for character in body for digit in str(int(character, 36))]
    doubled = [digit * 2 if place % 2 == 0 else digit for place, digit in enumerate(reversed(digits))]
    return -sum(digit // 10 + digit % 10 for digit in doubled) % 10
