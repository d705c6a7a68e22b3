"""The kinds of files that exports give: variations that are accepted, and kinds that are refused by name."""

from __future__ import annotations

import csv
import gzip
import io
import random
import re
import tracemalloc
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from hypothesis import strategies as st

from shared.far_trans.schema import TABLES, TableSchema
from tests.far_trans_files import NUMBERED_ROWS, SOUND_ROWS, header_of

SCHEMAS = {schema.table: schema for schema in TABLES}


@dataclass(frozen=True)
class Variation:
    """How an export may write a valid file; `seed` shuffles the columns and the case of the header (0: neither)."""

    byte_order_mark: bool = False
    line_end: str = "\n"
    last_line_end: bool = True
    compressed: bool = False
    all_quoted: bool = False
    breaks_lines: bool = False
    seed: int = 0
    extra_columns: tuple[str, ...] = ()


VARIATIONS = st.builds(
    Variation,
    st.booleans(),
    st.sampled_from(["\n", "\r\n"]),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.booleans(),
    st.integers(0, 1000),
    st.lists(st.sampled_from(["currency", "Σχόλιο", "row id", "x,y"]), max_size=3, unique=True).map(tuple),
)
EACH_VARIATION = {
    "a byte order mark": Variation(byte_order_mark=True),
    "CR LF": Variation(line_end="\r\n"),
    "no end of the last line": Variation(last_line_end=False),
    "gzip": Variation(compressed=True),
    "quotes around all fields": Variation(all_quoted=True),
    "line breaks in texts": Variation(breaks_lines=True),
    "another order and case of the columns": Variation(seed=7),
    "other columns": Variation(extra_columns=("currency", "Σχόλιο")),
}


def rows_of_table(table: str, count: int = 3) -> list[str]:
    """Return lines as published, some with quotes."""
    return [SOUND_ROWS[table], *(NUMBERED_ROWS[table].format(number) for number in range(count - 1))]


def write_variation(folder: Path, table: str, lines: list[str], variation: Variation) -> Path:
    """Write these published lines as an export of this variation would; remove what was there."""
    schema = SCHEMAS[table]
    content = render(schema, lines, variation).encode("utf-8-sig" if variation.byte_order_mark else "utf-8")
    path = folder / schema.file_name
    compressed = folder / f"{schema.file_name}.gz"
    for old in (path, compressed):
        old.unlink(missing_ok=True)
    path = compressed if variation.compressed else path
    path.write_bytes(gzip.compress(content) if variation.compressed else content)
    return path


def render(schema: TableSchema, lines: list[str], variation: Variation) -> str:
    shuffle = random.Random(variation.seed)
    names = [column.csv_name for column in schema.columns]
    records = [dict(zip(names, row, strict=True)) for row in csv.reader(lines)]
    optional = {column.csv_name for column in schema.columns if column.type == "text" and not column.required}
    if variation.breaks_lines:
        records = [
            {name: value.replace(" ", variation.line_end) if name in optional else value for name, value in row.items()}
            for row in records
        ]
    order = [*names, *variation.extra_columns]
    if variation.seed:
        shuffle.shuffle(order)
    cases: list[Callable[[str], str]] = [str.lower, str.upper, str.swapcase] if variation.seed else [str]
    file = io.StringIO(newline="")
    writer = csv.writer(
        file, lineterminator=variation.line_end, quoting=csv.QUOTE_ALL if variation.all_quoted else csv.QUOTE_MINIMAL
    )
    writer.writerow([shuffle.choice(cases)(name) if name in names else name for name in order])
    writer.writerows([record.get(name, f'extra, "{name}"') for name in order] for record in records)
    text = file.getvalue()
    return text if variation.last_line_end else text.removesuffix(variation.line_end)


def write_gzip(path: Path, *members: bytes, repeated: int = 1) -> Path:
    """Write a gzip file of these members, the last one that many times."""
    compressed = [gzip.compress(member) for member in members]
    path.write_bytes(b"".join(compressed[:-1]) + compressed[-1] * repeated)
    return path


@contextmanager
def memory_limit(size: int) -> Iterator[None]:
    tracemalloc.start()
    try:
        yield
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert peak < size


def change_values(pattern: str, replacement: str) -> Callable[[str], bytes]:
    return lambda text: header_line(text) + re.sub(pattern, replacement, body_of(text)).encode()


def header_line(text: str) -> bytes:
    return (text.partition("\n")[0] + "\n").encode()


def body_of(text: str) -> str:
    return text.partition("\n")[2]


