"""The reference tables in memory, with the promises of shared.far_trans.loading.ReferenceStore."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import date

from shared.far_trans.loading import RowSource
from shared.far_trans.schema import TABLES, TableSchema


@dataclass
class FakeReferenceStore:
    """`tables` holds what COPY got for each table and is exchanged as a whole when a replacement ends."""

    today: date = date(2024, 2, 28)
    tables: dict[str, bytes] = field(default_factory=lambda: {schema.table: b"" for schema in TABLES})
    sources: dict[str, str] = field(default_factory=dict)
    _incoming: dict[str, tuple[bytes, str]] | None = None

    def fetch_today(self) -> date:
        return self.today

    def fetch_loaded(self) -> frozenset[str]:
        return frozenset(self.sources)

    def append_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        assert self._incoming is not None, "rows are appended within a replacement only"
        names = [column.name for column in schema.columns]

        def key_of(line: bytes) -> tuple[bytes, ...]:
            fields = line.split(b",")  # of rows without commas in their keys
            return tuple(fields[names.index(name)] for name in schema.key)

        new = b"".join(block.text for block in rows).splitlines(keepends=True)
        keys = {key_of(line.rstrip(b"\n")) for line in new}
        old = self.tables[schema.table].splitlines(keepends=True)
        kept = [line for line in old if key_of(line.rstrip(b"\n")) not in keys]
        self._incoming[schema.table] = (b"".join(kept + new), source)

    def count_rows(self) -> Mapping[str, int]:
        return {table: rows.count(b"\n") for table, rows in self.tables.items()}

    @contextmanager
    def replacement(self) -> Iterator[None]:
        self._incoming = {}
        try:
            yield
            self.tables = self.tables | {table: rows for table, (rows, _) in self._incoming.items()}
            self.sources = self.sources | {table: source for table, (_, source) in self._incoming.items()}
        finally:
            self._incoming = None

    def replace_table(self, schema: TableSchema, rows: RowSource, *, source: str) -> None:
        assert self._incoming is not None, "a table is replaced within a replacement only"
        self._incoming[schema.table] = (b"".join(block.text for block in rows), source)
