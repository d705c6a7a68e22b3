"""The command lines of the scripts, and what they print: tables on a terminal, plain text in a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from datetime import datetime

import typer
from pydantic import ValidationError
from rich import box
from rich.console import Console
from rich.table import Column, Table

from shared.settings import DatabaseSettings, setting_problems

WRONG_USAGE = 2
_PLAIN_WIDTH = 180


def build_app(help_text: str | None) -> typer.Typer:
    """Return a command line with plain help pages and plain tracebacks."""
    return typer.Typer(help=help_text, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def run_app(
    app: typer.Typer, arguments: Sequence[str] | None = None, *, exit_codes: Mapping[type[Exception], int]
) -> int:
    """Run a command and return its exit code, 2 for wrong usage; print an error that has an exit code."""
    try:
        app(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    except tuple(exit_codes) as error:
        say(str(error))
        return next(code for kind, code in exit_codes.items() if isinstance(error, kind))
    return 0


def read_settings() -> DatabaseSettings:
    """Return the settings of the environment; names those that are missing or wrong, and exits with 2."""
    try:
        return DatabaseSettings()
    except ValidationError as error:
        say("\n".join(setting_problems(error)))
        raise typer.Exit(WRONG_USAGE) from error


def say(text: str, *, keep: str = "\n") -> None:
    """Print to standard error; standard output is for results. Control characters are escaped, except those to keep."""
    print(printable(text, keep=keep), file=sys.stderr, flush=True)


def build_screen() -> Console:
    """Return a console for standard output; wide and without control characters when that is no terminal."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PLAIN_WIDTH, no_color=True, force_terminal=False)


def build_ranking(screen: Console, *headings: str) -> Table:
    """Return a table whose first column is the rank, with lines that the console can show."""
    return Table(Column("rank", justify="right"), *headings, box=box.SIMPLE if screen.is_terminal else box.ASCII2)


def add_row(table: Table, *values: object) -> None:
    """Add a row of escaped texts: bytes as text, times to the second, nothing for None."""
    table.add_row(*(as_markup(_cell(value)) for value in values))


def _cell(value: object) -> str:
    if isinstance(value, datetime):
        return f"{value:%Y-%m-%d %H:%M:%S}"
    return readable(value) if isinstance(value, bytes) else "" if value is None else str(value)


def readable(content: bytes) -> str:
    """Return bytes as text that hides nothing: what is no UTF-8 as escapes."""
    return content.decode(errors="backslashreplace")


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with control characters escaped: text from outside must not control the terminal."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def as_markup(text: str) -> str:
    """Return text for a table: control characters and the table's own markup are escaped."""
    return printable(text).replace("[", "\\[")