# kind: table, what makes the file of a published one, and what the refusal says.
REFUSED: Mapping[str, tuple[str, Callable[[str], bytes], str]] = {
    "UTF-16": ("asset_information", lambda text: text.encode("utf-16"), "is UTF-16 text: save it as UTF-8"),
    "UTF-16 without a mark": ("close_prices", lambda text: text.encode("utf-16-le"), "is UTF-16 text"),
    "UTF-16 of the other byte order": ("close_prices", lambda text: text.encode("utf-16-be"), "is UTF-16 text"),
    "UTF-32": ("close_prices", lambda text: text.encode("utf-32"), "is UTF-32 text"),
    "Latin-1": (
        "asset_information",
        lambda text: text.replace("ΑΛΦΑ", "Société").encode("latin-1"),
        "line 2 has bytes that are not UTF-8",
    ),
    "Windows-1253": ("asset_information", lambda text: text.encode("cp1253"), "line 2 has bytes that are not UTF-8"),
    "a header in Latin-1": (
        "close_prices",
        lambda text: text.replace("closePrice", "closePrice,Währung").encode("latin-1"),
        "the header is not as published: it is not UTF-8",
    ),
    "semicolons": (
        "transactions",
        lambda text: text.replace(",", ";").encode(),
        "the fields are separated by semicolon, a comma is needed",
    ),
    "tabs": ("transactions", lambda text: text.replace(",", "\t").encode(), "the fields are separated by tab"),
    "bars": ("transactions", lambda text: text.replace(",", "|").encode(), "the fields are separated by vertical bar"),
    "semicolons below the header": (
        "close_prices",
        change_values(",", ";"),
        "line 2 has fields separated by semicolon",
    ),
    "tabs below the header": ("transactions", change_values(",", "\t"), "line 2 has fields separated by tab"),
    "decimal commas in quotes": (
        "close_prices",
        change_values(r"(\d+)\.(\d+)", r'"\1,\2"'),
        "line 2 has decimal commas, like 3,669999999999999",
    ),
    "decimal commas without quotes": (
        "close_prices",
        change_values(r"(\d+)\.(\d+)", r"\1,\2"),
        "line 2 has decimal commas, like 3,669999999999999",
    ),
    "decimal commas in two columns": (
        "limit_prices",
        change_values(r"(\d+)\.(\d+)", r"\1,\2"),
        "line 2 has decimal commas, like 3,33",
    ),
    "points for thousands": (
        "transactions",
        change_values(r"12840\.0", '"12.840,00"'),
        "line 2 has decimal commas, like 12.840,00",
    ),
    "dates with the day first": (
        "close_prices",
        change_values(r"(\d{4})-(\d\d)-(\d\d)", r"\3/\2/\1"),
        "line 2 has dates with the day or the month first, like 02/01/2018",
    ),
    "dates with the day first and points": (
        "transactions",
        change_values(r"(\d{4})-(\d\d)-(\d\d)", r"\3.\2.\1"),
        "line 2 has dates with the day or the month first, like 02.07.2020",
    ),
    "dates with the day first and dashes": (
        "customer_information",
        change_values(r"(\d{4})-(\d\d)-(\d\d)", r"\3-\2-\1"),
        "line 2 has dates with the day or the month first, like 02-01-2018",
    ),
    "an executable": (
        "close_prices",
        lambda text: b"\x7fELF\x02\x01\x01" + bytes(range(256)) * 40,
        "is binary: its first line holds control characters",
    ),
    "a workbook": ("close_prices", lambda text: b"PK\x03\x04\x14\x00\x06\x00" + bytes(900), "is binary: it is a ZIP"),
    "a compressed file by the name of a plain one": (
        "close_prices",
        lambda text: gzip.compress(text.encode()),
        "is binary: it is compressed",
    ),
    "NUL bytes below the header": (
        "close_prices",
        lambda text: text.encode() + b"\x1b[2J\0\1\2\n",
        "is binary: its first lines hold NUL bytes",
    ),
    "NUL bytes far below the header": (
        "close_prices",
        lambda text: text.encode() + body_of(text).encode() * 1000 + b"\x1b[2J\0\1\2\n",
        "has binary data",
    ),
    "CR alone": ("close_prices", lambda text: text.replace("\n", "\r").encode(), "the lines end with CR alone"),
    "a column twice": (
        "close_prices",
        lambda text: text.replace("closePrice", "closePrice,CLOSEPRICE").encode(),
        "more than one column closePrice",
    ),
    "a missing column": ("transactions", lambda text: text.replace("units,", "").encode(), "no column units"),
}


def write_refused(folder: Path, kind: str) -> str:
    """Spoil the file of this kind in a folder of published files; return what the refusal says."""
    table, spoil, message = REFUSED[kind]
    lines = "\n".join(rows_of_table(table))
    (folder / f"{table}.csv").write_bytes(spoil(header_of(SCHEMAS[table]) + lines + "\n"))
    return message
