"""What the scripts print for people: coloured tables on a terminal, plain text when the output goes elsewhere."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import Any

from rich import box
from rich.console import Console
from rich.table import Table

from script.api_client import ServedList

_PLAIN_WIDTH = 180


def build_screen() -> Console:
    """Return a console for standard output; wide and without control characters when that is no terminal."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PLAIN_WIDTH, no_color=True, force_terminal=False)


def printable(text: str) -> str:
    """Return text in which nothing controls the terminal: what others wrote may hold anything at all."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def as_markup(text: str) -> str:
    """Return text for a table: nothing in it controls the terminal or is taken for the table's markup."""
    return printable(text).replace("[", "\\[")


def print_list(served: ServedList, *, title: str, screen: Console) -> None:
    """Print a list with the three contributions to each score."""
    screen.print(title, markup=False)
    table = _table(screen)
    for heading in ("isin", "name", "category", "sector"):
        table.add_column(heading, overflow="fold")
    for heading in ("price", "profitability", "score", "= collaborative", "+ content", "+ profitability"):
        table.add_column(heading, justify="right")
    for item in served.items:
        table.add_row(*_cells(item))
    screen.print(table)


def print_comparison(before: ServedList, after: ServedList, sector: str, *, screen: Console) -> None:
    """Print two lists side by side, names of `sector` marked with *, and the sector's share in each."""
    screen.print(f"Assets of sector {sector} are marked with *:", markup=False)
    table = _table(screen)
    for heading in ("before", "after"):
        table.add_column(heading, overflow="fold")
    longest = max(len(before.items), len(after.items))
    for position in range(longest):
        table.add_row(str(position + 1), *(_marked(served.items, position, sector) for served in (before, after)))
    screen.print(table)
    screen.print(
        f"{sector}: {before.share_of(sector):.0%} of the list before, {after.share_of(sector):.0%} after "
        f"(model {after.model_version}, not retrained in between)."
        if before.model_version == after.model_version
        else f"{sector}: {before.share_of(sector):.0%} of the list before (model {before.model_version}), "
        f"{after.share_of(sector):.0%} after (model {after.model_version})."
    )


def _table(screen: Console) -> Table:
    table = Table(box=box.SIMPLE if screen.is_terminal else box.ASCII2)
    table.add_column("rank", justify="right")
    return table


def _cells(item: dict[str, Any]) -> list[str]:
    components = item["components"]
    return [
        str(item["rank"]),
        item["isin"],
        item["assetname"],
        item["assetcategory"],
        item["sector"] or "-",
        _number(item["current_price"], 2),
        _number(item["profitability"], 4),
        *(_number(value, 3) for value in (item["score"], *(components[name] for name in _COMPONENTS))),
    ]


_COMPONENTS = ("collaborative", "content", "profitability")


def _number(value: float | None, digits: int) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _marked(items: Sequence[dict[str, Any]], position: int, sector: str) -> str:
    if position >= len(items):
        return ""
    item = items[position]
    return f"{'*' if item['sector'] == sector else ' '} {item['assetname']} ({item['isin']})"
