"""The rejects file: one CSV row for each row that is not valid, written as they come, and safe to print."""

from __future__ import annotations

import csv
import re
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Self

from shared.far_trans.clean_rows import Reject

if TYPE_CHECKING:
    from _csv import Writer

_UNPRINTABLE = re.compile(r"[\x00-\x09\x0b-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069]")
MAX_FILE_CHARACTERS = 1 << 26
COLUMNS = ("file", "line", "reason", "row")


class RejectsFile(ExitStack):
    """A context manager; the file of an earlier run is removed, a new one is made by the first reject only.

    The file is bounded: a last line says that more rows were rejected.
    """

    def __init__(self, path: Path, *, max_characters: int = MAX_FILE_CHARACTERS) -> None:
        super().__init__()
        self._path = path
        self._left = max_characters
        self._writer: Writer | None = None

    def __enter__(self) -> Self:
        if not self._path.parent.is_dir():
            raise FileNotFoundError(f"there is no folder {self._path.parent} for the rejects file")
        self._path.unlink(missing_ok=True)
        return self

    def add(self, reject: Reject) -> None:
        """Write one line; bytes that are no UTF-8, and control characters other than a line end, appear as \\xNN."""
        if self._left < 0:
            return
        if self._writer is None:
            self._writer = csv.writer(self.enter_context(self._path.open("w", encoding="utf-8", newline="")))
            self._writer.writerow(COLUMNS)
        row = make_printable(reject.raw.rstrip(b"\r\n").decode("utf-8", "backslashreplace"))
        self._left -= len(row) + len(reject.reason)
        full = ("", "", "more rows were rejected: this file is full", "")
        self._writer.writerow(full if self._left < 0 else (reject.file_name, reject.line_number, reject.reason, row))


def make_printable(text: str) -> str:
    """Return the text with each control character, other than a line end, written as an escape."""
    return _UNPRINTABLE.sub(lambda match: match[0].encode("unicode_escape").decode(), text)
