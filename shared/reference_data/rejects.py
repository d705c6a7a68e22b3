"""The rejects file: one CSV row for each row that was not loaded, written as they come."""

from __future__ import annotations

import csv
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from shared.reference_data.clean_rows import Reject

if TYPE_CHECKING:
    from _csv import Writer

COLUMNS = ("file", "line", "reason", "row")


class RejectsFile:
    """A context manager; the file of an earlier run is removed, a new one is made by the first reject only."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._stream: TextIO | None = None
        self._writer: Writer | None = None

    def __enter__(self) -> Self:
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self._path.parent} for the rejects file")
        self._path.unlink(missing_ok=True)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._stream:
            self._stream.close()

    def add(self, reject: Reject) -> None:
        """Write one line; bytes that are no UTF-8 appear as \\xNN."""
        row = reject.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace").replace("\0", "\\x00")
        self._open().writerow((reject.file_name, reject.line_number, reject.reason, row))

    def _open(self) -> Writer:
        if self._writer is None:
            self._stream = self._path.open("w", encoding="utf-8", newline="")
            self._writer = csv.writer(self._stream)
            self._writer.writerow(COLUMNS)
        return self._writer
