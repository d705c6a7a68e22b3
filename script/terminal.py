"""The command lines of the scripts, and what they print: tables on a terminal, plain text in a file or a pipe."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence

import typer
from rich import box
from rich.console import Console
from rich.table import Column, Table

_PLAIN_WIDTH = 180


def build_app(help_text: str | None) -> typer.Typer:
    """Return a command line with plain help pages and plain tracebacks."""
    return typer.Typer(help=help_text, add_completion=False, rich_markup_mode=None, pretty_exceptions_enable=False)


def run_app(app: typer.Typer, arguments: Sequence[str] | None, *, exit_codes: Mapping[type[Exception], int]) -> int:
    """Run a command and return its exit code, 2 for wrong usage; print an error that has an exit code."""
    try:
        app(arguments)
    except SystemExit as ended:
        return int(ended.code or 0)
    except tuple(exit_codes) as error:
        say(str(error))
        return next(code for kind, code in exit_codes.items() if isinstance(error, kind))
    return 0


def say(text: str) -> None:
    """Print to standard error; standard output is for results."""
    print(printable(text, keep="\n"), file=sys.stderr, flush=True)


def say_line(text: str) -> None:
    """Print one line to standard error; line ends in text from outside are escaped."""
    print(printable(text), file=sys.stderr)


def build_screen() -> Console:
    """Return a console for standard output; wide and without control characters when that is no terminal."""
    if sys.stdout.isatty():
        return Console(highlight=False)
    return Console(highlight=False, width=_PLAIN_WIDTH, no_color=True, force_terminal=False)


def build_ranking(screen: Console, *headings: str) -> Table:
    """Return a table whose first column is the rank, with lines that the console can show."""
    return Table(Column("rank", justify="right"), *headings, box=box.SIMPLE if screen.is_terminal else box.ASCII2)


def printable(text: str, *, keep: str = "") -> str:
    """Return the text with control characters escaped: text from outside must not control the terminal."""
    return "".join(char if char.isprintable() or char in keep else repr(char)[1:-1] for char in text)


def as_markup(text: str) -> str:
    """Return text for a table: control characters and the table's own markup are escaped."""
    return printable(text).replace("[", "\\[")
