"""Whether checked files may replace what is loaded now: rejects, shrinking and empty tables, each with its limit."""

from __future__ import annotations

import argparse
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from shared.errors import LoadRefused
from shared.far_trans.clean_rows import Reject
from shared.far_trans.schema import TABLES

DEFAULT_MAX_REJECTS = 0.01
_ROUNDING = 1e-6  # rows; 29 of 100 is not more than 0.29


@dataclass(frozen=True)
class CheckedFile:
    """What a load would make of one file; `first_reject` is None where every row is valid.

    `first_other_format` is the first rejected row that is written in another format than the published one.
    """

    file_name: str
    table: str
    row_count: int
    rejected_count: int = 0
    first_reject: Reject | None = None
    first_other_format: Reject | None = None


@dataclass(frozen=True)
class LoadLimits:
    """What a load accepts.

    max_rejects: share of the rows of a file that may be rejected, in [0, 1]. A share above the default also lets rows
    of another format be rejected one by one. max_shrink: share of its rows that a table may lose, in [0, 1].
    allow_empty: tables that may lose all their rows.
    """

    max_rejects: float
    max_shrink: float
    allow_empty: frozenset[str] = frozenset()


def check_limits(files: Sequence[CheckedFile], *, row_counts: Mapping[str, int], limits: LoadLimits) -> None:
    """Raise LoadRefused with every reason and the options that accept them; `row_counts` are those of the tables now.

    The limits count rows, however few there are: one rejected row of ten is 10 %. A table without rows cannot shrink.
    """
    reasons = []
    for file in files:
        reasons += [_find_other_format(file, limits), _find_too_many_rejects(file, limits)]
        reasons += [_find_shrunken(file, row_counts.get(file.table, 0), limits)]
    if found := [reason for reason in reasons if reason]:
        raise LoadRefused("\n".join(found))


def _find_too_many_rejects(file: CheckedFile, limits: LoadLimits) -> str | None:
    total, reject = file.row_count + file.rejected_count, file.first_reject
    if reject is None or file.rejected_count <= limits.max_rejects * total + _ROUNDING:
        return None
    share = _percent(file.rejected_count / total)
    return (
        f"{file.file_name}: {file.rejected_count:,} of {total:,} rows are rejected ({share}; the limit is "
        f"{100 * limits.max_rejects:.4g}%). The first one is line {reject.line_number:,}: {reject.reason}. "
        f"To load the other rows: --max-rejects {share}"
    )


def _find_other_format(file: CheckedFile, limits: LoadLimits) -> str | None:
    reject = file.first_other_format
    if reject is None or limits.max_rejects > DEFAULT_MAX_REJECTS:
        return None
    share = max(file.rejected_count / (file.row_count + file.rejected_count), 2 * DEFAULT_MAX_REJECTS)
    return (
        f"{file.file_name}: line {reject.line_number:,} has {reject.other_format}, so the whole file may be of another "
        f"format ({reject.reason}). To reject such rows and load the others: --max-rejects {_percent(share)}"
    )


def _find_shrunken(file: CheckedFile, rows_now: int, limits: LoadLimits) -> str | None:
    table, lost = f"{file.file_name}: table {file.table}", rows_now - file.row_count
    if rows_now and not file.row_count:
        if file.table in limits.allow_empty:
            return None
        option = f"--allow-empty {file.table}"
        return f"{table} would become empty; it has {rows_now:,} rows now. To accept that: {option}"
    if lost <= limits.max_shrink * rows_now + _ROUNDING:
        return None
    share = _percent(1 - file.row_count / rows_now)
    return (
        f"{table} would shrink from {rows_now:,} to {file.row_count:,} rows ({share} fewer; the limit is "
        f"{100 * limits.max_shrink:.4g}%). To accept that: --max-shrink {share}"
    )


def _percent(share: float) -> str:
    """Return a percentage of at most one decimal that is not below the share."""
    return f"{math.ceil(round(share * 1000, 6)) / 10:g}%"


def parse_share(text: str) -> float:
    """Return the share that a text like 5% or 0.05 stands for, in [0, 1]; raises ArgumentTypeError."""
    number = text.removesuffix("%")
    try:
        share = float(number) / (100 if number != text else 1)
    except ValueError:
        share = math.nan
    if not 0 <= share <= 1:
        raise argparse.ArgumentTypeError(f"{text!r} is no share: write 5% or 0.05")
    return share


def add_limit_options(parser: argparse.ArgumentParser) -> None:
    """Add --max-rejects, --max-shrink and --allow-empty; `limits_of` and `limit_arguments` read them."""
    group = parser.add_argument_group("limits of a load; beyond them nothing is touched (exit code 2)")
    shares = {
        "--max-rejects": ("1%", "share of the rows of a file that may be rejected, 5%% or 0.05"),
        "--max-shrink": ("20%", "share of its rows that a table may lose"),
    }
    for name, (default, meaning) in shares.items():
        text = f"{meaning} (default: %(default)s)"
        group.add_argument(name, type=parse_share, default=default, metavar="SHARE", help=text)
    group.add_argument(
        "--allow-empty",
        action="append",
        default=[],
        choices=[schema.table for schema in TABLES],
        metavar="TABLE",
        help="a table that may lose all its rows; may be repeated",
    )


def limits_of(options: argparse.Namespace) -> LoadLimits:
    """Return the limits that these options stand for."""
    return LoadLimits(options.max_rejects, options.max_shrink, frozenset(options.allow_empty))


def limit_arguments(options: argparse.Namespace) -> list[str]:
    """Return these options as arguments for another command that has them."""
    arguments = ["--max-rejects", f"{options.max_rejects!r}", "--max-shrink", f"{options.max_shrink!r}"]
    return arguments + [word for table in options.allow_empty for word in ("--allow-empty", table)]
