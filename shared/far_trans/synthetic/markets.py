"""The 38 markets of the published file (codes and hours are public facts), described in our own words."""

from __future__ import annotations

from dataclasses import dataclass

_EUROPEAN, _ATHENS, _GERMAN, _AMERICAN = "08:00-16:30", "08:15-15:20", "07:00-21:00", "14:30-21:00"

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


@dataclass(frozen=True)
class Market:
    """One row of markets.csv."""

    exchange_id: str
    market_id: str
    name: str
    country: str
    trading_hours: str

    def as_row(self) -> tuple[str, ...]:
        """Return the fields in the order of the published file."""
        place = f"in {self.country}" if self.country != "-" else "outside the exchanges"
        hours = f", open {self.trading_hours} GMT" if self.trading_hours else ""
        description = f"{self.name}, a place of trade {place}{hours}. Part of an invented data set."
        days = "Mon,Tue,Wed,Thu,Fri"
        identity = (self.exchange_id, self.market_id, self.name)
        return (*identity, description, self.country, days, self.trading_hours, "Public Securities")


MARKETS = tuple(Market(*fields) for fields in _MARKETS)
